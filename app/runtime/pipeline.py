"""What pipelines are asked and answer: they decode images and run models beside an event loop.

`Local`, which runs one batch after the other in this process, is in `local`; its users are processes of their own
(`pool`), threads, and the events of the loop itself (`inline`). Nothing here needs a decoder or an engine.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, Protocol

from app.engines.base import Pixels, Probabilities
from app.errors import ServiceError, Unavailable
from app.imaging.bounds import LargeImage
from app.imaging.region import Region
from app.mobilenet.architecture import STRIDE
from app.mobilenet.variants import Variant
from app.model.evidence import Embedding, Evidence
from app.model.model import Model

Payload = bytes | str | Pixels
"""One image: the bytes of its file, the same in base64, or the network's input itself as a uint8 tensor `[r, r, 3]`."""
TENSOR = "tensor"
"""The format of an image that came as a tensor; the other formats are those of `formats.FORMATS`."""


class Wish(NamedTuple):
    """What is asked of an image beside its probabilities; what is not asked for leaves no worker.

    `classes` is the number of most probable classes to give the evidence for. With `target` it is 1, and means the
    class of this number.
    """

    embedding: bool = False
    classes: int = 0
    target: int | None = None


NOTHING = Wish()
"""Only probabilities are asked for."""


LONGEST = 2048
"""The longer side, in pixels, of the largest picture that is drawn."""


class Job(NamedTuple):
    """One image, the variants that shall classify it, each of them named once, and what else is asked of them."""

    payload: Payload
    variants: tuple[Variant, ...]
    wish: Wish = NOTHING


class Overlay(NamedTuple):
    """Evidence `[side, side]`, float32, to draw over an image: over what the network sees, or over all of the photo."""

    evidence: Evidence
    whole: bool


class Sizes(NamedTuple):
    """The sizes of what a model says of an image: its classes, and the channels and the side of its features."""

    classes: int
    channels: int
    side: int

    @classmethod
    def of(cls, loaded: Model) -> "Sizes":
        """Return the sizes of a model."""
        return cls(loaded.engine.classes, loaded.channels, loaded.variant.resolution // STRIDE)

    def embedding(self, wish: Wish) -> int:
        """Return how many numbers the embedding has that is asked for; 0 if none is."""
        return self.channels * wish.embedding

    def evidence(self, wish: Wish) -> tuple[int, int, int]:
        """Return the shape of the evidence that is asked for; if none is, its first number is 0."""
        return (wish.classes, self.side, self.side)

    def extras(self, wish: Wish) -> int:
        """Return how many numbers are asked for beside the probabilities; a region belongs to the evidence."""
        return self.embedding(wish) + prod(self.evidence(wish)) + len(Region._fields) * bool(wish.classes)


class Outcome(NamedTuple):
    """The probabilities `[classes]` of one image by one model, and how long its decoding and the run of its batch took.

    `energy` is one of the energies of `Predictions`, and NaN where the model gives none. `format` is one of
    `formats.FORMATS` or `TENSOR`; `decode_began` and `inference_began` are times of `time.monotonic`. The embedding and
    the evidence, for classes from the most probable on, are there if they were asked for; with the evidence also the
    region of the file that it is about. A tensor has no region.
    """

    probabilities: Probabilities
    energy: float
    decode_ms: float
    inference_ms: float
    format: str
    decode_began: float
    inference_began: float
    embedding: Embedding | None = None
    evidence: Evidence | None = None
    region: Region | None = None


JobResult = tuple[Outcome, ...] | ServiceError | LargeImage
"""What a job came to: an outcome for each of its variants, in their order and of one decoding, or what is wrong."""


def broken(fault: str) -> Unavailable:
    """Return the error of a request to a process that only a restart helps.

    The client should try again. Its connection is closed, so that it may reach another process.
    """
    return Unavailable(fault, {"Retry-After": "1", "Connection": "close"})


class Pipeline(Protocol):
    """Models that classify images beside an event loop. The first one answers requests that name no variant."""

    models: tuple[Model, ...]
    runs: int  # how many batches may run at the same time

    @property
    def fault(self) -> str | None:
        """Why no image can be classified any more, so that only a restart helps; None if all is well."""
        ...

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the images of a batch, as `Local.run` does."""
        ...

    async def preview(self, payload: Payload, resolution: int, over: Overlay | None = None) -> bytes:
        """Draw the network's input, as `Local.preview` does."""
        ...

    async def close(self) -> None:
        """End what it started."""
        ...
