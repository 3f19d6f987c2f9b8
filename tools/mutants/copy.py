"""A copy of the repository in which files are mutated, so that nobody else sees the faults."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tools.mutants.mutants import Mutant


class Copy:
    """The files of the repository that git does not ignore, in a folder of their own."""

    def __init__(self, repository: Path, folder: Path) -> None:
        """Copy the files, in place of what the folder had."""
        self.folder = folder
        self._ages = count(1)
        shutil.rmtree(folder, ignore_errors=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=repository, check=True, capture_output=True).stdout.split(b"\0"):
            path = repository / os.fsdecode(name)
            if name and path.is_file():
                copied = folder / os.fsdecode(name)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copied)

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """Have a fault in the copy while the context lasts."""
        path = self.folder / mutant.path
        original, modified_s = path.read_bytes(), path.stat().st_mtime
        path.write_text(mutant.text, encoding="utf-8")
        # Python goes by the time of a file, in whole seconds, when it looks for what it has compiled of it.
        os.utime(path, (modified_s, modified_s + next(self._ages)))
        try:
            yield
        finally:
            path.write_bytes(original)
            os.utime(path, (modified_s, modified_s))
