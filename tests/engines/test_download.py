import random
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.engines import download as module
from app.engines.download import ATTEMPTS, download
from app.errors import StartError
from tests.support.webserver import Site, serving

CONTENT = random.Random(0).randbytes(300_000)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    with serving({"/file": CONTENT}) as site:
        yield site


def fetched(site: Site, folder: Path) -> bytes:
    download(f"{site.url}/file", folder / "file")
    return (folder / "file").read_bytes()


def test_a_file_arrives_whole_with_a_word_on_what_is_fetched(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(site, tmp_path) == CONTENT
    assert f"fetching {site.url}/file" in capsys.readouterr().err


def test_a_password_in_the_address_is_not_shown(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.statuses = [404]
    url = site.url.replace("//", "//user:s3cret@") + "/file"
    with pytest.raises(StartError, match=r"^cannot fetch http://\*\*\*@127\.0\.0\.1:\d+/file: 404 "):
        download(url, tmp_path / "file")
    assert "s3cret" not in capsys.readouterr().err
    with pytest.raises(StartError, match=r"^cannot fetch http://\*\*\*@host:port: "):
        download("http://user:s3cret@host:port", tmp_path / "file")


def test_a_cut_connection_goes_on_where_it_was_cut(site: Site, tmp_path: Path) -> None:
    site.cuts = [100_000, 50_000]
    assert fetched(site, tmp_path) == CONTENT
    assert site.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert site.encodings == {"identity"}, "offsets are of the bytes as they are stored"


def test_a_server_that_cannot_go_on_is_asked_for_all_again(site: Site, tmp_path: Path) -> None:
    site.cuts, site.ranges = [100_000], False
    assert fetched(site, tmp_path) == CONTENT
    assert len(site.asked) == 2


def test_a_server_that_goes_on_elsewhere_is_not_believed(site: Site, tmp_path: Path) -> None:
    site.cuts, site.shift = [100_000], 1
    with pytest.raises(StartError, match=f"cannot fetch {site.url}/file: 206 "):
        fetched(site, tmp_path)


def test_attempts_in_vain_come_less_and_less_often(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module, "PAUSE_S", 0.5)
    monkeypatch.setattr("time.sleep", pauses.append)
    site.statuses, site.cuts = [503, 503, 503], [100_000]
    assert fetched(site, tmp_path) == CONTENT
    assert pauses == [0.5, 1, 2, 0.5], "a byte that came is a new beginning"


def test_a_file_that_changed_meanwhile_is_not_patched_together(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.cuts = [100_000]
    newer = CONTENT[:50_000:-1][:80_000]

    def change(_: float) -> None:
        site.files["/file"], site.etag = newer, '"two"'

    monkeypatch.setattr("time.sleep", change)
    assert fetched(site, tmp_path) == newer


def test_a_version_that_does_not_promise_the_same_bytes_is_no_ground_to_go_on(site: Site, tmp_path: Path) -> None:
    site.cuts, site.etag = [100_000], 'W/"one"'
    assert fetched(site, tmp_path) == CONTENT
    assert site.asked == [None, None]


def test_a_connection_that_is_always_cut_ends_in_an_error(site: Site, tmp_path: Path) -> None:
    site.cuts, site.ranges = [100_000] * 99, False
    with pytest.raises(StartError, match=f"cannot fetch {site.url}/file: peer closed connection"):
        fetched(site, tmp_path)
    assert len(site.asked) == ATTEMPTS


def test_many_cuts_are_no_error_as_long_as_something_comes(site: Site, tmp_path: Path) -> None:
    site.cuts = [20_000] * 14
    assert fetched(site, tmp_path) == CONTENT
    assert len(site.asked) == 15


def test_a_server_in_trouble_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert fetched(site, tmp_path) == CONTENT
    assert len(site.asked) == 3


@pytest.mark.parametrize("status", [404, 403, 304])
def test_a_refusal_is_named_and_not_repeated(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status]
    with pytest.raises(StartError, match=f"cannot fetch {site.url}/file: {status} "):
        fetched(site, tmp_path)
    assert len(site.asked) == 1


def test_a_server_that_falls_silent_is_not_waited_for_for_ever(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", httpx.Timeout(0.1))
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    site.cuts, site.silent = [0, 0], True
    with pytest.raises(StartError, match=r"timed out|ReadTimeout"):
        fetched(site, tmp_path)


def test_without_a_network_the_reason_is_named(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    site.url = f"http://127.0.0.1:{port}"
    with pytest.raises(StartError, match=rf"cannot fetch http://127\.0\.0\.1:{port}/file: .*refused"):
        fetched(site, tmp_path)
