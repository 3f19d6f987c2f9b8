"""The model that is served: an engine with loaded weights, and everything that is known about it."""

from dataclasses import dataclass
from math import isnan
from pathlib import Path

from app.config import MODEL_WEIGHTS, Settings
from app.engines.base import Engine, FeatureEngine
from app.engines.chatter import TENSORFLOW, hushed
from app.engines.files import verified
from app.engines.tflite.compile import compiled
from app.engines.weights import Weights, locate
from app.errors import StartError
from app.measurements import Score
from app.mobilenet.architecture import IMAGENET_CLASSES
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import PUBLISHED, Variant
from app.model import familiarity, labels, scores
from app.model.familiarity import Familiarity
from app.model.labels import Labels


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model and what is known about it. Two models are never equal, even of the same variant."""

    engine: Engine
    variant: Variant
    labels: Labels
    weights: str
    weights_sha256: str
    published: bool
    scores: tuple[Score, ...] = ()
    """What was measured of these weights, in this and in other variants."""
    golden: Path | None = None
    """The folder of the golden images that the model has to answer as pinned, if there is one."""
    familiarity: Familiarity | None = None
    """The energies of photos of its classes, by which other images are judged; None if they were not measured."""
    channels: int = 0
    """The length of its embeddings; 0 if it gives no features, as others compiled it."""
    first_s: float = 0.0
    """Seconds that one image took in the self-test: the first estimate of its latency."""

    @property
    def top1(self) -> float | None:
        """The share of photos it classifies correctly, 0 to 1, as measured or as published; None if unknown.

        It is known for weights that were trained here and for the published ImageNet weights only.
        """
        if score := self.score(self.variant):
            return score.top1
        published = PUBLISHED.get(self.variant) if self.published else None
        return published.checkpoint_top1 / 100 if published else None

    def score(self, variant: Variant) -> Score | None:
        """Return what was measured of these weights in a variant, and in the precision of this model."""
        return scores.find(self.scores, variant, self.engine.precision)

    def familiarity_of(self, energy: float) -> float | None:
        """Return how familiar an image of this energy is, as `Familiarity.share` says; None if that is unknown."""
        return None if self.familiarity is None or isnan(energy) else self.familiarity.share(energy)

    @property
    def cost(self) -> Cost:
        """The exact cost of one image."""
        return cost(self.variant, self.engine.classes)


def load(settings: Settings) -> Model:
    """Find the weights that the settings name, compile them if needed, and load them.

    Raises `StartError`, whose message is one line, for anything that is wrong with the settings or the files.
    """
    weights = locate(settings)
    engine = _load_engine(weights, settings)
    measured = (settings.variant, engine.precision)
    return Model(
        engine=engine,
        variant=settings.variant,
        labels=_load_labels(weights, settings, engine.classes),
        weights=weights.name,
        weights_sha256=weights.sha256,
        published=weights.published,
        scores=scores.read(weights.bundle.folder) if weights.bundle else (),
        golden=weights.bundle.golden if weights.bundle else None,
        channels=engine.channels if isinstance(engine, FeatureEngine) else 0,
        familiarity=familiarity.find(weights.bundle.folder, *measured) if weights.bundle else None,
    )


def _load_engine(weights: Weights, settings: Settings) -> Engine:
    # Imported here because each engine brings a large runtime of its own, and a process needs only one of them.
    if settings.engine == "tensorflow":
        with hushed(TENSORFLOW):
            return _load_tensorflow(weights, settings)
    if settings.engine == "openvino":
        return _load_openvino(weights, settings)
    if weights.compiled:
        from app.engines.tflite import foreign

        return foreign.load(weights.path, settings.variant, settings.precision, settings.model_threads)
    from app.engines.litert import LiteRTEngine

    model = compiled(weights, settings.variant, settings.cache, settings.precision)
    return LiteRTEngine(model.path, settings.model_threads, settings.precision)


def _load_tensorflow(weights: Weights, settings: Settings) -> Engine:
    try:
        from app.engines.tensorflow import TensorFlowEngine
    except ImportError as exc:
        raise StartError(
            "MOBILENET_ENGINE=tensorflow: TensorFlow is not installed; install the extra 'tensorflow'"
        ) from exc
    return TensorFlowEngine(weights, settings.variant, settings.model_threads)


def _load_openvino(weights: Weights, settings: Settings) -> Engine:
    try:
        from app.engines.openvino import OpenVINOEngine
    except ImportError as exc:
        raise StartError("MOBILENET_ENGINE=openvino: OpenVINO is not installed; install the extra 'openvino'") from exc
    model = compiled(weights, settings.variant, settings.cache, settings.precision)
    return OpenVINOEngine(model.path, settings.model_threads, settings.precision)


def _load_labels(weights: Weights, settings: Settings, classes: int) -> Labels:
    if settings.labels is not None:
        found = labels.load(settings.labels)
    elif weights.bundle:
        found = labels.load(verified(weights.bundle.labels))
    elif classes == IMAGENET_CLASSES:
        found = labels.load(verified(MODEL_WEIGHTS / "imagenet.labels.txt"))
    else:
        raise StartError(f"{weights.name} has {classes} classes; set MOBILENET_LABELS to a file with their labels")
    if len(found) != classes:
        raise StartError(f"there are {len(found)} labels, but {weights.name} has {classes} classes")
    return found
