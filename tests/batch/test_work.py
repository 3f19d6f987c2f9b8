"""The work of a job is written down and read again as it was, or not at all."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.batch import work
from app.batch.piece import Files, Tar
from app.batch.row import About
from app.batch.sink import Sink
from app.batch.storage.names import locate
from app.batch.work import Wanted
from app.errors import StartError
from tests.batch.far import URL, Far

ABOUT = About(
    macs=1,
    weights="imagenette",
    weights_sha256="a" * 64,
    variant="0.25/128",
    precision="int8",
    channels=0,
    labels_sha256="b" * 64,
    familiarity_sha256="c" * 64,
    engine="litert",
    max_pixels=100,
)
WANTED = Wanted(["photos"], "/", 2, None, None, 5, "jsonl", ABOUT)
PIECES = [Files([f"{number}.jpg", f"{number}.png"]) for number in range(4)] + [Files([("list.parquet#0", "no path")])]


@pytest.fixture(params=["here", "far"])
def sink(request: pytest.FixtureRequest, tmp_path: Path, far: Far) -> Sink:
    return Sink(str(tmp_path / "out") if request.param == "here" else f"{URL}/out", "jsonl")


def test_a_job_that_is_resumed_has_the_pieces_that_it_began_with(sink: Sink) -> None:
    begun, resumed = work.begin(WANTED, sink, PIECES), work.resume(WANTED, sink)
    assert (len(begun), begun.photos) == (len(resumed), resumed.photos) == (5, 9)
    assert [resumed.piece(number).files for number in range(5)] == [piece.files for piece in PIECES]
    assert work.begin(WANTED, sink, [*PIECES, Tar("a.tar")]).photos is None


@pytest.fixture
def begun(tmp_path: Path) -> Sink:
    sink = Sink(str(tmp_path / "out"), "jsonl")
    work.begin(WANTED, sink, PIECES)
    return sink


@pytest.mark.parametrize("lines", [0, 2, 4])
def test_a_job_whose_list_of_pieces_was_cut_does_not_go_on(begun: Sink, lines: int) -> None:
    pieces = Path(begun.of_job(work.PIECES))
    pieces.write_bytes(b"".join(pieces.read_bytes().splitlines(keepends=True)[:lines]))
    with pytest.raises(StartError, match=rf"^{pieces} is damaged or missing, .* name another folder"):
        work.resume(WANTED, begun)


def test_a_job_without_its_list_of_pieces_does_not_go_on(begun: Sink) -> None:
    Path(begun.of_job(work.PIECES)).unlink()
    with pytest.raises(StartError, match=rf"^{begun.of_job(work.PIECES)} is damaged or missing"):
        work.resume(WANTED, begun)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"wanted": 1}', b'{"wanted": {}}', b"\xff"])
def test_a_damaged_job_is_said_in_a_line(begun: Sink, content: bytes) -> None:
    Path(begun.of_job(work.JOB)).write_bytes(content)
    with pytest.raises(StartError, match=rf"^{begun.of_job(work.JOB)} is damaged .*, or delete .* and begin again$"):
        work.resume(WANTED, begun)


def test_a_job_of_an_earlier_version_is_not_called_damaged(begun: Sink) -> None:
    job = Path(begun.of_job(work.JOB))
    about = json.loads(job.read_bytes())
    del about["pieces_sha256"]
    job.write_text(json.dumps(about))
    with pytest.raises(StartError, match=r"earlier version and cannot be resumed; name another --output$"):
        work.resume(WANTED, begun)


def test_a_password_in_the_url_of_the_output_is_not_said(far: Far) -> None:
    sink = Sink("memory://user:secret@bucket/out", "jsonl")
    far.system.pipe(locate(sink.of_job(work.JOB))[1], b"{")
    with pytest.raises(StartError, match=r"^memory://\*\*\*@bucket/out/_job/job\.json is damaged") as raised:
        work.resume(WANTED, sink)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("again", [work.begin, work.resume])
def test_a_half_of_the_list_of_pieces_does_not_stay(begun: Sink, again: Callable[..., object]) -> None:
    halves = [Path(name) / f".{'0' * 32}.part" for name in (begun.folder, begun.of_job(""))]
    for half in halves:
        half.touch()
        os.utime(half, (0, 0))
    again(WANTED, begun, *([PIECES] if again is work.begin else []))
    assert not any(half.exists() for half in halves)


def test_the_list_of_pieces_is_on_the_disk_before_the_job_that_vouches_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").read_text()[:12])

    monkeypatch.setattr(os, "fsync", noted)
    work.begin(WANTED, Sink(str(tmp_path / "out"), "jsonl"), PIECES)
    assert synced == ['{"names": ["', '{\n "photos":']


def test_what_a_job_is_resumed_with_is_what_it_was_begun_with_and_each_difference_is_said(begun: Sink) -> None:
    other = replace(WANTED, top_k=3, about=replace(ABOUT, labels_sha256="d" * 64, engine="openvino", max_pixels=200))
    with pytest.raises(StartError) as raised:
        work.resume(other, begun)
    assert str(raised.value).partition("which cannot be resumed so: ")[2].split("; ") == [
        "top_k 5 there and 3 here",
        f"labels_sha256 {'b' * 64} there and {'d' * 64} here",
        "engine litert there and openvino here",
        "max_pixels 100 there and 200 here",
    ]
    assert json.loads(Path(begun.of_job(work.JOB)).read_bytes())["wanted"]["about"]["max_pixels"] == 100


@pytest.mark.parametrize("mine", ["part-000000.jsonl", f".{'0' * 32}.part", "_job/notes.txt"])
def test_a_folder_that_no_job_has_left_so_is_seen(tmp_path: Path, mine: str) -> None:
    sink = Sink(str(tmp_path), "jsonl")
    (tmp_path / "_job").mkdir()
    for name in ("pieces.jsonl", f".{'0' * 32}.part"):
        (tmp_path / "_job" / name).touch()
    assert work.foreign(sink) is None
    (tmp_path / mine).touch()
    assert work.foreign(sink) == mine


def test_files_from_all_over_the_job_are_found_for_a_question(begun: Sink) -> None:
    found = list(work.resume(WANTED, begun).some_files())
    assert found == ["0.jpg", "0.png", "2.jpg", "2.png"]
    many = work.begin(WANTED, begun, [Files([f"{piece}/{number}.jpg" for number in range(100)]) for piece in range(50)])
    assert list(many.some_files()) == [f"{piece}/{number}.jpg" for piece in (0, 17, 34) for number in (0, 34, 68)]
