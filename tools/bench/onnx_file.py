"""Writes a variant as an ONNX file, for servers of ONNX Runtime; run in an environment of its own, which has `onnx`."""

import sys
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.mobilenet.architecture import Layer, layers
from app.mobilenet.cost import Cost

Array = NDArray[np.float32]
EPSILON = 1e-3
"""What Keras adds to the variance of a batch normalisation."""
ARRAYS_OF_LAYER = 5
"""The kernel of a layer, and the scale, offset, mean and variance of its batch normalisation."""
OPSET, IR_VERSION = 21, 10


def write(arrays: Sequence[Array], alpha: float, resolution: int, target: Path) -> None:
    """Write the network with these weights, from uint8 pixels `[1, r, r, 3]` to probabilities `[1, classes]`.

    `arrays` is in the order in which Keras' `set_weights` takes them. Raises `ValueError` if the network that was
    written costs another number of MACs than the service's own.
    """
    table = list(layers(alpha, resolution, classes=len(arrays[-1])))
    graph = helper.make_graph(
        list(_nodes(table)),
        f"mobilenet_{alpha:g}_{resolution}",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, resolution, resolution, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(arrays[-1])])],
        [numpy_helper.from_array(array, name) for name, array in _constants(table, arrays)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    if (found := macs(model)) != (wanted := Cost.of(table).macs):
        raise ValueError(f"the ONNX file costs {found:,} MACs, and the service's network {wanted:,}")
    onnx.save(model, target)


def macs(model: onnx.ModelProto) -> int:
    """Count the multiplications of the convolutions of a model, from the shapes of their outputs and kernels."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    outputs = {one.name: [size.dim_value for size in one.type.tensor_type.shape.dim] for one in graph.value_info}
    kernels = {one.name: one.dims for one in graph.initializer}
    return sum(
        prod(outputs[node.output[0]]) * prod(kernels[node.input[1]][1:])
        for node in graph.node
        if node.op_type == "Conv"
    )


def _nodes(table: Sequence[Layer]) -> Iterator[onnx.NodeProto]:
    *features, classifier = table
    yield helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT)
    yield helper.make_node("Mul", ["floats", "scale"], ["scaled"])
    yield helper.make_node("Add", ["scaled", "offset"], ["centred"])
    yield helper.make_node("Transpose", ["centred"], ["image"], perm=[0, 3, 1, 2])
    last = "image"
    for layer in features:
        yield _convolution(layer, last)
        normalised = [f"{layer.name}_{part}" for part in ("out", "gamma", "beta", "mean", "variance")]
        yield helper.make_node("BatchNormalization", normalised, [f"{layer.name}_bn"], epsilon=EPSILON)
        yield helper.make_node("Clip", [f"{layer.name}_bn", "zero", "six"], [f"{layer.name}_relu"])
        last = f"{layer.name}_relu"
    yield helper.make_node("GlobalAveragePool", [last], ["features"])
    yield _convolution(classifier, "features", "bias")
    yield helper.make_node("Flatten", [f"{classifier.name}_out"], ["logits"])
    yield helper.make_node("Softmax", ["logits"], ["probabilities"])


def _convolution(layer: Layer, source: str, *bias: str) -> onnx.NodeProto:
    before = 1 if layer.kernel > 1 and layer.stride == 1 else 0  # "same" padding of an even side is after the image
    after = layer.kernel // 2
    return helper.make_node(
        "Conv",
        [source, f"{layer.name}_kernel", *bias],
        [f"{layer.name}_out"],
        group=layer.in_channels if layer.kind == "depthwise" else 1,
        pads=[before, before, after, after],
        strides=[layer.stride] * 2,
    )


def _constants(table: Sequence[Layer], arrays: Sequence[Array]) -> Iterator[tuple[str, Array]]:
    for name, value in (("scale", 1 / 127.5), ("offset", -1), ("zero", 0), ("six", 6)):
        yield name, np.array(value, np.float32)
    *features, classifier = table
    for number, layer in enumerate(features):
        kernel, *normalisation = arrays[number * ARRAYS_OF_LAYER : (number + 1) * ARRAYS_OF_LAYER]
        yield f"{layer.name}_kernel", _turned(kernel, layer)
        for part, array in zip(("gamma", "beta", "mean", "variance"), normalisation, strict=True):
            yield f"{layer.name}_{part}", array
    yield f"{classifier.name}_kernel", _turned(arrays[-2], classifier)
    yield "bias", arrays[-1]


def _turned(kernel: Array, layer: Layer) -> Array:
    """Return a kernel of Keras, `[h, w, in, out]`, as ONNX has it: `[out, in, h, w]`, of depthwise `[in, 1, h, w]`."""
    order = (2, 3, 0, 1) if layer.kind == "depthwise" else (3, 2, 0, 1)
    return np.ascontiguousarray(kernel.transpose(order))


if __name__ == "__main__":
    source, alpha_, resolution_, target_ = sys.argv[1:]
    with np.load(source) as file:
        write([file[name] for name in file.files], float(alpha_), int(resolution_), Path(target_))
