"""The actor of Ray that reads, classifies and writes pieces of work: one for each CPU or GPU of a cluster."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from threading import Lock
from typing import Any, Final

from app.batch.cpu import cpu_s
from app.batch.fetching import Photo
from app.batch.piece import Piece
from app.batch.row import About, Row, differences
from app.batch.tally import Tally
from app.batch.work import Work
from app.config import Settings
from app.errors import ClientError, ServiceError, StartError, Unreachable
from app.machine import available_cpus
from app.model.evidence import Embedding
from app.prediction.blocking import LocalBackend
from app.runtime.pipeline import NOTHING, Outcome, Wish
from app.schemas import Predictions

NUMBER: Final = "id"
"""The column of a range in Ray: the number of a piece."""
TALLY: Final = "tally"
"""The column of the counts of a piece; empty if its rows are not written."""
UNDONE: Final = "undone"
"""The column of the reason why the rows of a piece are not written; empty if they are."""
MOST_BYTES: Final = 8 * 2**20
"""The most bytes of the photos that are classified together, to bound the memory."""


class Classifier:
    """The model, in a process of its own beside the actor, so that a photo that kills it is a row with an error.

    Ray may call it on several threads, so that one reads while the photos of another are classified.
    """

    def __init__(self, work: Work, settings: Settings) -> None:
        """Load the model. Raises `StartError` if this node has none, or would write other rows with it."""
        with suppress(OSError):  # relative paths begin at the folder in which the command was given
            os.chdir(work.wanted.folder)
        self._work = work
        self._backend = LocalBackend(alone(settings))
        self._size = settings.max_batch_size
        wanted = work.wanted.about
        self._wish = Wish(embedding=True) if wanted.channels else NOTHING
        self._classifying = Lock()
        self._counted_cpu_s = 0.0
        found = about(self._backend, settings, embedding=bool(wanted.channels))
        if other := differences(asdict(found), asdict(wanted)):
            self.close()
            raise StartError(f"node {os.uname().nodename} has another model than the machine of the command: {other}")

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Classify a piece, unless its rows are written, and return the counts of its photos.

        No row is written if another machine does not answer. When the job is resumed, it may.
        """
        number = int(row[NUMBER])
        try:
            piece = self._work.piece(number)
            tally = self._work.sink.written(number, piece) or self._classified(number, piece)
        except Unreachable as exc:
            return {TALLY: "", UNDONE: str(exc)}
        return {TALLY: tally.pack(), UNDONE: ""}

    def close(self) -> None:
        """End the process of the model. In a job, it ends with the process of the actor, which Ray ends."""
        self._backend.close()

    def _classified(self, number: int, piece: Piece) -> Tally:
        photos = piece.photos(self._work.some_files)
        rows = [row for group in groups(photos, self._size) for row in self._rows(group)]
        self._work.sink.write(number, rows, self._work.wanted.about)
        tally = Tally.of(rows)
        tally.cpu_s = self._new_cpu_s()
        return tally

    def _rows(self, photos: list[Photo]) -> Iterator[Row]:
        images = [content for _, content in photos if isinstance(content, bytes)]
        with self._classifying:
            outcomes = iter(self._outcomes(images) if images else ())
        for name, content in photos:
            found = next(outcomes) if isinstance(content, bytes) else content
            yield self._work.wanted.about.row(name, *self._named(found))

    def _outcomes(self, images: list[bytes]) -> list[Outcome | ServiceError]:
        """Classify images. If the model cannot, end this process: Ray starts another, and gives that one the piece."""
        try:
            return self._backend.outcomes(images, self._wish)
        except StartError as exc:
            print(exc.report, file=sys.stderr, flush=True)
            os._exit(1)

    def _named(
        self, found: Outcome | ServiceError | ClientError
    ) -> tuple[Predictions | ServiceError | ClientError, Embedding | None]:
        if isinstance(found, Outcome):
            return self._backend.named(found, self._work.wanted.top_k), found.embedding
        return found, None

    def _new_cpu_s(self) -> float:
        """Return the CPU seconds since they were last asked for."""
        with self._classifying:
            now = cpu_s()
            new, self._counted_cpu_s = now - self._counted_cpu_s, now
        return max(0.0, new)  # fewer if a process was replaced: the seconds of the former one are lost


def about(backend: LocalBackend, settings: Settings, embedding: bool) -> About:
    """Return what the rows share that this model writes. Raises `StartError` if it gives no embeddings but shall."""
    model = backend.model
    return About(
        macs=model.cost.macs,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        variant=model.variant.name,
        precision=model.engine.precision,
        channels=model.channels if embedding and backend.source() else 0,
        labels_sha256=_sha256(json.dumps([asdict(label) for label in model.labels])),
        familiarity_sha256=_sha256(model.familiarity.model_dump_json() if model.familiarity else ""),
        engine=settings.engine,
        max_pixels=settings.max_pixels,
    )


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def alone(settings: Settings) -> Settings:
    """Return the settings of one actor among those of a node: its one process shares the memory with theirs."""
    mine = {"model_workers": 1, "model_threads": 1, "http_workers": available_cpus(), "variants": ()}
    return settings.without_keys().model_copy(update=mine)


def groups(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    """Yield photos in groups of so many, or fewer if they are large."""
    group: list[Photo] = []
    held = 0
    for photo in photos:
        group.append(photo)
        held += len(photo[1]) if isinstance(photo[1], bytes) else 0
        if len(group) == size or held > MOST_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group
