import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from app.engines.files import CACHE, reading, replacing, replacing_all, sha256, temporary_folder
from app.errors import CannotWrite, StartError


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "own.weights.h5"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent, "from another disk it could not take the place of a file at once"
        assert temporary.name.endswith(".weights.h5"), "Keras tells by it what to write"
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("setting", "mode"), [(CACHE, 0o644), ("", 0o600)])
def test_whoever_writes_it_a_file_of_a_shared_folder_is_readable_by_all(
    setting: str, mode: int, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        with replacing(tmp_path / "file", setting) as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_files_replace_others_once_all_of_them_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "numbers", tmp_path / "names"]
    for path in paths:
        path.write_text("old")
    seen: list[tuple[int, list[str]]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_size, [path.read_text() for path in paths]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with replacing_all(paths) as temporary:
        for file in temporary:
            file.write_text("newer")
    assert seen == [(5, ["old", "old"])] * 2
    assert [path.read_text() for path in paths] == ["newer", "newer"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ValueError, match="halfway"):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("ne")
        raise ValueError("halfway")


@pytest.mark.parametrize(("setting", "named"), [("", ""), (CACHE, "MOBILENET_CACHE=")])
def test_a_folder_that_cannot_be_written_is_named_with_its_setting_if_it_has_one(
    setting: str, named: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    says = rf"^{named}{tmp_path}/file/folder: cannot write there: Not a directory$"
    with pytest.raises(StartError, match=says), replacing(tmp_path / "file" / "folder" / "model", setting):
        pytest.fail("got a file")


def test_a_folder_without_room_for_another_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, **_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(StartError, match=rf"^{tmp_path}: cannot write there: No space"), replacing(tmp_path / "file"):
        pytest.fail("got a file")


def test_a_file_that_is_gone_is_named_and_not_the_folder_that_is_written_to(tmp_path: Path) -> None:
    gone = tmp_path / "weights.h5"
    with pytest.raises(StartError, match=rf"^{gone}: No such file or directory$"), replacing(tmp_path / "model", CACHE):
        sha256(gone)


def test_a_path_that_cannot_be_looked_at_is_named_with_its_setting(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    with pytest.raises(StartError, match=rf"^{CACHE}: cannot read {long}: File name too long$"), reading(CACHE):
        long.stat()


@pytest.mark.parametrize("gone", [True, False])
def test_a_temporary_folder_that_cannot_be_written_is_named_and_no_setting(
    gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone" if gone else tmp_path
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    says = "No such file or directory" if gone else "No space left on device"
    with pytest.raises(CannotWrite, match=rf"^cannot write temporary files in {folder}: {says}; set TMPDIR to"):
        fill()
    assert not list(tmp_path.iterdir())


def fill() -> None:
    with temporary_folder():
        raise OSError(28, "No space left on device")


def test_where_there_is_no_temporary_folder_at_all_those_that_were_tried_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/']")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", none)
    with pytest.raises(
        CannotWrite, match=r"^cannot write temporary files: No usable temporary directory found in \['/"
    ):
        fill()


def test_the_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"bytes").hexdigest()
