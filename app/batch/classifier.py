"""The actor of Ray that reads, classifies and writes pieces of work: one for each CPU or GPU of a cluster."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any, Final

from app.batch.cpu import cpu_s
from app.batch.piece import Photo
from app.batch.row import Row
from app.batch.tally import Tally
from app.batch.work import Work
from app.config import Settings
from app.errors import ServiceError, StartError, Unreachable, Unreadable
from app.machine import available_cpus
from app.model.evidence import Embedding
from app.prediction.blocking import LocalBackend
from app.runtime.pipeline import NOTHING, Outcome, Wish
from app.schemas import Predictions

NUMBER: Final = "id"
"""The column of a range in Ray: the number of a piece."""
TALLY: Final = "tally"
"""The column of what Ray gets back of a piece whose rows are written; empty of another."""
UNDONE: Final = "undone"
"""The column of why they are not."""
MOST_BYTES: Final = 8 * 2**20
"""The most bytes of the photos that are classified together, to bound the memory."""


class Classifier:
    """The model, in a process of its own beside the actor, so that a photo that kills it is a row with an error.

    Ray may call it on several threads, so that one reads while the photos of another are classified.
    """

    def __init__(self, work: Work, settings: Settings) -> None:
        """Load the model. Raises `StartError` if this node has no weights or other ones."""
        with suppress(OSError):  # names without a root are meant from where the command was given
            os.chdir(work.wanted.folder)
        self._work = work
        self._backend = LocalBackend(alone(settings))
        self._size = settings.max_batch_size
        self._wish = Wish(embedding=True) if work.wanted.about.channels else NOTHING
        self._classifying = Lock()
        self._counted_cpu_s = 0.0
        if (found := self._backend.model.weights_sha256) != work.wanted.about.weights_sha256:
            self.close()
            raise StartError(f"node {os.uname().nodename} has other weights: {found}")

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Classify a piece, unless its rows are written, and return what came of its photos, counted.

        No row is written if the machine that has the photos does not answer. Another time it may.
        """
        number = int(row[NUMBER])
        try:
            tally = self._work.sink.written(number) or self._classified(number)
        except Unreachable as exc:
            return {TALLY: "", UNDONE: str(exc)}
        return {TALLY: tally.pack(), UNDONE: ""}

    def close(self) -> None:
        """End the process of the model; Ray ends that of the actor, and the former with it."""
        self._backend.close()

    def _classified(self, number: int) -> Tally:
        photos = self._work.piece(number).photos()
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
        self, found: Outcome | ServiceError | Unreadable
    ) -> tuple[Predictions | ServiceError | Unreadable, Embedding | None]:
        if isinstance(found, Outcome):
            return self._backend.named(found, self._work.wanted.top_k), found.embedding
        return found, None

    def _new_cpu_s(self) -> float:
        """Return the CPU seconds since they were last asked for."""
        with self._classifying:
            now = cpu_s()
            new, self._counted_cpu_s = now - self._counted_cpu_s, now
        return max(0.0, new)  # a process that was replaced takes its seconds with it


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
