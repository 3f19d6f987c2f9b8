"""Photos as a network in training sees them: decoded as the service decodes them, and varied a little each time.

A photo is decoded whenever it is needed, so memory does not grow with their number.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.engines.base import Pixels
from app.errors import ServiceError, Unreadable
from app.imaging import decode
from app.machine import available_cpus
from app.training.survey import Photo

T = TypeVar("T")

AHEAD = 4
"""How many batches are prepared before they are needed."""
ROOM = 1.15
"""A photo is decoded so many times as large as it will be shown, so that a part of it still has pixels enough."""
SMALLEST_SIDE = 0.7
"""The smallest side of the part that is shown, as a share of what the service would see."""
STRETCH = 0.1
"""The most by which the part is wider or higher than a square, as a share."""
MOST_TURN = 12.0
"""The most degrees by which a photo is turned."""


def ahead(calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield what the calls return. A thread makes the calls ahead of time, in order."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True, slots=True)
class Views:
    """Photos, and how they are varied. The same seed gives the same variations.

    All photos could be read once. Where one is gone since then, `OSError` is raised, and where it cannot be decoded any
    more, `Unreadable`, with its name.
    """

    photos: Sequence[Photo]
    seed: int
    mirror: bool
    max_pixels: int

    def plain(self, indices: Sequence[int], resolution: int) -> Pixels:
        """Return these photos as the service would see them, uint8 `[n, r, r, 3]`."""
        return self._stacked([partial(self._decoded, index, resolution) for index in indices])

    def varied(self, indices: Sequence[int], resolution: int, time: int) -> Pixels:
        """Return these photos turned, cut and perhaps mirrored, uint8 `[n, r, r, 3]`; otherwise each `time`."""
        return self._stacked([partial(self._varied, index, resolution, time) for index in indices])

    def _stacked(self, calls: Sequence[Callable[[], Pixels]]) -> Pixels:
        with ThreadPoolExecutor(available_cpus()) as pool:
            return np.stack(list(pool.map(lambda call: call(), calls)))

    def _decoded(self, index: int, resolution: int) -> Pixels:
        path = self.photos[index].path
        try:
            return decode.decode(path.read_bytes(), resolution=resolution, max_pixels=self.max_pixels)
        except ServiceError as exc:
            raise Unreadable(f"{path}: {exc.detail}") from exc

    def _varied(self, index: int, resolution: int, time: int) -> Pixels:
        rng = np.random.default_rng((self.seed, time, index))
        side = round(ROOM * resolution)
        image = Image.fromarray(self._decoded(index, side))
        image = image.rotate(rng.uniform(-MOST_TURN, MOST_TURN), Image.Resampling.BILINEAR, fillcolor=_mean(image))
        part, stretch = rng.uniform(SMALLEST_SIDE, 1), rng.uniform(1 - STRETCH, 1 + STRETCH)
        width, height = (side * min(1.0, part * factor) for factor in (stretch, 1 / stretch))
        left, top = rng.uniform(0, side - width), rng.uniform(0, side - height)
        box = (left, top, left + width, top + height)
        pixels = np.asarray(image.resize((resolution, resolution), Image.Resampling.BILINEAR, box))
        return pixels[:, ::-1] if self.mirror and rng.random() < 0.5 else pixels


def _mean(image: Image.Image) -> tuple[int, ...]:
    """Return the mean colour of an image, which fills the corners when it is turned."""
    means: NDArray[np.float64] = np.asarray(image.resize((8, 8))).mean(axis=(0, 1))
    return tuple(int(value) for value in means)
