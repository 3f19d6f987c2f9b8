"""The answer of `/predict`: what came of the images, as the wire contract has it, and what that is in the log."""

from collections.abc import Sequence
from functools import lru_cache

from app import openapi
from app.classified import Classified, Found
from app.classifier import Classifier
from app.errors import ServiceError
from app.labels import top_k
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.model import Model
from app.plan import Cascade, Compare, Pick, Plan
from app.schemas import (
    Choice,
    Compared,
    CostRef,
    Failure,
    ModelRef,
    Prediction,
    Predictions,
    PredictResponse,
    Staged,
    Timing,
    VariantAnswer,
    VariantRef,
)
from app.telemetry import Trace


def account(outcomes: Sequence[Found], current: Trace) -> int:
    """Note in the trace where the time of the images went and how they fared; return the largest batch size."""
    done = [outcome for outcome in outcomes if isinstance(outcome, Classified)]
    for stage in ("decode", "queue", "inference"):
        current.stages[stage] = round(max((getattr(outcome, f"{stage}_ms") for outcome in done), default=0.0), 3)
    current.images = done
    batch_size = max((outcome.batch_size for outcome in done), default=0)
    current.facts |= {"images": len(outcomes), "failed": len(outcomes) - len(done), "batch_size": batch_size}
    return batch_size


def answer(classifier: Classifier, plan: Plan, outcomes: Sequence[Found], k: int, current: Trace) -> PredictResponse:
    """Put the answer together, and note its stages and facts in the trace."""
    done = [outcome for outcome in outcomes if isinstance(outcome, Classified)]
    batch_size = account(outcomes, current)
    model = max((outcome.model for outcome in done), key=_macs, default=classifier.model)
    current.facts["variant"] = model.variant.name
    return PredictResponse(
        model=_model(model),
        results=[_result(outcome, plan, k, current) for outcome in outcomes],
        cost=max((_cost(outcome.models) for outcome in done), key=lambda cost: cost.macs, default=_cost([model])),
        timing=Timing(
            **{f"{stage}_ms": ms for stage, ms in current.stages.items()}, total_ms=round(current.total_ms, 3)
        ),
        batch_size=batch_size,
        choice=_choice(plan),
        degraded_from=degraded_from(plan, outcomes),
        request_id=current.request_id,
    )


def degraded_from(plan: Plan, outcomes: Sequence[Found]) -> VariantRef | None:
    """Return the variant that had no room, if another answered in its place."""
    if isinstance(plan, Pick) and plan.variants:
        wanted = plan.variants[0]
        if any(isinstance(outcome, Classified) and outcome.model.variant != wanted for outcome in outcomes):
            return VariantRef(alpha=wanted.alpha, resolution=wanted.resolution)
    return None


def _choice(plan: Plan) -> Choice | None:
    if isinstance(plan, Pick) and plan.reason is not None and plan.expected_ms is not None:
        return Choice(reason=plan.reason, expected_ms=round(plan.expected_ms, 3))
    return None


def _result(outcome: Found, plan: Plan, k: int, current: Trace) -> Predictions | Failure:
    if isinstance(outcome, ServiceError):
        return Failure(error=openapi.problem(outcome, current.request_id))
    predictions = _predictions(outcome, k)
    if isinstance(plan, Cascade):
        return Staged(predictions=predictions, model=_model(outcome.model), cost=_cost(outcome.models))
    if isinstance(plan, Compare):
        variants = [_variant(run, k) for run in outcome.runs or [outcome]]
        return Compared(predictions=predictions, variants=variants, agreement=_agreement(predictions, variants))
    return Predictions(predictions=predictions)


def _variant(run: Classified, k: int) -> VariantAnswer:
    return VariantAnswer(
        model=_model(run.model),
        predictions=_predictions(run, k),
        cost=_cost([run.model]),
        inference_ms=round(run.inference_ms, 3),
    )


def _agreement(predictions: Sequence[Prediction], variants: Sequence[VariantAnswer]) -> float:
    alike = sum(variant.predictions[0].class_id == predictions[0].class_id for variant in variants)
    return alike / len(variants)


def _predictions(run: Classified, k: int) -> list[Prediction]:
    labels = run.model.labels
    return [
        Prediction(
            class_id=index,
            wordnet_id=labels[index].wordnet_id,
            label=labels[index].label,
            probability=probability,
        )
        for index, probability in top_k(run.probabilities, k)
    ]


def _model(model: Model) -> ModelRef:
    return ModelRef(
        alpha=model.variant.alpha,
        resolution=model.variant.resolution,
        weights=model.weights,
        precision=model.engine.precision,
    )


def _cost(models: Sequence[Model]) -> CostRef:
    return _spent(tuple(model.variant for model in models), models[0].engine.classes)


@lru_cache(maxsize=64)  # every answer has one, of few kinds
def _spent(variants: tuple[Variant, ...], classes: int) -> CostRef:
    costs = [cost(variant, classes) for variant in variants]
    return CostRef(
        macs=sum(one.macs for one in costs),
        flops=sum(one.flops for one in costs),
        parameters=sum(one.parameters for one in costs),
    )


def _macs(model: Model) -> int:
    return model.cost.macs
