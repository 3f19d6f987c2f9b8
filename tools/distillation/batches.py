"""What a teacher shows of photos: batches of views that never come twice, and what it sees in each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from tools.distillation.network import MobileNet
from tools.training.photos import Indices, random_boxes, smooth
from tools.training.run import COLOUR_JITTER, TEMPERATURE, Plan

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Pixels `[n, 3, r, r]` 0 to 255, targets `[n, classes]` and the teacher's features `[n, f]`."""

MIXED = 0.5
"""Which part of the images has up to half of another in it."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """The photos `indices` of `photos`, uint8 `[*, 3, s, s]` of classes `labels`, all on one device with the teacher.

    `columns` are the teacher's classes that count, in the order of the labels; it sees `side` pixels a side.
    """

    photos: torch.Tensor
    labels: Indices
    indices: Indices
    teacher: MobileNet
    columns: list[int]
    side: int

    def __call__(self, plan: Plan, epoch: int) -> Iterator[Batch]:
        """Yield an epoch's shuffled batches."""
        rng = np.random.default_rng((plan.seed, epoch))
        shares = plan.shares(epoch)
        sides = rng.choice(list(shares), p=list(shares.values()), size=plan.steps)
        # An epoch's numbers go to the device at once: a copy for each batch would be waited for.
        draws = zip(*(self._stack(array, plan) for array in self._draw(rng, plan)), strict=True)
        for side, draw in zip(map(int, sides), draws, strict=True):
            yield self._batch(side, *draw)

    def _draw(self, rng: np.random.Generator, plan: Plan) -> Iterator[np.typing.NDArray[np.generic]]:
        count = plan.steps * plan.batch
        photos = rng.permutation(self.indices)[:count]
        yield photos
        yield smooth(self.labels[photos], len(self.columns))
        yield random_boxes(count, 1, int(rng.integers(2**31)))[:, 0]
        yield rng.random(count) < 0.5
        yield rng.random((plan.steps, plan.batch)).argsort(-1).reshape(-1)  # which other of its batch is mixed in
        yield np.where(rng.random(count) < MIXED, rng.uniform(0.5, 1, count), 1).astype(np.float32)
        yield rng.uniform(1 - COLOUR_JITTER, 1 + COLOUR_JITTER, (count, 3)).astype(np.float32)

    def _stack(self, array: np.typing.NDArray[np.generic], plan: Plan) -> torch.Tensor:
        shaped = array.reshape(plan.steps, plan.batch, *array.shape[1:])
        return torch.from_numpy(shaped).to(self.photos.device)

    def _batch(self, side: int, index: torch.Tensor, labels: torch.Tensor, *draw: torch.Tensor) -> Batch:
        boxes, mirror, other, share, colours = draw
        photos = self.photos[index].float()

        def views(side: int) -> torch.Tensor:
            whole, own = cut(photos, boxes, mirror, side), share[:, None, None, None]
            return whole * own + whole[other] * (1 - own)

        seen = views(self.side)
        with torch.no_grad():
            logits, features = self.teacher(seen)
        targets = soften(logits[:, self.columns], labels, share == 1)
        pixels = seen if side == self.side else views(side)
        return jitter_colours(pixels, colours), targets, features


def spans(low: torch.Tensor, high: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """Return the weights `[n, count, size]` by which Pillow's bilinear filter makes `count` pixels of low to high.

    `low` and `high`, `[n]`, are places in a row of `size` pixels. Where it makes fewer, the filter is wider.
    """
    scale = (high - low)[:, None, None] / count
    places = torch.arange(count, device=low.device)[None, :, None] + 0.5
    pixels = torch.arange(size, device=low.device)[None, None, :] + 0.5
    away = (pixels - (low[:, None, None] + places * scale)).abs() / scale.clamp(min=1)
    weights = (1 - away).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)


def cut(photos: torch.Tensor, boxes: torch.Tensor, mirror: torch.Tensor, side: int) -> torch.Tensor:
    """Return a box `[n, 4]` of each photo, float32 `[n, 3, s, s]`, as float32 `[n, 3, side, side]`.

    It is resized, and mirrored where `mirror`, bool `[n]`, says so, as `tools.training.photos.cut` does.
    """
    left, top, right, bottom = boxes.unbind(-1)
    across = spans(left, right, side, photos.shape[-1])
    across = torch.where(mirror[:, None, None], across.flip(1), across)
    down = spans(top, bottom, side, photos.shape[-2])
    return (down[:, None] @ photos @ across[:, None].mT).round()


def soften(logits: torch.Tensor, labels: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return softened answers `[n, classes]`, or the label, `[n, classes]`, where a whole photo is answered wrong."""
    wrong = whole & (logits.argmax(-1) != labels.argmax(-1))
    return torch.where(wrong[:, None], labels, functional.softmax(logits / TEMPERATURE, -1))


def jitter_colours(pixels: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Change each image by its factors `[n, 3]` of brightness, contrast and saturation, as `trainer.jitter_colours`."""
    brightness, contrast, saturation = factors[..., None, None, None].unbind(1)
    grey = pixels.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    rest = brightness * (contrast * (1 - saturation) * grey + (1 - contrast) * mean)
    return (brightness * contrast * saturation * pixels + rest).clamp(0, 255)
