"""The operations and tensors of a `.tflite` model, in an interpreter that lets them be looked at."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
UNCHANGING = ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE")
"""Operations that leave an answer what it is."""

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
        self.outputs = self._interpreter.get_output_details()
        self.operations = self._interpreter._get_ops_details()
        self._tensors = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}

    def kernels(self) -> Iterator[tuple[Kernel, Any]]:
        """Yield the layers that have weights, from first to last, each with the type of its numbers."""
        for operation in self.operations:
            if operation["op_name"] in KERNELS:
                weights, output = (
                    self._tensors[int(operation[side][at])] for side, at in (("inputs", 1), ("outputs", 0))
                )
                yield Kernel(_shape(weights), _shape(output)[1:]), weights["dtype"]

    def last(self) -> tuple[str, Any]:
        """Return the operation that makes the answers, and the type of what comes out of it."""
        makers = {int(made): operation for operation in self.operations for made in operation["outputs"]}
        maker = makers[int(self.outputs[0]["index"])]
        while maker["op_name"] in UNCHANGING and int(maker["inputs"][0]) in makers:
            maker = makers[int(maker["inputs"][0])]
        return str(maker["op_name"]), self._tensors[int(maker["outputs"][0])]["dtype"]

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
