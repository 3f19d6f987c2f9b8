"""The layers of a Keras model in the order in which an image passes them, by the configuration in the model's file."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

OPERATION = "TFOpLambda"
"""Keras 2's class of every operation of TensorFlow; its configuration says which."""


class UnsuitableModelError(Exception):
    """A model that cannot be served. The message says why, in words that follow the name of its file."""


@dataclass(frozen=True, slots=True)
class ConfiguredLayer:
    """One layer or operation: its class and name, its configuration, and where a file has its arrays.

    `path` is its group in Keras' current layout, such as `layers/functional/layers/conv2d_1`. `legacy_path` is that in
    the legacy layout: its name, behind the name of the layer of the whole model that contains it, such as
    `mobilenet_0.25_64/conv1`. `operands` are the numbers that an operation takes beside the output before it.
    """

    kind: str
    name: str
    config: dict[str, Any]
    path: str
    legacy_path: str
    operands: tuple[Any, ...] = ()

    @property
    def has_arrays(self) -> bool:
        """Whether it is one of the four classes of layers that a MobileNetV1 has arrays in."""
        return self.kind in {"Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense"}

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


def layers(model: dict[str, Any]) -> list[ConfiguredLayer]:
    """Return the layers of a model, those of models inside it too, from the image to the answer.

    Raises `UnsuitableModelError` unless each layer takes the output of one other layer, and `KeyError`, `TypeError` or
    `ValueError` if this is not the configuration of a model.
    """
    if not _is_model(model):
        raise UnsuitableModelError(
            f"is a model of a class of your own, {model['class_name']}, and the file does not say what its code does; "
            "save a Sequential or functional model, or its weights alone"
        )
    return list(_expanded(model, "", ""))


def _is_model(layer: dict[str, Any]) -> bool:
    config = layer["config"]
    return isinstance(config, list) or "layers" in config  # old versions have a list for a Sequential


def _expanded(model: dict[str, Any], path: str, legacy_path: str) -> Iterator[ConfiguredLayer]:
    config = model["config"]
    listed = config if isinstance(config, list) else config["layers"]
    paths = dict(zip(map(_name, listed), _paths(listed, path), strict=True))
    for layer, operands in _chain(config, listed):
        name = _name(layer)
        if _is_model(layer):
            yield from _expanded(layer, paths[name], legacy_path or name)
        else:
            place = f"{legacy_path}/{name}" if legacy_path else name
            yield ConfiguredLayer(_kind(layer), name, layer["config"], paths[name], place, operands)


def _name(layer: dict[str, Any]) -> str:
    config = layer["config"]
    return str(layer["name"] if "name" in layer else config["name"])


def _kind(layer: dict[str, Any]) -> str:
    kind = layer["class_name"]
    return str(layer["config"]["function"] if kind == OPERATION else kind).rpartition(".")[2]


def _paths(listed: list[dict[str, Any]], path: str) -> Iterator[str]:
    # Keras names each group after the class of its layer, and numbers those of a class: conv2d, conv2d_1, …
    seen: Counter[str] = Counter()
    for layer in listed:
        name = _snake_case(layer["class_name"])
        number = f"_{seen[name]}" if seen[name] else ""
        seen[name] += 1
        yield f"{path}/layers/{name}{number}".lstrip("/")


def _snake_case(name: str) -> str:
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _chain(config: Any, listed: list[dict[str, Any]]) -> list[tuple[dict[str, Any], tuple[Any, ...]]]:
    """Return the layers with their operands, from input to output; a Sequential has them in this order already."""
    if isinstance(config, list) or "output_layers" not in config:
        return [(layer, ()) for layer in listed]
    by_name = {_name(layer): layer for layer in listed}
    found = []
    name: str | None = _single(config["output_layers"], "answers")
    while name is not None:
        layer = by_name.pop(name)  # a layer that comes a second time is a loop, and a KeyError
        sources, operands = _inbound(layer)
        found.append((layer, operands))
        name = sources[0] if sources else None
    _single(config["input_layers"], "inputs")
    return found[::-1]


def _single(listed: Any, what: str) -> str:
    # One input or output is ["name", 0, 0], and in older versions [["name", 0, 0]]; those with names are a mapping.
    listed = list(listed.values()) if isinstance(listed, dict) else listed
    if isinstance(listed[0], list):
        if len(listed) != 1:
            raise UnsuitableModelError(f"is not a MobileNetV1: it has {len(listed)} {what}, expected one")
        listed = listed[0]
    return str(listed[0])


def _inbound(layer: dict[str, Any]) -> tuple[list[str], tuple[Any, ...]]:
    """Return the names of the layers whose outputs a layer takes, and the numbers it is called with beside them."""
    nodes = layer["inbound_nodes"]
    if len(nodes) > 1:
        raise UnsuitableModelError(f"is not a MobileNetV1: it uses the layer {_name(layer)} {len(nodes)} times")
    if not nodes:
        return [], ()
    arguments, keywords = _current_call(nodes[0]) if isinstance(nodes[0], dict) else _legacy_call(nodes[0])
    if keywords.pop("training", None):
        raise UnsuitableModelError(
            f"calls its layer {_name(layer)} with training=True, so that it does not predict as it was trained to; "
            "expected training=False or nothing"
        )
    values = [*arguments, *(value for key, value in keywords.items() if key not in {"mask", "name"})]
    sources: list[str] = [value for value in values if isinstance(value, _Tensor)]
    if len(sources) > 1:
        raise UnsuitableModelError(
            f"is not a MobileNetV1: its layer {_name(layer)} ({_kind(layer)}) joins the outputs of {len(sources)} "
            "layers, expected one after the other"
        )
    operands = tuple(None if isinstance(value, _Tensor) else value for value in values)
    return sources, operands[1:] if operands[:1] == (None,) else operands


class _Tensor(str):
    """The name of the layer whose output an argument is."""


def _current_call(node: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    return _flat(node["args"]), {key: _argument(value) for key, value in node["kwargs"].items()}


def _flat(values: list[Any]) -> list[Any]:
    return [one for value in values for one in (_flat(value) if isinstance(value, list) else [_argument(value)])]


def _argument(value: Any) -> Any:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return _Tensor(value["config"]["keras_history"][0])
    return value


def _legacy_call(node: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    # A call is ["name", node, tensor, keywords], or a list of them; a tensor in the keywords is ["name", node, tensor].
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for name, _, value, *rest in node if isinstance(node[0], list) else [node]:
        arguments.append(value if name == "_CONSTANT_VALUE" else _Tensor(name))
        keywords |= rest[0] if rest else {}
    tensors = {key: _Tensor(value[0]) for key, value in keywords.items() if _is_reference(value)}
    return arguments, keywords | tensors


def _is_reference(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
