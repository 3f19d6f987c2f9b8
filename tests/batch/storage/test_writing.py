"""A file that is written is there as a whole or not at all, and what is left of others is removed with care."""

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from app.batch.storage import reading, writing
from app.errors import Unreachable
from tests.batch.far import URL, AwayError, Far

HALF = f".{'0' * 32}.part"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tmp_path / "rows"
    writing.write(str(name), b"all of it")
    assert name.read_bytes() == b"all of it"

    def torn(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", torn)
    with pytest.raises(OSError, match="No space left"):
        writing.write(str(name), b"half")
    assert [path.name for path in tmp_path.iterdir()] == ["rows"], "nothing half-written is left"
    assert name.read_bytes() == b"all of it"


def test_a_file_that_is_written_bit_by_bit_is_there_when_it_is_whole(
    tmp_path: Path, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_SHOWS_PARTS", ("memory://",))  # as HDFS does
    for name in (str(tmp_path / "list"), f"{URL}/out/list"):
        with writing.writer(name) as add:
            add(b"one")
            assert not reading.exists(name)
            add(b" and two")
        assert reading.read(name) == b"one and two"
        with suppress(KeyError), writing.writer(name) as add:
            add(b"half")
            raise KeyError
        assert reading.read(name) == b"one and two"
    assert [path.name for path in tmp_path.iterdir()] == ["list"]
    assert list(far.system.store) == ["/bucket/out/list"]


def test_a_machine_that_is_away_is_sent_a_file_again(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{URL}/out/rows"
    send = far.system.open

    def away(*_: object, **__: object) -> None:
        raise AwayError("the line is dead")

    monkeypatch.setattr(far.system, "open", away)
    with pytest.raises(Unreachable, match=rf"^{name}: the line is dead$"):
        writing.write(name, b"all of it")
    far.on_pause = lambda: monkeypatch.setattr(far.system, "open", send)
    writing.write(name, b"all of it")
    assert reading.read(name) == b"all of it"


def test_what_must_not_be_written_is_said_at_once(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(far.system, "open", forbidden)
    with pytest.raises(OSError, match=rf"^{URL}/out/rows cannot be written: Permission denied$"):
        writing.write(f"{URL}/out/rows", b"rows")
    assert not far.pauses_s


def test_only_what_a_killed_process_has_left_long_ago_is_removed(tmp_path: Path) -> None:
    old = time.time() - 2 * 3600
    for name in (HALF, ".1a2b.part", "photo.part", f"x{HALF}"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (old, old))
    new = HALF.replace("0", "1")
    (tmp_path / new).write_bytes(b"a running command is still writing this")
    writing.remove_halves(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {".1a2b.part", "photo.part", f"x{HALF}", new}


def test_a_file_that_a_running_command_renames_meanwhile_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / HALF).symlink_to("renamed")
    writing.remove_halves(str(tmp_path))
