"""What a file of Keras has in it: the arrays of every layer, and the configuration of the model if it is there."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import h5py

MAX_BYTES = 2**30
"""The limit of an archive's weights and of one array. The largest network with its optimizer's state has 51 MB."""
MAX_DEPTH = 32
"""How many groups may be inside one another; models inside models take two each."""
BFLOAT16 = np.dtype("V2")
"""HDF5 has no such type, so that Keras writes two bytes for each number."""
NOT_LAYERS = ("optimizer", "metrics")
ROLES = ("kernel", "depthwise_kernel", "gamma", "beta", "bias", "moving_mean", "moving_variance")
"""The names of arrays in the legacy layout, in the order in which `set_weights` of a layer takes them."""

Array = NDArray[np.float32]
Shape = tuple[int, ...]
Place = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """The arrays of one layer, in the order in which its own `set_weights` takes them.

    `path` is its group in the file, `name` what the model calls it where the file says so. `place` compares with that
    of another layer: of two that differ first in a number, the one with the smaller number comes first in the model;
    of two that differ first in a text, the file does not say which comes first.
    """

    path: str
    name: str
    place: Place
    datasets: "list[h5py.Dataset]" = field(repr=False)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of the arrays."""
        return tuple(dataset.shape for dataset in self.datasets)

    def arrays(self) -> list[Array]:
        """Read the arrays as float32. Raises `ValueError` if one is too large to be of a MobileNetV1."""
        return [_array(dataset) for dataset in self.datasets]

    def __str__(self) -> str:
        return self.name or self.path


@dataclass(frozen=True, slots=True)
class KerasFile:
    """An open file: the layers that have arrays, the model's configuration or None, and which of two layouts it has."""

    layers: list[StoredLayer]
    config: dict[str, Any] | None
    legacy: bool


@contextmanager
def opened(path: Path) -> Iterator[KerasFile]:
    """Open a HDF5 file in Keras' legacy or current layout, or a `.keras` archive; the content says which, not the name.

    The arrays can be read as long as it is open. Raises what h5py, zipfile and json raise for a file that is damaged,
    or is none.
    """
    import h5py

    source, config = (path, None) if h5py.is_hdf5(path) or not zipfile.is_zipfile(path) else _archived(path)
    with h5py.File(source, "r") as file:
        config = config or file.attrs.get("model_config")
        root = file.get("model_weights", file)  # as in a file of a whole model
        legacy = "layer_names" in root.attrs or "layer_names0" in root.attrs
        found = list(_legacy_layout(root) if legacy else _current_layout(file, [], set()))
        yield KerasFile(found, None if config is None else json.loads(config), legacy)


def _archived(path: Path) -> tuple[io.BytesIO, bytes]:
    with zipfile.ZipFile(path) as archive:
        for name in ("model.weights.h5", "config.json"):
            if archive.getinfo(name).file_size > MAX_BYTES:
                raise ValueError(f"{name} in it is larger than {MAX_BYTES} bytes")
        return io.BytesIO(archive.read("model.weights.h5")), archive.read("config.json")


def _array(dataset: "h5py.Dataset") -> Array:
    if dataset.size * 4 > MAX_BYTES:
        raise ValueError(f"{dataset.name} is larger than {MAX_BYTES} bytes")
    if dataset.dtype == BFLOAT16:  # the upper half of a float32
        return (np.asarray(dataset).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.asarray(dataset, np.float32)


def _legacy_layout(root: "h5py.Group") -> Iterator[StoredLayer]:
    """Yield the layers: every layer of the model is a group, and a model inside it is one, with all of its layers."""
    for number, outer in enumerate(_names(root, "layer_names")):
        group = root[outer]
        inner: dict[str, dict[str, h5py.Dataset]] = {}
        for name in _names(group, "weight_names"):
            layer, _, role = name.rpartition("/")
            inner.setdefault(layer, {})[role.partition(":")[0]] = group[name]
        yield from _legacy_layers(outer, number, inner)


def _legacy_layers(outer: str, number: int, inner: "dict[str, dict[str, h5py.Dataset]]") -> Iterator[StoredLayer]:
    for layer, roles in inner.items():
        name, place = layer.rpartition("/")[2], [("", number)]
        datasets = [roles[role] for role in sorted(roles, key=_rank)]
        if len(inner) == 1:
            yield StoredLayer(outer, outer, tuple(place), datasets)
        else:
            # Their order is not that of the model: arrays that are trained come first, and some may be frozen.
            yield StoredLayer(f"{outer}/{name}", name, (*place, _numbered(name)), datasets)


def _rank(role: str) -> int:
    return ROLES.index(role) if role in ROLES else len(ROLES)


def _names(group: "h5py.Group", attribute: str) -> Iterator[str]:
    # An attribute holds 64 kB at most; longer lists are in several: weight_names0, weight_names1, …
    if attribute in group.attrs:
        yield from map(_text, group.attrs[attribute])
    number = 0
    while (part := f"{attribute}{number}") in group.attrs:
        yield from map(_text, group.attrs[part])
        number += 1


def _current_layout(group: "h5py.Group", path: list[str], seen: set[int]) -> Iterator[StoredLayer]:
    """Yield the layers in a group of this path: each is a group that has a group `vars`, whose arrays are numbered."""
    import h5py

    address = h5py.h5o.get_info(group.id).addr
    if address in seen or len(path) > MAX_DEPTH:
        raise ValueError("its groups contain one another")
    seen.add(address)
    for name in group:
        if not path and name in NOT_LAYERS:
            continue
        child = group[name]
        if isinstance(child, h5py.Group):
            yield from _stored(child, path) if name == "vars" else _current_layout(child, [*path, name], seen)


def _stored(variables: "h5py.Group", path: list[str]) -> Iterator[StoredLayer]:
    # Integers are the states of random generators.
    found = [variables[name] for name in sorted(variables, key=int)]
    datasets = [one for one in found if one.dtype.kind == "f" or one.dtype == BFLOAT16]
    if datasets:
        place = tuple(_numbered(part) for part in path)
        yield StoredLayer("/".join(path), _text(variables.attrs.get("name", "")), place, datasets)


def _numbered(name: str) -> tuple[str, int]:
    """Split `conv2d_12` into `conv2d` and 12; `conv2d`, which is the first, has 0."""
    number = name[len(name.rstrip("0123456789")) :]
    text = name.removesuffix(number).removesuffix("_")
    return text, int(number or 0)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
