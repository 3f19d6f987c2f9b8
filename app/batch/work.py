"""The work of a job, written into its output so that it can be resumed: what is asked for, and its pieces.

The list of photos is made once. So a job that is resumed has the same pieces, whatever was added to its sources since,
and no process holds the names of all photos.
"""

import json
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BufferedReader
from typing import Any, Final

from app.batch import storage
from app.batch.piece import Piece, pack, unpack
from app.batch.row import About
from app.batch.sink import Form, Sink
from app.errors import StartError

PIECES, JOB = "pieces.jsonl", "job.json"
BUFFER_BYTES: Final = 2**20


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
        """Read a piece. Raises `OSError`."""
        system, path = storage.locate(self.sink.of_job(PIECES))
        start, end = self.starts[number : number + 2]
        with system.open_input_file(path) as file:
            return unpack(file.read_at(end - start, start))


def exists(sink: Sink) -> bool:
    """Whether all the work of a job has been written down."""
    return storage.exists(sink.of_job(JOB))


def begin(wanted: Wanted, sink: Sink, pieces: Iterable[Piece]) -> Work:
    """Write down the work of a new job. Raises `StartError` for sources without photos, or `OSError`."""
    storage.make_folder(sink.of_job("").rstrip("/"))
    starts = array("Q", [0])
    photos: int | None = 0
    system, path = storage.locate(sink.of_job(PIECES))
    with system.open_output_stream(path, buffer_size=BUFFER_BYTES) as file:
        for piece in pieces:
            line = pack(piece)
            file.write(line)
            starts.append(starts[-1] + len(line))
            photos = None if photos is None or piece.count is None else photos + piece.count
    about: dict[str, Any] = {"photos": photos, "wanted": asdict(wanted)}
    storage.write(sink.of_job(JOB), json.dumps(about, indent=1).encode())
    return Work(wanted, sink, starts, photos)


def resume(wanted: Wanted, sink: Sink) -> Work:
    """Return the work of a job that was begun.

    Raises `StartError` if it was asked for something else, `Unreadable`, or `OSError`.
    """
    found = json.loads(storage.read(sink.of_job(JOB)))
    then, now = found["wanted"], json.loads(json.dumps(asdict(wanted)))
    if others := [f"{name} {then.get(name)} and now {now[name]}" for name in now if then.get(name) != now[name]]:
        raise StartError(f"{sink.folder} has another job, which cannot be resumed so: {'; '.join(others)}")
    starts = array("Q", [0])
    system, path = storage.locate(sink.of_job(PIECES))
    with system.open_input_stream(path) as file, BufferedReader(file, BUFFER_BYTES) as lines:
        for line in lines:
            starts.append(starts[-1] + len(line))
    return Work(wanted, sink, starts, found["photos"])
