"""The work of a job, written into its output so that it can be resumed: what is asked for, and its pieces.

The list of photos is made once. So a job that is resumed has the same pieces, whatever was added to its sources since,
and no process holds the names of all photos.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from app.batch.piece import Piece, pack, unpack
from app.batch.row import About, differences
from app.batch.sink import FOLDER, Form, Sink
from app.batch.storage import finding, reading, writing
from app.batch.storage.asking import patiently
from app.errors import StartError, Unreadable, without_password

PIECES, JOB = "pieces.jsonl", "job.json"
LISTED: Final = "pieces_sha256"
"""The member of a job that vouches for the list of its pieces. Jobs of earlier versions have none."""
FEW: Final = 3
"""Of so many pieces, and so many files of each, another machine is asked whether it gives any."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job is asked for. Another one cannot go on with its output."""

    sources: list[str]
    folder: str
    """The current folder, which sources without a root are relative to."""
    size: int
    column: str | None
    names: str | None
    top_k: int
    form: Form
    about: About


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked for, and where in their file the pieces begin; the last number is where the file ends.

    `photos` is how many photos there are, None if that is not known before they are read.
    """

    wanted: Wanted
    sink: Sink
    starts: "array[int]"
    photos: int | None

    def __len__(self) -> int:
        """How many pieces there are."""
        return len(self.starts) - 1

    def piece(self, number: int) -> Piece:
        """Read a piece. Raises `Unreadable`, or `Unreachable` after some time."""
        start, end = self.starts[number : number + 2]
        return unpack(reading.read_range(self.sink.of_job(PIECES), start, end))

    def some_files(self) -> Iterator[str]:
        """Yield a few of the files that photos are read from, from all over the job. Raises as `piece` does."""
        for number in range(0, len(self), -(-len(self) // FEW)):
            files = self.piece(number).files
            yield from files[:: -(-len(files) // FEW) or 1]


def exists(sink: Sink) -> bool:
    """Whether all the work of a job has been written down. Raises `Unreadable`, or `Unreachable` after some time."""
    return reading.exists(sink.of_job(JOB))


def foreign(sink: Sink) -> str | None:
    """Return something in a folder that no job leaves there which was interrupted while it listed photos.

    None if there is nothing else. Raises `OSError`, `Unreadable`, or `Unreachable` after some time.
    """
    for name in finding.inside(sink.folder):
        if name != FOLDER:
            return name
    for name in finding.inside(sink.of_job("").rstrip("/")):
        if name != PIECES and not writing.is_half(name):
            return f"{FOLDER}/{name}"
    return None


def begin(wanted: Wanted, sink: Sink, pieces: Iterable[Piece]) -> Work:
    """Write down the work of a new job.

    Raises `StartError` for sources without photos, `OSError`, or `Unreachable`.
    """
    writing.make_folder(sink.of_job("").rstrip("/"))
    _clean(sink)
    starts = array("Q", [0])
    photos: int | None = 0
    digest = sha256()
    with writing.writer(sink.of_job(PIECES)) as add:
        for piece in pieces:
            line = pack(piece)
            add(line)
            digest.update(line)
            starts.append(starts[-1] + len(line))
            photos = None if photos is None or piece.count is None else photos + piece.count
    about: dict[str, Any] = {"photos": photos, LISTED: digest.hexdigest(), "wanted": asdict(wanted)}
    writing.write(sink.of_job(JOB), json.dumps(about, indent=1).encode())
    return Work(wanted, sink, starts, photos)


def resume(wanted: Wanted, sink: Sink) -> Work:
    """Return the work of a job that was begun.

    Raises `StartError` if it was asked for something else or is damaged, `OSError`, or `Unreachable` after some time.
    """
    try:
        found = json.loads(patiently(partial(reading.read, sink.of_job(JOB))))
        photos, then = found["photos"], _flat(found["wanted"])
    except (ValueError, LookupError, TypeError) as exc:
        raise _damaged(sink, JOB) from exc
    if LISTED not in found:
        raise StartError(
            f"the job in {without_password(sink.folder)} was begun by an earlier version and cannot be resumed; name "
            "another --output"
        )
    if others := differences(then, _flat(json.loads(json.dumps(asdict(wanted))))):
        raise StartError(
            f"{without_password(sink.folder)} has another job, which cannot be resumed so: {without_password(others)}"
        )
    starts = array("Q", [0])
    digest = sha256()
    try:
        with reading.opened(sink.of_job(PIECES)) as lines:
            for line in lines:
                digest.update(line)
                starts.append(starts[-1] + len(line))
    except (FileNotFoundError, Unreadable) as exc:
        raise _damaged(sink, PIECES) from exc
    if digest.hexdigest() != found[LISTED]:
        raise _damaged(sink, PIECES)
    _clean(sink)
    return Work(wanted, sink, starts, photos)


def _clean(sink: Sink) -> None:
    """Remove what commands that were killed have left: files of rows, or a list of photos, that are not whole."""
    for folder in (sink.folder, sink.of_job("").rstrip("/")):
        writing.remove_halves(folder)


def _flat(wanted: Any) -> dict[str, Any]:
    """Return what is asked for with the model on the same level, so that each difference can be named."""
    return {**wanted, **wanted["about"], "about": None}


def _damaged(sink: Sink, name: str) -> StartError:
    return StartError(
        f"{without_password(sink.of_job(name))} is damaged or missing, so this job cannot be resumed: name another "
        f"folder with --output, or delete {without_password(sink.folder)} and begin again"
    )
