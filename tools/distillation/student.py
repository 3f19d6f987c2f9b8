"""The student: a network in PyTorch that learns the features and the answers of a teacher."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn
from torch.nn import functional

from app.mobilenet import network
from tools.distillation.batches import Batch
from tools.distillation.network import MobileNet, adamw
from tools.training.photos import Pixels
from tools.training.run import TEMPERATURE

AVERAGE_DECAY = 0.998
RIDGE = 0.003


class Student(nn.Module):
    """The network, the moving average of its weights, the optimiser, and a projection that only training needs.

    The projection maps the network's own features `[n, width]` to those of the teacher `[n, features]`, which are
    normalised by their `mean` and `scale`.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, alpha: float, classes: int, features: int, device: str) -> None:
        """Build the network with random weights; `load` replaces them."""
        super().__init__()
        self.alpha, self.classes, self.device = alpha, classes, device
        precision = torch.bfloat16 if device == "cuda" else torch.float32
        self.model, self.average = MobileNet(alpha, classes, precision), MobileNet(alpha, classes)
        self.projection = nn.Linear(self.model.classifier.in_features, features)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.to(device)
        self.average.requires_grad_(False).eval()
        self.optimizer = adamw([*self.model.parameters(), *self.projection.parameters()])

    def load(self, arrays: list[Any]) -> None:
        """Start from these weights, in Keras' order."""
        self.model.load(arrays)
        self.average.load(arrays)

    def learn(self, number: int, rate: float, *batch: Any) -> tuple[Any, Any]:
        """Learn from the pixels, targets and features of a `Batch`; return its loss and accuracy."""
        pixels, targets, features = batch
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        logits, own = self.model.train()(pixels)
        loss = self.loss(logits, own, targets, features)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._move_average()
        right = logits.argmax(-1) == targets.argmax(-1)
        return loss.detach(), right.float().mean()

    def loss(
        self, logits: torch.Tensor, own: torch.Tensor, targets: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Return the cross-entropy of the answers, in nats, plus the mean squared error of the normalised features."""
        answers = functional.cross_entropy(logits / TEMPERATURE, targets)
        return answers + functional.mse_loss(self.projection(own), (features - self.mean) / self.scale)

    @torch.no_grad()
    def _move_average(self) -> None:
        pairs = zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True)
        averages, weights = zip(*pairs, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - AVERAGE_DECAY)

    @torch.no_grad()
    def fit_projection(self, batches: Iterable[Batch]) -> None:
        """Start from the best projection for these batches, by ridge regression; the network stays as it is."""
        pairs = [(self.average(pixels)[1], features) for pixels, _, features in batches]
        own, wanted = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        self.mean.copy_(wanted.mean(0))
        self.scale.copy_(wanted.std(0) + 0.05)  # some features are almost constant and must not be blown up
        centre = own.mean(0)
        away = own - centre
        penalty = RIDGE * len(own) * own.var() * torch.eye(own.shape[1], device=own.device)
        found = torch.linalg.solve(away.mT @ away + penalty, away.mT @ ((wanted - self.mean) / self.scale))
        self.projection.weight.copy_(found.mT)
        self.projection.bias.copy_(-centre @ found)

    @torch.no_grad()
    def probabilities(self, pixels: Pixels) -> Any:
        """Return the answers of the averaged network, float32 `[n, classes]`."""
        tensor = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float()
        return functional.softmax(self.average(tensor)[0], -1).cpu().numpy()

    def write(self, file: BinaryIO, epochs: int) -> None:
        """Write a checkpoint: all weights, the state of the optimiser, and the number of finished epochs."""
        torch.save({"weights": self.state_dict(), "optimizer": self.optimizer.state_dict(), "epochs": epochs}, file)

    def read(self, file: BinaryIO) -> int:
        """Read a checkpoint; return the number of finished epochs."""
        state = torch.load(file, map_location=self.device, weights_only=True)
        self.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["epochs"])

    def save(self, path: Path) -> None:
        """Write the averaged weights in Keras' format."""
        model = network.build(self.alpha, None, self.classes, input_dtype="float32")
        model.set_weights(self.average.arrays())
        model.save_weights(path)
