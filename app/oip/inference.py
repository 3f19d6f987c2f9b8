"""One inference of the Open Inference Protocol, however its request came: over HTTP or over gRPC."""

from collections.abc import Sequence
from typing import Any

from app.api.response import account
from app.errors import ServiceError
from app.model.model import Model
from app.observability.trace import Trace
from app.oip import models, tensors
from app.oip.schemas import MODEL, AnswerParameters, InferenceResponse
from app.oip.tensors import Inference
from app.prediction.classifier import Classifier
from app.prediction.result import Classification, Result
from app.prediction.selection import Single
from app.runtime.pipeline import NOTHING, Wish


def admit(model: Model, classifier: Classifier, current: Trace) -> None:
    """Note the variant in the trace of the request. Raises `QueueFull` or `Draining` if its queue has no room.

    It is called before the tensors are received, which may take long.
    """
    current.facts["variant"] = model.variant.name
    classifier.check_room(Single([model.variant]))


async def classify(
    inference: Inference, model: Model, classifier: Classifier, deadline: float, current: Trace
) -> list[Result]:
    """Classify the images of a request; raises and returns what `Classifier.classify` does."""
    wish = Wish(embedding=True) if inference.embedding else NOTHING
    return await classifier.classify(inference.images, Single([model.variant]), deadline, current.span, wish)


def answer(
    inference: Inference, model: Model, outcomes: Sequence[Result], current: Trace
) -> tuple[InferenceResponse, list[bytes]]:
    """Return the answer, and the raw bytes of each output, which has none where its data are in the answer.

    Raises the first error of an image: the protocol knows no errors of single images.
    """
    batch_size = account(outcomes, current)
    found = _all(outcomes)
    outputs = [tensors.answer(_rows(found, form.name), form, model.labels) for form in inference.wanted]
    said = InferenceResponse(
        model_name=MODEL,
        model_version=models.version(model),
        id=current.request_id if inference.id is None else inference.id,
        parameters=AnswerParameters(macs=model.cost.macs, batch_size=batch_size),
        outputs=[output for output, _ in outputs],
    )
    return said, [raw for _, raw in outputs]


def _rows(found: Sequence[Classification], name: str) -> list[Any]:
    return [one.embedding if name == tensors.EMBEDDING else one.probabilities for one in found]


def _all(outcomes: Sequence[Result]) -> list[Classification]:
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ServiceError):
            detail = f"image {index} of {len(outcomes)}: {outcome.detail}" if len(outcomes) > 1 else outcome.detail
            raise type(outcome)(detail, outcome.headers, outcome.facts) from outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Classification)]
