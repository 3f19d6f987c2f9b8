"""The served model in the words of the Open Inference Protocol: its name, its versions and its tensors."""

from app import __version__
from app.errors import NotFound
from app.model.model import Model
from app.oip import tensors
from app.oip.schemas import MODEL, ModelMetadata, ServerMetadata, TensorMetadata
from app.prediction.classifier import Classifier


def server(*extensions: str) -> ServerMetadata:
    """Describe the server, with the extensions that it has."""
    return ServerMetadata(name="mobilenet-service", version=__version__, extensions=list(extensions))


def find(name: str, version: str | None, classifier: Classifier) -> Model:
    """Return the model of this name; its versions are the loaded variants, and None is the default one.

    Raises `NotFound`.
    """
    if name != MODEL:
        raise NotFound(f"there is no model {name[:80]!r}; {MODEL} is served")
    if version is None:
        return classifier.model
    served = _versions(classifier)
    if version not in served:
        raise NotFound(f"there is no version {version[:80]!r} of {MODEL}; served: {', '.join(served)}")
    return served[version]


def _versions(classifier: Classifier) -> dict[str, Model]:
    """Return the loaded models by their version, the default first."""
    return {version(model): model for model in classifier.models.values()}


def version(model: Model) -> str:
    """Return the version of a model: its variant, as α@resolution."""
    return f"{model.variant.alpha:g}@{model.variant.resolution}"


def describe(model: Model, classifier: Classifier) -> ModelMetadata:
    """Describe the tensors that a model takes and answers."""
    side = model.variant.resolution
    return ModelMetadata(
        name=MODEL,
        versions=list(_versions(classifier)),
        platform=model.engine.name,
        inputs=[
            TensorMetadata(name=tensors.IMAGE, datatype="BYTES", shape=[-1]),
            TensorMetadata(name=tensors.PIXELS, datatype="UINT8", shape=[-1, side, side, 3]),
        ],
        outputs=[
            TensorMetadata(name=name, datatype="FP32", shape=[-1, size])
            for name, size in tensors.outputs(model).items()
        ],
    )
