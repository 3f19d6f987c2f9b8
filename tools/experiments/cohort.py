"""The networks of one seed. They learn side by side from the same batches, each with an optimiser of its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from app.training.schedule import BATCH, COLOUR_JITTER, Shares
from app.training.task import smooth
from app.training.views import ahead
from tools.distillation.batches import jitter_colours
from tools.distillation.network import MOMENTUM, Network, adamw
from tools.experiments.networks import ComparedNetwork, fastest_precision
from tools.experiments.plan import Rate
from tools.training.photos import Floats, Indices, Photos, Pixels, cut, random_boxes, write_whole
from tools.training.run import HeldOut

SETTLING = 40
"""The number of batches from which the statistics of a finished network come."""

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
"""For each network its pixels, float32 `[n, 3, r, r]`, 0 to 255, and the targets of all, float32 `[n, classes]`."""


class Member:
    """A network in training."""

    def __init__(self, network: Network, shares: Shares) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.shares = shares
        self.optimizer = adamw(network.parameters())
        self.seconds = 0.0
        """The CPU seconds of the thread that learns. With several threads, or on a GPU, they say nothing."""
        self.accuracy = 0.0
        """The accuracy, 0 to 1, on the batches of the last epoch, while it was learning from them."""

    def learn(self, rate: float, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Learn from pixels `[n, 3, r, r]` and targets `[n, classes]`; return the number of right answers."""
        started = time.thread_time()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        logits, _ = self.network(pixels)
        self.optimizer.zero_grad()
        functional.cross_entropy(logits, targets).backward()
        self.optimizer.step()
        self.seconds += time.thread_time() - started
        return (logits.argmax(-1) == targets.argmax(-1)).sum()

    def settle(self, number: int, pixels: torch.Tensor) -> None:
        """Take the mean and the variance of each batch normalisation from these and the `number` batches before.

        Those that were averaged during the training are partly of older weights, which costs short trainings points.
        """
        parts = [part for part in self.network.modules() if isinstance(part, nn.BatchNorm2d)]
        for part in parts:
            part.momentum = 1 / (number + 1)  # so that the average weighs all batches alike
        with torch.no_grad():
            self.network(pixels)
        for part in parts:
            part.momentum = MOMENTUM

    def top1(self, pixels: torch.Tensor, labels: torch.Tensor) -> float:
        """Return the accuracy, 0 to 1, on images, uint8 `[n, 3, r, r]`, with these class indices `[n]`."""
        self.network.eval()
        with torch.no_grad():
            answers = torch.cat([self.network(part.float())[0].argmax(-1) for part in pixels.split(BATCH)])
        self.network.train()
        return float((answers == labels).float().mean())


@dataclass(slots=True)
class Cohort:
    """All networks of a seed, and how many epochs they have learnt for."""

    members: dict[str, Member]
    photos: Photos
    seed: int
    device: str
    precision: torch.dtype
    epochs: int = 0

    @classmethod
    def begin(cls, networks: Sequence[ComparedNetwork], photos: Photos, seed: int, device: str) -> "Cohort":
        """Start with random weights, which the seed determines."""
        torch.manual_seed(seed)
        precision, classes = fastest_precision(device), len(photos.wnids)
        members = {one.name: Member(one.build(classes, precision).to(device), one.shares) for one in networks}
        return cls(members, photos, seed, device, precision)

    def train(self, until: int, rate: Rate, checkpoint: Path) -> None:
        """Train until so many epochs are done, and write a checkpoint after each."""
        for epoch in range(self.epochs, until):
            right: dict[str, list[torch.Tensor]] = {name: [] for name in self.members}
            steps = len(self.photos.labels) // BATCH
            bar = tqdm(ahead(self.batches(epoch)), f"seed {self.seed}, epoch {epoch + 1}", steps, mininterval=10)
            for number, (pixels, targets) in enumerate(bar):
                for name, member in self.members.items():
                    right[name].append(member.learn(rate(epoch + number / steps), pixels[name], targets))
            for name, member in self.members.items():
                member.accuracy = float(torch.stack(right[name]).float().mean() / BATCH)
            self.epochs = epoch + 1
            self.write(checkpoint)

    def batches(self, epoch: int) -> Iterator[Callable[[], Batch]]:
        """Yield calls that make the shuffled batches of an epoch; they are the same in every run."""
        rng = np.random.default_rng((self.seed, epoch))
        count = len(self.photos.labels) // BATCH * BATCH
        boxes = random_boxes(count, 1, int(rng.integers(2**31)))[:, 0]
        mirror = rng.random(count) < 0.5
        colours = rng.uniform(1 - COLOUR_JITTER, 1 + COLOUR_JITTER, (count, 3)).astype(np.float32)
        order = rng.permutation(len(self.photos.labels))[:count]
        sides = {
            name: rng.choice(list(member.shares), p=list(member.shares.values()), size=count // BATCH).tolist()
            for name, member in self.members.items()
        }
        for number, start in enumerate(range(0, count, BATCH)):
            own = slice(start, start + BATCH)
            now = {name: of[number] for name, of in sides.items()}
            yield partial(self._batch, order[own], boxes[own], mirror[own], colours[own], now)

    def _batch(
        self, indices: Indices, boxes: Floats, mirror: NDArray[np.bool_], colours: Floats, sides: dict[str, int]
    ) -> Batch:
        factors = torch.from_numpy(colours).to(self.device)

        def pixels(side: int) -> torch.Tensor:
            crops = channels_first(cut(self.photos.pixels, indices, boxes, mirror, side)).to(self.device)
            # Colours are mixed faster where each of the three lies together, and the network is faster where pixels do.
            return jitter_colours(crops.contiguous().float(), factors).contiguous(memory_format=torch.channels_last)

        made = {side: pixels(side) for side in set(sides.values())}
        targets = torch.from_numpy(smooth(self.photos.labels[indices], len(self.photos.wnids))).to(self.device)
        return {name: made[side] for name, side in sides.items()}, targets

    def settle(self) -> None:
        """Take the statistics of all networks anew, before they are measured."""
        for number, make in enumerate(islice(self.batches(self.epochs), SETTLING)):
            pixels, _ = make()
            for name, member in self.members.items():
                member.settle(number, pixels[name])

    def top1(self, name: str, validation: HeldOut, resolution: int) -> float:
        """Return the accuracy of a network on the photos at this resolution, 0 to 1."""
        pixels = channels_first(validation.pixels[resolution]).to(self.device)
        return self.members[name].top1(pixels, torch.from_numpy(validation.labels).to(self.device))

    def write(self, path: Path) -> None:
        """Write a checkpoint, from which `read` continues."""
        states = {
            name: {
                "network": member.network.state_dict(),
                "optimizer": member.optimizer.state_dict(),
                "seconds": member.seconds,
                "accuracy": member.accuracy,
            }
            for name, member in self.members.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {"epochs": self.epochs, "precision": _name(self.precision), "members": states}
        write_whole(path, lambda file: torch.save(state, file))

    def read(self, path: Path) -> None:
        """Continue from a checkpoint. Raises `ValueError` if it is of another precision.

        Older checkpoints do not say of which they are.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        own = _name(self.precision)
        if (learnt := state.get("precision", own)) != own:
            raise ValueError(
                f"{path} has learnt in {learnt}, and would go on in {own} here, which is another training: go on where "
                f"{learnt} is the fastest, or begin with another --run"
            )
        self.epochs = state["epochs"]
        for name, member in self.members.items():
            found = state["members"][name]
            member.network.load_state_dict(found["network"])
            member.optimizer.load_state_dict(found["optimizer"])
            member.seconds, member.accuracy = found["seconds"], found["accuracy"]


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")


def channels_first(pixels: Pixels) -> torch.Tensor:
    """Return uint8 `[n, r, r, 3]` as `[n, 3, r, r]`, without a copy."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
