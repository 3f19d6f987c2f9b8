"""What each of several HTTP processes has counted, as files in a folder that they share: decision 0015 says why.

A process writes all of its numbers to a file of its own, once a second and before it answers `/metrics`. A file of the
same name with the ending `.ended` says that this process has ended.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from app.errors import StartError
from app.observability.counters import Series

logger = logging.getLogger(__name__)

IN_MEMORY = Path("/dev/shm")  # noqa: S108 (the folder made in it has a name that nobody can guess, and is private)
ENDED = ".ended"


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder for the files of several processes and remove it afterwards.

    Raises `StartError` if there is no place for it.
    """
    memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None  # a disk would be written to every second
    try:
        folder = TemporaryDirectory(prefix=f"mobilenet-metrics-{os.getpid()}-", dir=memory)
    except OSError as exc:
        raise StartError(f"several HTTP processes need a folder to count in: {exc.strerror}") from exc
    with folder as name:
        yield Path(name)


def forget(file: Path) -> None:
    """Have all processes leave out what was under way in the process with this file, which has ended.

    What the process counted stays counted.
    """
    with suppress(OSError):  # the folder was removed, and the file with it
        file.with_suffix(ENDED).touch()


class Snapshot(NamedTuple):
    """What a process had counted when it wrote its file: the series of each metric, by the metric's name."""

    series: Mapping[str, Series]
    ended: bool


class Snapshots:
    """The file of this process, and those of the others in the same folder."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._failed = False

    def write(self, series: Mapping[str, Series]) -> None:
        """Replace what the other processes read of this one. Where that fails it is logged, once until it works."""
        text = json.dumps({name: list(numbers.items()) for name, numbers in series.items()})
        try:
            self._replace(text)
        except OSError as exc:
            if not self._failed:
                logger.error("other processes do not see what this one counts: %s: %s", self._file, exc.strerror)
            self._failed = True
        else:
            self._failed = False

    def _replace(self, text: str) -> None:
        new = self._file.with_suffix(".new")
        try:
            new.write_text(text)
        except FileNotFoundError:
            logger.warning("%s was removed: what ended processes had counted is lost", self._file.parent)
            self._file.parent.mkdir(mode=0o700, exist_ok=True)
            new.write_text(text)
        new.replace(self._file)  # whoever reads meanwhile sees the old file or the new one, and no part of one

    def others(self) -> Iterator[Snapshot]:
        """Return what every other process had counted when it last wrote."""
        for file in self._file.parent.glob("*[0-9]"):
            if file != self._file:
                series = json.loads(file.read_bytes())
                by_labels = {name: {tuple(labels): numbers for labels, numbers in of} for name, of in series.items()}
                yield Snapshot(by_labels, file.with_suffix(ENDED).exists())
