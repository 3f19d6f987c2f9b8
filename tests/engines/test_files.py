import hashlib
from pathlib import Path

import pytest

from app.engines.files import CACHE, replacing, sha256
from app.errors import StartError


def test_a_file_appears_when_it_is_whole_and_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent, "from another disk it could not take the place of a file at once"
        assert not path.exists()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


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


def test_the_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"bytes").hexdigest()
