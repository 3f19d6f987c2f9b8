"""The operations and tensors of a `.tflite` model, in an interpreter that lets them be looked at."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from app.engines.base import Head

KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
POOLINGS = ("MEAN", "AVERAGE_POOL_2D")
UNCHANGING = ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE")
"""Operations that leave an answer what it is."""
ABSENT = -1
"""The number of a tensor that an operation does without."""

Shape = tuple[int, ...]


class Kernel(NamedTuple):
    """A layer that has weights: the shapes of its weights and of its output, without the batch."""

    weights: Shape
    output: Shape


class Graph:
    """A model in an interpreter without accelerators, in which every operation and every tensor can be looked at."""

    def __init__(self, content: bytes) -> None:
        """Load it. Raises `ValueError` or `RuntimeError` if it is damaged or something else."""
        self._interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        self.inputs = self._interpreter.get_input_details()
        self.operations = self._interpreter._get_ops_details()
        self._makers = {int(made): operation for operation in self.operations for made in operation["outputs"]}
        self._tensors = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}
        self.outputs = [one for one in self._interpreter.get_output_details() if not self._is_features(one)]

    def kernels(self) -> Iterator[tuple[Kernel, Any]]:
        """Yield the layers that have weights, from first to last, each with the type of its numbers."""
        for operation in self.operations:
            if operation["op_name"] in KERNELS:
                weights, output = (
                    self._tensors[int(operation[side][at])] for side, at in (("inputs", 1), ("outputs", 0))
                )
                yield Kernel(_shape(weights), _shape(output)[1:]), weights["dtype"]

    def head(self) -> Head:
        """Return the classifier: the last layer that has weights. One without a bias has a bias of zeros."""
        last = next(one for one in reversed(self.operations) if one["op_name"] in KERNELS)
        kernel, *bias = (self._numbers(int(place)) for place in last["inputs"][1:] if place != ABSENT)
        classes = len(kernel)
        return Head(np.ascontiguousarray(kernel.reshape(classes, -1).T), *bias or [np.zeros(classes, np.float32)])

    def _numbers(self, place: int) -> NDArray[np.float32]:
        """Return a constant in float32; a quantised one has a scale for all of it or for each of its first axis."""
        values: NDArray[np.float32] = self._interpreter.get_tensor(place).astype(np.float32)
        scales = self._tensors[place]["quantization_parameters"]["scales"]
        if len(scales):
            values *= scales.reshape(-1, *[1] * (values.ndim - 1))
        return values

    def last(self) -> tuple[str, Any]:
        """Return the operation that makes the answers, and the type of what comes out of it."""
        made = self._origin(int(self.outputs[0]["index"]))
        return str(self._makers[made]["op_name"]), self._tensors[made]["dtype"]

    def _is_features(self, output: Any) -> bool:
        """Whether an output is what the last pooling takes the average of."""
        (pooled,) = [int(one["inputs"][0]) for one in self.operations if one["op_name"] in POOLINGS][-1:] or [-1]
        return self._origin(int(output["index"])) == pooled

    def _origin(self, place: int) -> int:
        """Return the tensor that became this one by operations which leave it what it is."""
        while (maker := self._makers.get(place)) and maker["op_name"] in UNCHANGING:
            if int(maker["inputs"][0]) not in self._makers:
                break
            place = int(maker["inputs"][0])
        return place

    def seen(self, ends: tuple[float, float]) -> tuple[float, float]:
        """Return what becomes of two values of a pixel on their way to the first convolution.

        Raises `ValueError` if each colour is scaled in its own way.
        """
        first = next(one for one in self.operations if one["op_name"] in KERNELS)
        side = int(self.inputs[0]["shape"][1])
        image = np.full((1, side, side, 3), ends[0], self.inputs[0]["dtype"])
        image[:, :, side // 2 :] = ends[1]
        self._interpreter.set_tensor(self.inputs[0]["index"], image)
        self._interpreter.invoke()
        tensor = self._tensors[int(first["inputs"][0])]
        found = _real(self._interpreter.get_tensor(tensor["index"]), tensor["quantization"])
        low, high = (found[0, side // 2, column] for column in (side // 4, 3 * side // 4))
        if not (np.allclose(low, low[0], atol=1e-3) and np.allclose(high, high[0], atol=1e-3)):
            raise ValueError("scales each colour in its own way, expected the same for all")
        return float(low.mean()), float(high.mean())


def _shape(tensor: Any) -> Shape:
    return tuple(map(int, tensor["shape"]))


def _real(values: NDArray[Any], quantization: tuple[float, int]) -> NDArray[np.float32]:
    scale, zero = quantization
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values.astype(np.float32)
