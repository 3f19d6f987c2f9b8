"""MobileNetV1 in PyTorch: the same layers as in Keras, whose arrays it can read and return; and its optimiser."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.mobilenet.architecture import Layer, layers
from app.mobilenet.variants import BASE_RESOLUTION

EPSILON, MOMENTUM = 1e-3, 0.01
"""The constants of Keras' batch normalisation. PyTorch's momentum is 1 minus Keras' momentum."""

WEIGHT_DECAY = 0.02

OIHW = {"kernel": (3, 2, 0, 1), "depthwise": (2, 3, 0, 1)}
"""The order of the axes that turns a kernel of Keras into one of PyTorch."""

Array = NDArray[np.float32]


class Network(nn.Module):
    """A network, from float32 pixels `[n, 3, r, r]`, 0 to 255, to logits `[n, classes]` and pooled features `[n, f]`.

    It has the layers of a table, the last of which is the classifier. The convolutions compute in `precision`; logits
    and features are float32.
    """

    def __init__(self, table: Iterable[Layer], precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.precision = precision
        *body, last = table
        self.blocks = nn.Sequential(*(_block(layer) for layer in body))
        self.classifier = nn.Linear(last.in_channels, last.out_channels)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits and the features, float32."""
        with torch.autocast(pixels.device.type, self.precision, enabled=self.precision != torch.float32):
            maps = self.blocks(pixels / 127.5 - 1)
        features = maps.float().mean((2, 3))
        return self.classifier(features), features

    @torch.no_grad()
    def load(self, arrays: Sequence[Array]) -> None:
        """Copy the weights from arrays that are in the order of Keras' `get_weights`."""
        for (tensor, axes), array in zip(self._tensors(), arrays, strict=True):
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)).permute(axes).reshape(tensor.shape))

    def arrays(self) -> list[Array]:
        """Return the weights as arrays that Keras' `set_weights` takes."""
        return [_keras_layout(tensor.detach(), axes) for tensor, axes in self._tensors()]

    def _tensors(self) -> Iterator[tuple[torch.Tensor, tuple[int, ...]]]:
        """Yield every weight in Keras' order, with the order of axes that turns Keras' array into it."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                yield module.weight, OIHW["kernel" if module.groups == 1 else "depthwise"]
            elif isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    assert tensor is not None
                    yield tensor, (0,)
        yield self.classifier.weight[..., None, None], OIHW["kernel"]  # a 1 × 1 convolution in Keras
        yield self.classifier.bias, (0,)


class MobileNet(Network):
    """MobileNetV1."""

    def __init__(self, alpha: float, classes: int, precision: torch.dtype = torch.float32) -> None:
        super().__init__(layers(alpha, BASE_RESOLUTION, classes), precision)


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
    """Return the optimiser; the weights of batch normalisation and the biases do not decay."""
    every = list(parameters)
    groups = [
        {"params": [each for each in every if each.ndim > 1]},
        {"params": [each for each in every if each.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)


def _keras_layout(tensor: torch.Tensor, axes: tuple[int, ...]) -> Array:
    back = tuple(int(axis) for axis in np.argsort(axes))
    array: Array = tensor.cpu().permute(back).contiguous().numpy()
    return array


class _Float32Convolution(nn.Conv2d):
    """A convolution that a CPU computes in float32 whatever the others do.

    The gradient of a depthwise convolution with a stride takes oneDNN five times as long in bfloat16 as in float32,
    and the four of MobileNetV1 would then take 40 % of a training step.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if maps.is_cuda:
            return super().forward(maps)
        with torch.autocast("cpu", enabled=False):
            return super().forward(maps.float())


def _block(layer: Layer) -> nn.Module:
    """Return a convolution with its batch normalisation and ReLU6.

    With a stride of 2 and an even size, "same" padding pads only below and on the right; PyTorch cannot do that itself.
    """
    inside = layer.stride == 1
    parts: list[Any] = [] if inside else [nn.ZeroPad2d((0, 1, 0, 1))]
    slow = layer.kind == "depthwise" and not inside
    parts.append(
        (_Float32Convolution if slow else nn.Conv2d)(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            layer.stride,
            padding=layer.kernel // 2 if inside else 0,
            groups=layer.in_channels if layer.kind == "depthwise" else 1,
            bias=False,
        )
    )
    normalisation = nn.BatchNorm2d(layer.out_channels, EPSILON, MOMENTUM)
    normalisation.num_batches_tracked = None  # this unused counter would cost the GPU an operation per layer and batch
    return nn.Sequential(*parts, normalisation, nn.ReLU6(inplace=True))
