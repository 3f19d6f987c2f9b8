"""Weight files: which one a setting names, its identity, and whether it is a MobileNetV1 of the wanted α."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import StartError
from app.mobilenet.architecture import BODY, STEM_FILTERS, Layer, layers
from app.mobilenet.variants import ALPHAS, Variant

if TYPE_CHECKING:
    import h5py

BUNDLED = "imagenette"
PUBLISHED = "imagenet"
SUFFIXES = (".h5", ".keras")  # `.weights.h5` ends in `.h5` too
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight file that exists: the name to show, its path, and the SHA-256 of its bytes in hex."""

    name: str
    path: Path
    sha256: str

    @property
    def published(self) -> bool:
        """Whether these are the weights that Keras Applications publishes."""
        return self.name == PUBLISHED


def locate(setting: str, variant: Variant, folder: Path) -> Weights:
    """Find the file that `MOBILENET_WEIGHTS` names: bundled or published ones in `folder`, others by their path.

    Raises `StartError` if it is not there or not named like a weight file.
    """
    if setting == BUNDLED:
        return _read(setting, folder / bundled_name(variant.alpha), _bundled_hint(folder))
    if setting == PUBLISHED:
        return _read(setting, folder / published_name(variant), "put the file of Keras Applications there")
    path = Path(setting).expanduser()
    if path.suffix not in SUFFIXES:
        raise StartError(
            f"MOBILENET_WEIGHTS={setting}: allowed are {BUNDLED}, {PUBLISHED}, or a path that ends in .h5, .keras or "
            ".weights.h5"
        )
    return _read(path.name, path, "no such file")


def bundled_name(alpha: float) -> str:
    """Return the file name of the bundled weights of this α; one file serves every resolution."""
    return f"imagenette_{alpha:g}.weights.h5"


def published_name(variant: Variant) -> str:
    """Return the file name of Keras Applications, such as `mobilenet_7_5_192_tf.h5` for α 0.75 at 192."""
    tenths = "1_0" if variant.alpha == 1 else f"{variant.alpha * 10:.1f}".replace(".", "_")
    return f"mobilenet_{tenths}_{variant.resolution}_tf.h5"


def _bundled_hint(folder: Path) -> str:
    bundled = [f"{alpha:g}" for alpha in ALPHAS if (folder / bundled_name(alpha)).is_file()]
    return f"weights are bundled for α {', '.join(bundled)}" if bundled else "no weights are bundled"


def _read(name: str, path: Path, hint: str) -> Weights:
    try:
        with path.open("rb") as file:
            return Weights(name, path, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as exc:
        raise StartError(f"MOBILENET_WEIGHTS={name}: cannot read {path}: {exc.strerror}; {hint}") from exc


def check(path: Path, alpha: float) -> int:
    """Return the class count of a MobileNetV1 weight file of this α, from the shapes of its kernels.

    Reads HDF5 in Keras' legacy and current layouts, and `.keras` archives; needs h5py, not TensorFlow.
    Raises `StartError` that names what is wrong: no weight file, truncated, another network, another α.
    """
    try:
        found = _kernel_shapes(path)
    except (OSError, KeyError, zipfile.BadZipFile) as exc:
        raise StartError(f"{path.name} is no Keras weight file, or it is damaged: {_reason(exc)}") from exc
    stem = found[0][-1] if found else 0
    if stem != int(alpha * STEM_FILTERS) and stem / STEM_FILTERS in ALPHAS:
        raise StartError(f"{path.name} has weights of α {stem / STEM_FILTERS:g}, and MOBILENET_ALPHA is {alpha:g}")
    if len(found) == 2 * len(BODY) + 1:
        raise StartError(f"{path.name} has no classifier layer; it was saved without its top")
    classes = found[-1][-1] if found else 0
    _compare(path, found, list(layers(alpha, resolution=32, classes=classes)))
    return classes


def _compare(path: Path, found: list[Shape], expected: list[Layer]) -> None:
    for shape, layer in zip_longest(found, expected):
        wanted = layer.weight_shapes[0] if layer else None
        if shape != wanted:
            name = layer.name if layer else "end"
            raise StartError(f"{path.name} is not a MobileNetV1: at {name} it has {shape}, expected {wanted}")


def _kernel_shapes(path: Path) -> list[Shape]:
    """List the shapes of all convolution kernels in the order of the network."""
    import h5py

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source: Path | io.BytesIO = io.BytesIO(archive.read("model.weights.h5"))
    else:
        source = path
    with h5py.File(source, "r") as file:
        groups = _legacy_layers(file) if "layers" not in file else _layers(file["layers"])
        return [shape for shape in groups if len(shape) == 4]


def _legacy_layers(file: "h5py.File") -> Iterator[Shape]:
    root = file.get("model_weights", file)
    for layer in root.attrs["layer_names"]:
        group = root[_text(layer)]
        for weight in group.attrs["weight_names"]:
            yield group[_text(weight)].shape


def _layers(root: "h5py.Group") -> Iterator[Shape]:
    # Keras names the groups by class and order: conv2d, conv2d_1, …; ours alternate after the first.
    yield root["conv2d/vars/0"].shape
    for number in range(len(BODY)):
        yield root[f"depthwise_conv2d{f'_{number}' if number else ''}/vars/0"].shape
        yield root[f"conv2d_{number + 1}/vars/0"].shape
    if f"conv2d_{len(BODY) + 1}" in root:
        yield root[f"conv2d_{len(BODY) + 1}/vars/0"].shape


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _reason(exc: BaseException) -> str:
    return str(exc).splitlines()[0]
