"""Which of the layers in a file is which layer of a MobileNetV1, also where the file does not have the model itself."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from app.engines.keras.config import ConfiguredLayer, UnsuitableModelError
from app.engines.keras.file import KerasFile, Shape, StoredLayer
from app.mobilenet.architecture import STRIDE, layers

Slot = tuple[str, tuple[Shape, ...]]
"""A layer of the network: its name in Keras Applications, and the shapes of its arrays."""
ARRAYS_OF_NORMALISATION = 4  # γ, β, moving mean and variance


def features(alpha: float) -> list[Slot]:
    """Return all layers that have arrays except the classifier, from first to last."""
    found: list[Slot] = []
    *table, _ = layers(alpha, STRIDE)
    for layer in table:
        found.append((layer.name, layer.weight_shapes))
        found.append((f"{layer.name}_bn", ((layer.out_channels,),) * ARRAYS_OF_NORMALISATION))
    return found


def configured(file: KerasFile, chain: Iterable[ConfiguredLayer]) -> list[StoredLayer]:
    """Return the layers of a file in the order of its configuration.

    Raises `UnsuitableModelError` if a layer of the file is not in it.
    """
    stored = {layer.path: layer for layer in file.layers}
    found = []
    for layer in chain:
        path = next((path for path in _paths(layer, file.legacy) if path in stored), None)
        if path is not None:
            found.append(stored.pop(path))
            if not file.legacy and found[-1].name not in {"", layer.name}:
                raise UnsuitableModelError(f"has arrays of {found[-1]}, where its configuration has {layer}")
    if len(found) != len(file.layers):
        names = ", ".join(map(str, stored.values())) or "one layer twice"
        raise UnsuitableModelError(f"has arrays of {names}, where its configuration has no such layer")
    return found


def _paths(layer: ConfiguredLayer, legacy: bool) -> list[str]:
    if not legacy:
        return [layer.path]
    # In the legacy layout a model that contains but one layer with arrays has them under its own name.
    outer = layer.legacy_path.partition("/")[0]
    return [layer.legacy_path, outer] if layer.has_arrays else [layer.legacy_path]


def guided_by_names(file: KerasFile, alpha: float) -> list[StoredLayer] | None:
    """Return the layers in order if they have the names that Keras Applications gives them; None if they have not."""
    wanted = [name for name, _ in features(alpha)]
    count = Counter(layer.name for layer in file.layers)
    if any(count[name] != 1 for name in wanted):
        return None
    by_name = {layer.name: layer for layer in file.layers}
    return [by_name[name] for name in wanted] + [layer for layer in file.layers if layer.name not in set(wanted)]


def guided_by_shapes(file: KerasFile, alpha: float) -> list[StoredLayer]:
    """Return the layers in order by their shapes, and layers of equal shape by their place in the file.

    The classifier, or what there is in its stead, comes last. Where no layer has the shape that is wanted, the order
    is that of the file from there on. Raises `UnsuitableModelError` where the file does not say which of several layers
    of equal shape comes first.
    """
    left = sorted(file.layers, key=lambda layer: layer.place)
    found: list[StoredLayer] = []
    last: dict[tuple[int, ...], StoredLayer] = {}
    for name, shapes in features(alpha):
        alike = [layer for layer in left if layer.shapes == shapes]
        if not alike:
            rank = _kind(shapes)
            return found + sorted(left, key=lambda layer: _kind(layer.shapes) != rank)
        for one, other in pairwise(alike):
            _require_order(one, other)
        layer, kind = alike[0], _kind(shapes)
        if kind in last and _comparable(last[kind], layer) and layer.place < last[kind].place:
            raise UnsuitableModelError(
                f"is not a MobileNetV1: {layer}, which would have to be {name}, comes before {last[kind]}"
            )
        last[kind] = layer
        found.append(layer)
        left.remove(layer)
    return found + left


def _kind(shapes: tuple[Shape, ...]) -> tuple[int, ...]:
    """Return what tells convolutions, depthwise ones, dense layers and normalisations apart by their shapes."""
    if not shapes:
        return ()
    first = shapes[0]
    depthwise = len(first) == 4 and first[0] > 1 and first[-1] == 1
    return (len(first), depthwise)


def _comparable(one: StoredLayer, other: StoredLayer) -> bool:
    for (text, number), (other_text, other_number) in zip(one.place, other.place, strict=False):
        if text != other_text:
            return False
        if number != other_number:
            return True
    return False


def _require_order(one: StoredLayer, other: StoredLayer) -> None:
    if not _comparable(one, other):
        raise UnsuitableModelError(
            f"does not say whether {one} ({one.path}) or {other} ({other.path}) comes first, and both have the shape "
            f"{one.shapes[0]}; save the whole model as .keras instead of its weights alone"
        )
