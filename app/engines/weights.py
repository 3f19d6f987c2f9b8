"""Weight files: which file a setting names, its SHA-256, and whether it holds a MobileNetV1 of the wanted α."""

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.config import Settings
from app.engines import activation
from app.engines.bundle import BUNDLED, Bundle
from app.engines.files import replacing, sha256
from app.errors import StartError
from app.mobilenet.architecture import CLASSIFIER, STEM_FILTERS, STRIDE, layers
from app.mobilenet.variants import ALPHAS, RESOLUTIONS, Variant
from app.mobilenet.variants import PUBLISHED as PUBLISHED_VARIANTS

if TYPE_CHECKING:
    import h5py

PUBLISHED = "imagenet"
COMPILED = ".tflite"
SUFFIXES = (".h5", ".keras", COMPILED)  # `.weights.h5` ends in `.h5` too
NORMALISATION_ARRAYS = 4  # γ, β, moving mean and variance
Array = NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight file: the name to show, its path, the SHA-256 of its bytes in hex, and the bundle that it is of."""

    name: str
    path: Path
    sha256: str
    bundle: Bundle | None = None

    @property
    def published(self) -> bool:
        """Whether these are the ImageNet weights that Keras Applications publishes."""
        return self.name == PUBLISHED

    @property
    def compiled(self) -> bool:
        """Whether they are a `.tflite` model, which is served as it is."""
        return self.path.suffix == COMPILED


def locate(settings: Settings, bundled: Bundle = BUNDLED) -> Weights:
    """Find the file that `MOBILENET_WEIGHTS` names: bundled, published and in the cache, in a folder, or by its path.

    A published file that is not in the cache is downloaded. Raises `StartError` if there is no such file, if it cannot
    be downloaded, if its name does not end like a weight file's, or if it has changed since it was made or first used.
    """
    setting, variant = settings.weights, settings.variant
    if setting == PUBLISHED:
        return _published(variant, settings)
    if bundle := _bundle(settings, bundled):
        return Weights(bundle.name, bundle.weights(variant.alpha), bundle.sha256(variant.alpha), bundle)
    path = Path(setting).expanduser()
    if path.suffix not in SUFFIXES:
        raise StartError(
            f"MOBILENET_WEIGHTS={setting}: allowed are {bundled.name}, {PUBLISHED}, a folder that `mobilenet train` "
            "has written, or a path that ends in .h5, .keras, .weights.h5 or .tflite"
        )
    if path.suffix == COMPILED:
        _check_compiled(path.name, settings)
    return _identify(path.name, path, "no such file")


def _bundle(settings: Settings, bundled: Bundle = BUNDLED) -> Bundle | None:
    """Return the bundle that the settings name, or None if they name a file or what is published."""
    if settings.weights == bundled.name:
        return bundled
    folder = Path(settings.weights).expanduser()
    return Bundle.open(folder) if folder.is_dir() else None


def _check_compiled(name: str, settings: Settings) -> None:
    if settings.engine == "tensorflow":
        raise StartError(f"MOBILENET_ENGINE=tensorflow: cannot run {name}; a .tflite file needs litert")
    if len(settings.lineup) > 1:
        others = ", ".join(variant.name for variant in settings.variants)
        raise StartError(f"MOBILENET_VARIANTS={others}: {name} is one variant; a .tflite file is served alone")


def variants(settings: Settings) -> list[Variant]:
    """Return the variants that the weights of the settings exist for, at the four resolutions of the paper.

    A `.tflite` file is one variant, that of the settings.
    """
    if settings.weights == PUBLISHED:
        return list(PUBLISHED_VARIANTS)
    if settings.weights.endswith(COMPILED):
        return [settings.variant]
    bundle = _bundle(settings)
    alphas = bundle.alphas if bundle else [settings.alpha]
    return [Variant(alpha, resolution) for alpha in alphas for resolution in RESOLUTIONS]


def published_name(variant: Variant) -> str:
    """Return the file name that Keras Applications uses, such as `mobilenet_7_5_192_tf.h5` for α 0.75 at 192."""
    tenths = "1_0" if variant.alpha == 1 else f"{variant.alpha * 10:.1f}".replace(".", "_")
    return f"mobilenet_{tenths}_{variant.resolution}_tf.h5"


def _published(variant: Variant, settings: Settings) -> Weights:
    if variant not in PUBLISHED_VARIANTS:
        sides = ", ".join(map(str, RESOLUTIONS))
        raise StartError(f"MOBILENET_RESOLUTION={variant.resolution}: {PUBLISHED} is published for {sides}")
    path = settings.cache / published_name(variant)
    if not path.is_file():
        _fetch(f"{str(settings.weights_url).rstrip('/')}/{path.name}", path, variant.alpha)
    weights = _identify(PUBLISHED, path, "no such file")
    _compare_with_record(weights)
    return weights


def _fetch(url: str, path: Path, alpha: float) -> None:
    from app.engines.download import download  # imported late, so that a start without a download needs no HTTP client

    try:
        with replacing(path) as temporary:
            download(url, temporary)
            _check(temporary, alpha, url)
    except StartError as exc:
        raise StartError(f"{exc}; get {path.name} from elsewhere and put it into {path.parent}") from exc


def _check(path: Path, alpha: float, url: str) -> None:
    try:
        read(path, alpha)
    except StartError as exc:
        raise StartError(f"cannot use what {url} answers: it {str(exc).removeprefix(path.name).lstrip()}") from exc


def _compare_with_record(weights: Weights) -> None:
    # No checksums of these files are published, so the first download cannot be verified. But its SHA-256 is recorded,
    # and from then on a file that has changed is refused (docs/decisions/0007).
    record = weights.path.with_name(f"{weights.path.name}.sha256")
    line = f"{weights.sha256}  {weights.path.name}\n"
    if record.is_file():
        if record.read_text(encoding="utf-8", errors="replace") != line:
            raise StartError(
                f"{weights.path} is not the file it was at its first use: its SHA-256 is {weights.sha256}, and not "
                f"the one in {record.name}; delete both to fetch it again"
            )
        return
    with suppress(StartError), replacing(record) as temporary:  # the folder may be read-only, which is not an error
        temporary.write_text(line, encoding="utf-8")


def _identify(name: str, path: Path, hint: str) -> Weights:
    try:
        return Weights(name, path, sha256(path))
    except OSError as exc:
        raise StartError(f"MOBILENET_WEIGHTS={name}: cannot read {path}: {exc.strerror}; {hint}") from exc


def read(path: Path, alpha: float) -> list[Array]:
    """Return the float32 arrays of a MobileNetV1 of this α, in the order in which `set_weights` takes them.

    The last array is the bias of the classifier, so its length is the number of classes. The file is HDF5 in Keras'
    legacy or current layout, or a `.keras` archive; the layout is recognised by the content and not by the name. Every
    array must have the shape that the table of layers gives it, so that no layer can keep its random initial weights.
    A file of a whole model says what it ends in, which has to be a softmax or logits; a file of weights alone does not
    say it. Needs h5py but not TensorFlow. Raises `StartError` that says what is wrong: not a weight file, damaged,
    another network, another α, or another activation at the end.
    """
    try:
        arrays, ends_in = _contents(path)
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError) as exc:
        raise StartError(f"{path.name} is not a Keras weight file, or it is damaged: {_first_line(exc)}") from exc
    except (AttributeError, KeyError, TypeError) as exc:
        raise StartError(f"{path.name} does not have the layers of a MobileNetV1: {_first_line(exc)}") from exc
    _compare(path, [array.shape for array in arrays], alpha)
    try:
        activation.check(ends_in)
    except ValueError as exc:
        raise StartError(f"{path.name} {exc}") from exc
    return arrays


def _compare(path: Path, found: list[Shape], alpha: float) -> None:
    stem = found[0][-1] if found and found[0] else 0
    if stem != int(alpha * STEM_FILTERS) and stem / STEM_FILTERS in ALPHAS:
        raise StartError(f"{path.name} has weights of α {stem / STEM_FILTERS:g}, but MOBILENET_ALPHA is {alpha:g}")
    classes = found[-1][0] if found and found[-1] else 0
    expected = list(_expected(alpha, classes))
    if found == [shape for name, shape in expected if name != CLASSIFIER]:
        raise StartError(f"{path.name} has no classifier layer; it was saved with include_top=False")
    for shape, (name, wanted) in zip(found, expected, strict=False):
        if shape != wanted:
            raise StartError(f"{path.name} is not a MobileNetV1: at {name} it has {shape}, expected {wanted}")
    if len(found) != len(expected):
        raise StartError(f"{path.name} is not a MobileNetV1: it has {len(found)} arrays, expected {len(expected)}")


def _expected(alpha: float, classes: int) -> Iterator[tuple[str, Shape]]:
    for layer in layers(alpha, STRIDE, classes):
        yield from ((layer.name, shape) for shape in layer.weight_shapes)
        if layer.name != CLASSIFIER:
            yield from ((f"{layer.name}_bn", (layer.out_channels,)) for _ in range(NORMALISATION_ARRAYS))


def _contents(path: Path) -> tuple[list[Array], str]:
    """Return the arrays of a file, and the activation that its model ends in; a softmax if it does not say."""
    import h5py

    source: Path | io.BytesIO = path
    config = None
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source, config = io.BytesIO(archive.read("model.weights.h5")), archive.read("config.json")
    with h5py.File(source, "r") as file:
        config = config or file.attrs.get("model_config")
        found = _current_layout(file["layers"]) if "layers" in file else _legacy_layout(file)
        arrays = [np.asarray(dataset, np.float32) for dataset in found]
    return arrays, "softmax" if config is None else activation.last(_text(config))


def _legacy_layout(file: "h5py.File") -> Iterator["h5py.Dataset"]:
    root = file.get("model_weights", file)  # a file of a whole model has its weights in this group
    for layer in root.attrs["layer_names"]:
        group = root[_text(layer)]
        for weight in group.attrs["weight_names"]:
            yield group[_text(weight)]


def _current_layout(root: "h5py.Group") -> Iterator["h5py.Dataset"]:
    # Keras names each group after the class of its layer and numbers them in order: conv2d, conv2d_1, … Pointwise
    # layers and the classifier count as conv2d too. Batch normalisation follows every layer except the classifier.
    seen: Counter[str] = Counter()
    for layer in layers(1.0, STRIDE):
        kind = "depthwise_conv2d" if layer.kind == "depthwise" else "conv2d"
        for name in (kind,) if layer.name == CLASSIFIER else (kind, "batch_normalization"):
            group = f"{name}_{seen[name]}" if seen[name] else name
            seen[name] += 1
            if layer.name != CLASSIFIER or group in root:
                variables = root[group]["vars"]
                yield from (variables[str(index)] for index in range(len(variables)))


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _first_line(exc: BaseException) -> str:
    return str(exc).splitlines()[0]
