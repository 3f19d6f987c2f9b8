"""Files are read at once or in parts, here and on another machine, which may be away."""

import os
from pathlib import Path

import pytest
from pyarrow import fs

from app.batch.storage import names, reading
from app.errors import Unreachable, Unreadable
from tests.batch.far import URL, AwayError, Far

LINE = OSError("When resolving region for bucket 'b': AWS Error NETWORK_CONNECTION during HeadBucket operation")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jpg").write_bytes(b"b.jpg")
    return tmp_path


@pytest.mark.parametrize("name", ["missing.jpg", "sub", "a\0b.jpg"])
def test_what_cannot_be_read_is_an_error_of_its_photo(folder: Path, name: str) -> None:
    with pytest.raises(Unreadable):
        reading.read(str(folder / name))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(Unreadable, match="this is not a file"):
        reading.read(str(tmp_path / "pipe.jpg"))


def test_a_photo_of_a_kind_of_storage_that_is_unknown_is_an_error_of_its_own() -> None:
    with pytest.raises(Unreadable, match="nonsense://bucket"):
        reading.read("nonsense://bucket/1.jpg")


def test_whatever_error_another_machine_has_says_that_it_is_away_and_a_missing_file_that_it_is_missing(
    far: Far,
) -> None:
    name = far.put("1.jpg", b"one")
    far.answers_bytes = 0
    with pytest.raises(Unreachable, match=rf"^{name}: the line is dead$"):
        reading.read(name)
    with pytest.raises(Unreadable):
        reading.read(f"{URL}/2.jpg")


def test_a_machine_that_is_away_when_it_is_first_asked_is_no_unknown_kind_of_storage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def from_uri(url: str) -> object:
        raise LINE

    monkeypatch.setattr(fs, "FileSystem", type("FileSystem", (), {"from_uri": staticmethod(from_uri)}))
    names._root.cache_clear()
    with pytest.raises(Unreachable, match="NETWORK_CONNECTION"):
        reading.read("s3://b/1.jpg")


def test_a_file_of_too_many_bytes_is_not_read(folder: Path, far: Far) -> None:
    assert reading.read(str(folder / "b.jpg"), 5) == b"b.jpg"
    with pytest.raises(Unreadable, match=r"^this has 5 bytes; the limit is 4$"):
        reading.read(str(folder / "b.jpg"), 4)
    content = os.urandom(3 * reading.FETCHED_BYTES)
    name = far.put("1.jpg", content)
    assert reading.read(name, len(content)) == content
    far.asked = 0
    with pytest.raises(Unreadable, match=rf"^this has {len(content):,} bytes; the limit is {len(content) - 1:,}$"):
        reading.read(name, len(content) - 1)
    assert far.asked == 1, "its size is asked for before the rest of it"


def test_a_file_whose_size_its_machine_does_not_say_is_read_up_to_the_limit(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far.system, "info", lambda path: {"name": path, "size": None, "type": "file"})
    name = far.put("1.jpg", bytes(3 * reading.FETCHED_BYTES))
    assert len(reading.read(name)) == 3 * reading.FETCHED_BYTES
    far.asked = 0
    with pytest.raises(Unreadable, match="the limit is 1,000"):
        reading.read(name, 1000)
    assert far.asked == 2


def test_what_is_read_in_parts_says_whether_its_machine_answers_or_the_file_is_missing(far: Far) -> None:
    name = far.put("a.tar", bytes(3 * reading.PART_BYTES))
    far.answers_bytes = 2 * reading.PART_BYTES
    with reading.opened(name) as file:
        far.asked = 0
        while file.tell() < far.answers_bytes:
            assert file.read(2**15)
        assert far.asked == 2, "few requests are made for many small parts"
        with pytest.raises(Unreachable, match=rf"^{name}: the line is dead$"):
            file.read(2**15)
    with pytest.raises(Unreadable), reading.opened(f"{URL}/b.tar"):
        pass
    with pytest.raises(FileNotFoundError), reading.opened("b.tar"):
        pass


def test_a_part_that_is_given_after_a_pause_is_the_one_that_was_wanted(far: Far) -> None:
    content = os.urandom(3 * reading.PART_BYTES)
    name = far.put("a.tar", content)
    far.answers_bytes = reading.PART_BYTES
    far.on_pause = far.come_back
    with reading.opened(name) as file:
        assert b"".join(iter(lambda: file.read(2**20), b"")) == content
    assert len(far.pauses_s) == 1


def test_whether_another_machine_answers_is_seen_without_a_pause(far: Far) -> None:
    name = far.put("1.jpg", b"one")
    assert [reading.answers(one) for one in (name, f"{URL}/gone.jpg", "nonsense://b/1.jpg")] == [True, True, False]
    far.answers_bytes = 0
    assert not reading.answers(name)
    assert not far.pauses_s


def test_whether_a_file_is_there_is_asked_again(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    name = far.put("1.jpg", b"one")
    info = far.system.info

    def away(path: str) -> object:
        raise AwayError("no answer")

    def come_back() -> None:
        monkeypatch.setattr(far.system, "info", info)

    monkeypatch.setattr(far.system, "info", away)
    far.on_pause = come_back
    assert reading.exists(name)
    assert not reading.exists(f"{URL}/2.jpg")
