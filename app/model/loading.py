"""From settings to a model: find its weights, compile them if needed, and load them into an engine.

What serves a model that another process has loaded needs `model` alone, and none of this.
"""

from app.config import MODEL_WEIGHTS, Settings
from app.engines.base import Engine
from app.engines.chatter import TENSORFLOW, hushed
from app.engines.files import verified
from app.engines.tflite.compile import compiled
from app.engines.tflite.converter import Converter
from app.engines.weights import Weights, locate
from app.errors import StartError, install
from app.mobilenet.architecture import IMAGENET_CLASSES
from app.model import familiarity, labels, scores
from app.model.labels import Labels
from app.model.model import Model


def load(settings: Settings, converter: Converter | None = None) -> Model:
    """Find the weights that the settings name, compile them if needed, perhaps by a `converter`, and load them.

    Raises `StartError`, whose message is one line, for anything that is wrong with the settings or the files.
    """
    weights = locate(settings)
    engine = _load_engine(weights, settings, converter)
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
        channels=getattr(engine, "channels", 0),  # without a look at its classifier, which few ask for
        familiarity=familiarity.find(weights.bundle.folder, *measured) if weights.bundle else None,
    )


def _load_engine(weights: Weights, settings: Settings, converter: Converter | None) -> Engine:
    # Imported here because each engine brings a large runtime of its own, and a process needs only one of them.
    if settings.engine == "tensorflow":
        with hushed(TENSORFLOW):
            return _load_tensorflow(weights, settings)
    if settings.engine == "openvino":
        return _load_openvino(weights, settings, converter)
    if weights.compiled:
        from app.engines.tflite import foreign

        return foreign.load(weights.path, settings.variant, settings.precision, settings.model_threads)
    from app.engines.litert import LiteRTEngine

    model = compiled(weights, settings.variant, settings.cache, settings.precision, converter=converter)
    return LiteRTEngine(model.path, settings.model_threads, settings.precision)


def _load_tensorflow(weights: Weights, settings: Settings) -> Engine:
    try:
        from app.engines.tensorflow import TensorFlowEngine
    except ImportError as exc:
        raise StartError(f"MOBILENET_ENGINE=tensorflow: TensorFlow is not installed; {install('tensorflow')}") from exc
    return TensorFlowEngine(weights, settings.variant, settings.model_threads)


def _load_openvino(weights: Weights, settings: Settings, converter: Converter | None) -> Engine:
    try:
        from app.engines.openvino import OpenVINOEngine
    except ImportError as exc:
        raise StartError(f"MOBILENET_ENGINE=openvino: OpenVINO is not installed; {install('openvino')}") from exc
    model = compiled(weights, settings.variant, settings.cache, settings.precision, converter=converter)
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
