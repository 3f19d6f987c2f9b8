"""Weight files: which file a setting names, and the SHA-256 of its bytes."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.engines.bundle import BUNDLED, Bundle
from app.engines.files import CACHE, reading, replacing, sha256
from app.engines.files import NAME as MANIFEST
from app.engines.keras.reader import read
from app.errors import StartError, without_password
from app.mobilenet.variants import PUBLISHED as PUBLISHED_VARIANTS
from app.mobilenet.variants import RESOLUTIONS, Variant

PUBLISHED = "imagenet"
COMPILED = ".tflite"
SUFFIXES = (".h5", ".keras", COMPILED)  # `.weights.h5` ends in `.h5` too
SAVED_MODEL = "saved_model.pb"
"""What is in each folder in which TensorFlow has saved a model."""
ALLOWED = (
    f"{BUNDLED.name}, {PUBLISHED}, a folder that `mobilenet train` has written, or a path that ends in .h5, .keras, "
    ".weights.h5 or .tflite"
)


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight file: the name to show, its path, the SHA-256 of its bytes in hex, and the bundle that it is of."""

    name: str
    path: Path
    sha256: str
    bundle: Bundle | None = None

    @property
    def published(self) -> bool:
        """Whether these are the ImageNet weights that Keras Applications publishes, and no folder of the same name."""
        return self.name == PUBLISHED and self.bundle is None

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
    path = Path(setting)
    if path.suffix not in SUFFIXES:
        raise StartError(f"MOBILENET_WEIGHTS={setting}: allowed are {ALLOWED}")
    if path.suffix == COMPILED:
        _check_compiled(path.name, settings)
    return _identify(path.name, path)


def _bundle(settings: Settings, bundled: Bundle = BUNDLED) -> Bundle | None:
    """Return the bundle that the settings name, or None if they name a file or what is published."""
    if settings.weights == bundled.name:
        return bundled
    folder = Path(settings.weights)
    with reading("MOBILENET_WEIGHTS"):
        if not folder.is_dir():
            return None
        inside = {name for name in (MANIFEST, SAVED_MODEL) if (folder / name).is_file()}
    if MANIFEST in inside:
        return Bundle.open(folder)
    if SAVED_MODEL in inside:
        raise StartError(
            f"MOBILENET_WEIGHTS={folder}: this is a SavedModel of TensorFlow, which is not read: "
            "save the model as .keras"
        )
    raise StartError(
        f"MOBILENET_WEIGHTS={folder}: this folder has no {MANIFEST}, so it has no weights; allowed are {ALLOWED}"
    )


def _check_compiled(name: str, settings: Settings) -> None:
    if settings.engine != "litert":
        raise StartError(f"MOBILENET_ENGINE={settings.engine}: cannot run {name}; a .tflite file needs litert")
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
    with reading(CACHE):
        there = path.is_file()
    if not there:
        _fetch(f"{str(settings.weights_url).rstrip('/')}/{path.name}", path, variant.alpha)
    weights = _identify(PUBLISHED, path)
    _compare_with_record(weights)
    return weights


def _fetch(url: str, path: Path, alpha: float) -> None:
    from app.engines.download import download  # imported late, so that a start without a download needs no HTTP client

    try:
        with replacing(path, CACHE) as temporary:
            download(url, temporary)
            _check(temporary, alpha, url)
    except StartError as exc:
        raise StartError(f"{exc}; get {path.name} from elsewhere and put it into {path.parent}") from exc


def _check(path: Path, alpha: float, url: str) -> None:
    try:
        read(path, alpha)
    except StartError as exc:
        wrong = str(exc).removeprefix(path.name).lstrip()
        raise StartError(f"cannot use what {without_password(url)} answers: it {wrong}") from exc


def _compare_with_record(weights: Weights) -> None:
    # No checksums of these files are published, so the first download cannot be verified. But its SHA-256 is recorded,
    # and from then on a file that has changed is refused (docs/decisions/0007).
    record = weights.path.with_name(f"{weights.path.name}.sha256")
    line = f"{weights.sha256}  {weights.path.name}\n"
    with reading(CACHE):
        known = record.read_text(encoding="utf-8", errors="replace") if record.is_file() else None
    if known is not None:
        if known != line:
            raise StartError(
                f"{weights.path} is not the file it was at its first use: its SHA-256 is {weights.sha256}, and not "
                f"the one in {record.name}; delete both to fetch it again"
            )
        return
    with (
        suppress(StartError),
        replacing(record, CACHE) as temporary,
    ):  # the folder may be read-only, which is not an error
        temporary.write_text(line, encoding="utf-8")


def _identify(name: str, path: Path) -> Weights:
    try:
        return Weights(name, path, sha256(path))
    except OSError as exc:
        raise StartError(f"MOBILENET_WEIGHTS={name}: cannot read {path}: {exc.strerror}") from exc
