"""Files as Keras writes them, made with h5py alone, of a MobileNetV1 whose arrays are all different."""

import json
import zipfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.mobilenet.architecture import CLASSIFIER, STRIDE, layers

ALPHA = 0.25
CLASSES = 3
CHANNELS = 256
"""What the classifier gets for each pixel."""
ROLES = {1: ("kernel",), 2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}

Array = NDArray[np.float32]
Layers = dict[str, list[Array]]
"""The arrays of each layer, by its name."""
Config = dict[str, Any]


def network() -> Layers:
    """Return the arrays of every layer of α 0.25 and three classes, by the names of Keras Applications."""
    numbers = np.random.default_rng(0)
    found: Layers = {}
    for layer in layers(ALPHA, STRIDE, CLASSES):
        found[layer.name] = [numbers.standard_normal(shape).astype(np.float32) for shape in layer.weight_shapes]
        if layer.name != CLASSIFIER:
            found[f"{layer.name}_bn"] = [numbers.random(layer.out_channels).astype(np.float32) for _ in range(4)]
    return found


def flat(found: Layers) -> list[Array]:
    """Return the arrays in the order in which `set_weights` takes them."""
    return [array for arrays in found.values() for array in arrays]


def dense(found: Layers) -> tuple[Layers, list[Array]]:
    """Split a network into its layers but the classifier, and the arrays of the classifier as a dense layer."""
    body = {name: arrays for name, arrays in found.items() if name != CLASSIFIER}
    kernel, bias = found[CLASSIFIER]
    return body, [kernel[0, 0], bias]


def numbered(names: Iterable[str]) -> dict[str, str]:
    """Return the names that Keras gives these layers by itself: `conv2d`, `conv2d_1`, `batch_normalization`, …"""
    seen: dict[str, int] = {}
    found = {}
    for name in names:
        kind = _kind(name)
        number = seen[kind] = seen.get(kind, -1) + 1
        found[name] = f"{kind}_{number}" if number else kind
    return found


def _kind(name: str) -> str:
    if name.endswith("_bn"):
        return "batch_normalization"
    return "depthwise_conv2d" if "_dw_" in name else "conv2d"


def save_current(path: Path, places: dict[str, list[Any]]) -> Path:
    """Write a file in the current layout, with arrays at these places, such as `layers/functional/layers/conv2d_1`."""
    import h5py

    with h5py.File(path, "w") as file:
        for place, arrays in places.items():
            for number, array in enumerate(arrays):
                file[f"{place}/vars/{number}"] = array
    return path


def nested(body: dict[str, list[Any]], inside: str = "layers/functional/layers") -> dict[str, list[Array]]:
    """Return the places of the layers of a network that is one layer of the whole model."""
    return {f"{inside}/{name}": body[layer] for layer, name in numbered(body).items()}


def save_legacy(path: Path, groups: dict[str, list[tuple[str, Array]]], config: Config | None = None) -> Path:
    """Write a file in the legacy layout: for each layer of the whole model, arrays and names like `dense/kernel:0`."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        for outer, weights in groups.items():
            group = file.create_group(outer)
            group.attrs["weight_names"] = [name.encode() for name, _ in weights]
            for name, array in weights:
                group[name] = array
    return path


def weights(found: Layers) -> Iterator[tuple[str, Array]]:
    """Yield the arrays with their names in the legacy layout of Keras 2."""
    for name, arrays in found.items():
        roles = ("depthwise_kernel",) if "_dw_" in name and len(arrays) == 1 else ROLES[len(arrays)]
        yield from ((f"{name}/{role}:0", array) for role, array in zip(roles, arrays, strict=True))


def save_archive(path: Path, places: dict[str, list[Array]], config: Config) -> Path:
    """Write a `.keras` archive."""
    inside = save_current(path.with_name("inside.h5"), places)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", inside.read_bytes())
        archive.writestr("config.json", json.dumps(config))
    return path


def layer(kind: str, name: str | None = None, **config: Any) -> Config:
    """Return the configuration of a layer."""
    name = name or kind.lower()
    return {"module": "keras.layers", "class_name": kind, "name": name, "config": {"name": name, **config}}


def sequential(*found: Config, name: str = "sequential") -> Config:
    """Return the configuration of a Sequential model."""
    return layer("Sequential", name, layers=list(found))


def functional(*found: Config, name: str = "functional") -> Config:
    """Return the configuration of a functional model of Keras 3 whose layers follow one another, in a mixed order."""
    linked = [{**found[0], "inbound_nodes": []}]
    for before, after in pairwise(found):
        operands = after["config"].pop("operands", [])
        linked.append({**after, "inbound_nodes": [{"args": [tensor(before["name"]), *operands], "kwargs": {}}]})
    inputs, outputs = [found[0]["name"], 0, 0], [found[-1]["name"], 0, 0]
    return layer("Functional", name, layers=linked, input_layers=inputs, output_layers=outputs)


def functional_of_keras_2(*found: Config, name: str = "model") -> Config:
    """Return the same of Keras 2."""
    linked = [{**found[0], "inbound_nodes": []}]
    for before, after in pairwise(found):
        keywords = after["config"].pop("keywords", {})
        call = [before["name"], 0, 0, keywords]
        linked.append({**after, "inbound_nodes": [call if after["class_name"] == "TFOpLambda" else [call]]})
    inputs, outputs = [[found[0]["name"], 0, 0]], [[found[-1]["name"], 0, 0]]
    return layer("Functional", name, layers=linked, input_layers=inputs, output_layers=outputs)


def tensor(name: str) -> Config:
    """Return a reference to the output of a layer, as Keras 3 writes it."""
    return {"class_name": "__keras_tensor__", "config": {"shape": [None], "keras_history": [name, 0, 0]}}


def body() -> list[Config]:
    """Return the configurations of all layers before the pooling."""
    *table, _ = layers(ALPHA, STRIDE)
    found = []
    for one in table:
        kind = "DepthwiseConv2D" if one.kind == "depthwise" else "Conv2D"
        strides, common = [one.stride] * 2, {"padding": "same", "data_format": "channels_last", "activation": "linear"}
        found += [
            layer(kind, one.name, strides=strides, dilation_rate=[1, 1], use_bias=False, **common),
            layer("BatchNormalization", f"{one.name}_bn", epsilon=0.001, axis=-1),
            layer("ReLU", f"{one.name}_relu", max_value=6.0, negative_slope=0.0, threshold=0.0),
        ]
    return found


def top(activation: str = "softmax") -> list[Config]:
    """Return the configurations of the pooling and of a dense classifier."""
    return [
        layer("GlobalAveragePooling2D", "pool"),
        layer("Dropout", "dropout", rate=0.1),
        layer("Dense", "dense", activation=activation),
    ]


IMAGE = layer("InputLayer", "image")
RESCALING = layer("Rescaling", "rescaling", scale=1 / 127.5, offset=-1)
