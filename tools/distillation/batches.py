"""Batches for distillation: random crops of photos, none of which comes twice, and the teacher's answers to them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from app.training.schedule import COLOUR_JITTER, Schedule, Shares
from app.training.task import smooth
from tools.distillation.network import MobileNet
from tools.training.photos import Indices, random_boxes
from tools.training.run import TEMPERATURE

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Pixels `[n, 3, r, r]`, 0 to 255, targets `[n, classes]`, and the teacher's features `[n, f]`."""

SHARES: Shares = {96: 0.05, 128: 0.30, 160: 0.30, 192: 0.20, 224: 0.15}
"""The share of each resolution in the batches. Most errors are made at low ones, and high ones cost most."""
MIXED = 0.5
"""The share of the images that are blended with up to one half of another image."""


@dataclass(frozen=True, slots=True)
class TeacherBatches:
    """Makes the batches of a training from the photos `indices` of `photos`, uint8 `[*, 3, s, s]`.

    Photos and teacher are on the same device. `labels` are the class indices of the photos, and `columns` the indices
    of these classes among those of the teacher, which sees crops of `side` pixels.
    """

    photos: torch.Tensor
    labels: Indices
    indices: Indices
    teacher: MobileNet
    columns: list[int]
    side: int

    def __call__(self, schedule: Schedule, epoch: int) -> Iterator[Batch]:
        """Yield the shuffled batches of an epoch, which are the same in every run."""
        rng = np.random.default_rng((schedule.seed, epoch))
        shares = schedule.shares(epoch)
        sides = rng.choice(list(shares), p=list(shares.values()), size=schedule.steps)
        # The random numbers of a whole epoch are copied to the device at once; each copy makes the GPU wait.
        draws = zip(*(self._stack(array, schedule) for array in self._draw(rng, schedule)), strict=True)
        for side, draw in zip(map(int, sides), draws, strict=True):
            yield self._batch(side, *draw)

    def _draw(self, rng: np.random.Generator, schedule: Schedule) -> Iterator[np.typing.NDArray[np.generic]]:
        count = schedule.steps * schedule.batch
        photos = rng.permutation(self.indices)[:count]
        yield photos
        yield smooth(self.labels[photos], len(self.columns))
        yield random_boxes(count, 1, int(rng.integers(2**31)))[:, 0]
        yield rng.random(count) < 0.5
        # For each image, the index of another in its batch to blend it with.
        yield rng.random((schedule.steps, schedule.batch)).argsort(-1).reshape(-1)
        yield np.where(rng.random(count) < MIXED, rng.uniform(0.5, 1, count), 1).astype(np.float32)
        yield rng.uniform(1 - COLOUR_JITTER, 1 + COLOUR_JITTER, (count, 3)).astype(np.float32)

    def _stack(self, array: np.typing.NDArray[np.generic], schedule: Schedule) -> torch.Tensor:
        shaped = array.reshape(schedule.steps, schedule.batch, *array.shape[1:])
        return torch.from_numpy(shaped).to(self.photos.device)

    def _batch(self, side: int, index: torch.Tensor, labels: torch.Tensor, *draw: torch.Tensor) -> Batch:
        boxes, mirror, other, share, colours = draw
        photos = self.photos[index].float()

        def blended_crops(side: int) -> torch.Tensor:
            crops, own = cut(photos, boxes, mirror, side), share[:, None, None, None]
            return crops * own + crops[other] * (1 - own)

        seen = blended_crops(self.side)
        with torch.no_grad():
            logits, features = self.teacher(seen)
        targets = soften(logits[:, self.columns], labels, share == 1)
        pixels = seen if side == self.side else blended_crops(side)
        return jitter_colours(pixels, colours), targets, features


def spans(low: torch.Tensor, high: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Return the weights `[n, count, size]` of Pillow's bilinear filter, which makes `count` pixels from a span.

    The span is from `low` to `high`, `[n]`, in a row of `size` pixels. If it has more pixels than `count`, the filter
    is as much wider.
    """
    scale = (high - low)[:, None, None] / count
    places = torch.arange(count, device=low.device)[None, :, None] + 0.5
    pixels = torch.arange(size, device=low.device)[None, None, :] + 0.5
    away = (pixels - (low[:, None, None] + places * scale)).abs() / scale.clamp(min=1)
    weights = (1 - away).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)


def cut(photos: torch.Tensor, boxes: torch.Tensor, mirror: torch.Tensor, side: int) -> torch.Tensor:
    """Return box `boxes[i]` of photo i for each i, as float32 `[n, 3, side, side]`; photos are float32 `[n, 3, s, s]`.

    Like `tools.training.photos.cut`, it resizes the boxes, and mirrors those where `mirror`, bool `[n]`, is true.
    """
    left, top, right, bottom = boxes.unbind(-1)
    across = spans(left, right, side, photos.shape[-1])
    across = torch.where(mirror[:, None, None], across.flip(1), across)
    down = spans(top, bottom, side, photos.shape[-2])
    return (down[:, None] @ photos @ across[:, None].mT).round()


def soften(logits: torch.Tensor, labels: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return the softened answers `[n, classes]`, or the label where the answer to an image is wrong.

    `whole`, bool `[n]`, says which images are not blended. Only these have a label, `[n, classes]`.
    """
    wrong = whole & (logits.argmax(-1) != labels.argmax(-1))
    return torch.where(wrong[:, None], labels, functional.softmax(logits / TEMPERATURE, -1))


def jitter_colours(pixels: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Change the brightness, contrast and saturation of each image by its factors `[n, 3]`, as `trainer` does it."""
    brightness, contrast, saturation = factors[..., None, None, None].unbind(1)
    grey = pixels.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    rest = brightness * (contrast * (1 - saturation) * grey + (1 - contrast) * mean)
    return (brightness * contrast * saturation * pixels + rest).clamp(0, 255)
