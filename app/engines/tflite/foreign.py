"""Reads a `.tflite` file that others compiled: whether it is a MobileNetV1, and how pixels go in and answers come out.

Nothing is guessed. The layers are compared with the table of `app.mobilenet`, so that what is said of the cost is true,
and a file whose input or output is not understood is refused. TensorFlow is not needed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engines import activation
from app.engines.files import content
from app.engines.litert import LiteRTEngine
from app.engines.tflite.graph import KERNELS, Graph, Kernel
from app.engines.tflite.interface import Interface, Output
from app.errors import StartError, first_line
from app.mobilenet.architecture import STRIDE, Layer, layers
from app.mobilenet.variants import ALPHAS, Precision, Variant

SEEN = (-1.0, 1.0)
"""What black and white have to be for the first convolution of a MobileNetV1 (`preprocess_input` of Keras)."""
RANGES = (SEEN, (0.0, 1.0), (0.0, 255.0))
"""What black and white may be for the file, which then scales them itself."""
TOLERANCE = 0.1
"""Share of a range by which its ends may be missed: photos that a file is quantised by are rarely black and white."""
HALF = 0.501
"""A half, and more than what a scale in float32 can be off by."""


def load(path: Path, variant: Variant, precision: Precision, threads: int) -> LiteRTEngine:
    """Load a `.tflite` file, which has to be a MobileNetV1 of this variant.

    The precision is that of the file. Raises `StartError`, in one line, if the file cannot be read, is damaged or
    another network, if its input or its output is not understood, or if `precision` is int8 and the file is in float32.
    """
    model = content(path)
    try:
        graph = Graph(model)
    except (ValueError, RuntimeError) as exc:
        raise StartError(f"{path.name} is not a TensorFlow Lite model, or it is damaged: {first_line(exc)}") from exc
    try:
        _check_variant(graph, variant)
        found = _precision(graph, precision)
        interface = Interface(_values(graph), *_output(graph))
    except ValueError as exc:
        raise StartError(f"{path.name} {exc}") from exc
    return LiteRTEngine.of(model, threads, found, interface)


def _check_variant(graph: Graph, wanted: Variant) -> None:
    """Raise `ValueError` unless the graph is a MobileNetV1 of this variant."""
    found = _variant(graph)
    if found != wanted:
        raise ValueError(
            f"is a MobileNetV1 of {found}, but MOBILENET_ALPHA={wanted.alpha:g} and "
            f"MOBILENET_RESOLUTION={wanted.resolution}"
        )


def _variant(graph: Graph) -> Variant:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(f"has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, expected one of each")
    taken, given = (tuple(map(int, one[0]["shape_signature"])) for one in (graph.inputs, graph.outputs))
    side = taken[1] if len(taken) == 4 else 0
    if taken not in ((1, side, side, 3), (-1, side, side, 3)) or side < STRIDE or side % STRIDE:
        raise ValueError(f"takes {list(taken)}, expected one image [1, r, r, 3] with r a multiple of {STRIDE}")
    kernels = [kernel for kernel, _ in graph.kernels()]
    misses = []
    for alpha in ALPHAS:
        miss = _first_miss(kernels, [*layers(alpha, side, given[-1])])
        if miss is None:
            return Variant(alpha, side)
        misses.append(miss)
    raise ValueError(f"is not a MobileNetV1: {max(misses)[1]}")


def _first_miss(kernels: Sequence[Kernel], table: Sequence[Layer]) -> tuple[int, str] | None:
    """Return the number of the first layer that is not as the table has it, and how it differs; None if there is none.

    The classifier may be a fully connected layer.
    """
    for number, (kernel, layer) in enumerate(zip(kernels, table, strict=False)):
        if kernel not in _expected(layer):
            shapes = f"weights {list(kernel.weights)} and gives {list(kernel.output)}"
            wanted = _expected(layer)[0]
            return number, f"at {layer.name} it has {shapes}, expected {list(wanted.weights)} and {list(wanted.output)}"
    if len(kernels) != len(table):
        return len(table), f"it has {len(kernels)} layers with weights, expected {len(table)}"
    return None


def _expected(layer: Layer) -> list[Kernel]:
    """Return the shapes that a layer may have in a `.tflite`, where the channels that come out are first."""
    output = (layer.out_size, layer.out_size, layer.out_channels)
    if layer.kind == "depthwise":
        return [Kernel((1, layer.kernel, layer.kernel, layer.in_channels), output)]
    convolution = Kernel((layer.out_channels, layer.kernel, layer.kernel, layer.in_channels), output)
    dense = Kernel((layer.out_channels, layer.in_channels), (layer.out_channels,))
    return [convolution, dense] if layer.kind == "classifier" else [convolution]


def _precision(graph: Graph, setting: Precision) -> Precision:
    """Return the precision of the file. The setting `float32`, which is also the default, allows both."""
    quantised = any(np.issubdtype(dtype, np.integer) for _, dtype in graph.kernels())
    if setting == "int8" and not quantised:
        raise ValueError("is a model in float32, but MOBILENET_PRECISION=int8")
    return "int8" if quantised else "float32"


def _values(graph: Graph) -> NDArray[Any] | None:
    """Return what stands for each value of a pixel in the type of the input; None if it takes the pixels themselves."""
    dtype, (scale, zero) = graph.inputs[0]["dtype"], graph.inputs[0]["quantization"]
    if dtype == np.uint8 and not scale:
        return None
    if dtype == np.float32:
        return np.linspace(*_range(graph), 256, dtype=np.float32)
    if dtype not in (np.uint8, np.int8) or not scale:
        raise ValueError(f"takes {np.dtype(dtype).name}, expected float32, uint8, or a quantised int8")
    limits = np.iinfo(dtype)
    ends = (scale * (limits.min - zero), scale * (limits.max - zero))
    for low, high in RANGES:
        if _near(ends, (low, high)):
            # Halves go up, so that a file whose steps are the values of pixels takes each as itself.
            steps = np.floor(np.linspace(low, high, 256) / scale + zero + HALF)
            quantised: NDArray[Any] = steps.clip(limits.min, limits.max).astype(dtype)
            return None if np.array_equal(quantised, np.arange(256)) else quantised
    raise ValueError(f"takes pixels from {ends[0]:.3g} to {ends[1]:.3g}, expected {_allowed()}")


def _range(graph: Graph) -> tuple[float, float]:
    """Return what black and white are for a float32 input: what makes its first convolution see -1 and 1."""
    for ends in RANGES:
        if _near(graph.seen(ends), SEEN):
            return ends
    raise ValueError(f"scales its input to something else than -1 to 1, from any of {_allowed()}")


def _near(found: tuple[float, float], wanted: tuple[float, float]) -> bool:
    allowed = TOLERANCE * (wanted[1] - wanted[0])
    return all(abs(one - other) <= allowed for one, other in zip(found, wanted, strict=True))


def _allowed() -> str:
    return ", ".join(f"{low:g} to {high:g}" for low, high in RANGES)


def _output(graph: Graph) -> tuple[Output, float, int]:
    """Return what the answers are, with the scale and the zero point of a quantised output."""
    scale, zero = graph.outputs[0]["quantization"]
    name, dtype = graph.last()
    if name not in KERNELS:
        activation.check({"LOGISTIC": "sigmoid"}.get(name, name.lower()))
    output: Output = "logits"
    if name == "SOFTMAX":
        output = "probabilities" if dtype == np.float32 else "rounded probabilities"
    return output, float(scale), int(zero)
