"""The tool that measures batches makes many links, and counts what all processes of a command take."""

import sys
from pathlib import Path

import pytest

from tools.load import batch


def test_links_to_photos_are_made_in_folders_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "IN_FOLDER", 3)
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    with batch.linked(tmp_path, 7) as folder:
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        assert [path.parent.name for path in found] == ["000000"] * 3 + ["000001"] * 3 + ["000002"]
        assert [path.read_bytes() for path in found[:2]] == [b"a.jpg", b"b.png"]
        assert {path.stat().st_nlink for path in found} == {3, 4}, "they are links, and no copies"
    assert not folder.exists()


BUSY = "import time\nwhile time.process_time() < 1.02: pass\ntime.sleep(1)"
"""Takes a second and a little more, since what the system tells is cut to whole hundredths."""


def test_what_a_command_takes_is_that_of_all_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "LOOK_S", 0.05)  # each has the second in which it sleeps to be seen
    twice = f"import subprocess, sys\nfor _ in range(2): subprocess.run([sys.executable, '-c', {BUSY!r}])"
    run = batch.run([sys.executable, "-c", twice], cpus=1)
    assert run.cpu_s >= 2
    assert run.seconds >= 4
    assert run.rss_mb > 1
