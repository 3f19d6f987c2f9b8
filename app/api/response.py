"""The response to `POST /predict`: the results of its images as JSON, and what the log says of them.

It is built from plain dictionaries, because pydantic models would add a tenth of a millisecond to the response to a
small photo. Tests check it against `schemas.PredictResponse`.
"""

from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from app.api import problems
from app.errors import ServiceError
from app.measurements import UNFAMILIAR
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.model.labels import top_k
from app.model.model import Model
from app.observability.trace import Trace
from app.prediction.classifier import Classifier
from app.prediction.result import Classification, Result
from app.prediction.selection import Cascade, Plan, SideBySide, Single

Json = dict[str, Any]


def account(outcomes: Sequence[Result], current: Trace) -> int:
    """Note in the trace how long the stages took and how many images failed; return the largest batch size."""
    done = [outcome for outcome in outcomes if isinstance(outcome, Classification)]
    current.stages = {
        "decode": round(max([one.decode_ms for one in done], default=0.0), 3),
        "queue": round(max([one.queue_ms for one in done], default=0.0), 3),
        "inference": round(max([one.inference_ms for one in done], default=0.0), 3),
    }
    current.images = done
    batch_size = max([one.batch_size for one in done], default=0)
    current.facts |= {"images": len(outcomes), "failed": len(outcomes) - len(done), "batch_size": batch_size}
    return batch_size


def predict_response(classifier: Classifier, plan: Plan, outcomes: Sequence[Result], k: int, current: Trace) -> Json:
    """Return a `PredictResponse` as a dictionary, and note its stages and facts in the trace."""
    batch_size = account(outcomes, current)
    runs = {outcome.model: outcome for outcome in current.images}  # nearly always of one model
    model = max(runs, key=_macs) if runs else classifier.model
    current.facts["variant"] = model.variant.name
    costs = [_cost(one.models) for one in runs.values()] or [_cost([model])]
    stages = current.stages
    body: Json = {
        "model": _model(model),
        "results": [_result(outcome, plan, k, current) for outcome in outcomes],
        "cost": costs[0] if len(costs) == 1 else max(costs, key=itemgetter("macs")),
        "timing": {
            "decode_ms": stages["decode"],
            "queue_ms": stages["queue"],
            "inference_ms": stages["inference"],
            "total_ms": round(current.total_ms, 3),
        },
        "batch_size": batch_size,
    }
    if isinstance(plan, Single) and plan.reason is not None and plan.expected_ms is not None:
        body["choice"] = {"reason": plan.reason, "expected_ms": round(plan.expected_ms, 3)}
    if wanted := _degraded_from(plan, outcomes):
        body["degraded_from"] = {"alpha": wanted.alpha, "resolution": wanted.resolution}
        current.facts["degraded_from"] = wanted.name
    body["request_id"] = current.request_id
    return body


def _degraded_from(plan: Plan, outcomes: Sequence[Result]) -> Variant | None:
    """Return the variant that had no room, if another answered in its place."""
    if isinstance(plan, Single) and plan.variants:
        wanted = plan.variants[0]
        if any(isinstance(outcome, Classification) and outcome.model.variant != wanted for outcome in outcomes):
            return wanted
    return None


def _result(outcome: Result, plan: Plan, k: int, current: Trace) -> Json:
    if isinstance(outcome, ServiceError):
        return {"error": problems.problem(outcome, current.request_id)}
    answer = _answer(outcome, k)
    if isinstance(plan, Cascade):
        return {**answer, "model": _model(outcome.model), "cost": _cost(outcome.models)}
    if isinstance(plan, SideBySide):
        variants = [_variant(run, k) for run in outcome.runs or [outcome]]
        return {**answer, "variants": variants, "agreement": _agreement(answer["predictions"], variants)}
    return answer


def _variant(run: Classification, k: int) -> Json:
    return {
        "model": _model(run.model),
        **_answer(run, k),
        "cost": _cost([run.model]),
        "inference_ms": round(run.inference_ms, 3),
    }


def _agreement(predictions: Sequence[Json], variants: Sequence[Json]) -> float:
    alike = [bool(variant["predictions"][0]["class_id"] == predictions[0]["class_id"]) for variant in variants]
    return sum(alike) / len(alike)


def _answer(run: Classification, k: int) -> Json:
    classes = _classes(run.model)
    best = [{**classes[index], "probability": probability} for index, probability in top_k(run.probabilities, k)]
    familiarity = run.familiarity
    if familiarity is None:
        return {"predictions": best}
    if familiarity < UNFAMILIAR:
        return {"predictions": best, "familiarity": familiarity, "unfamiliar": True}
    return {"predictions": best, "familiarity": familiarity}


@lru_cache(maxsize=64)
def _classes(model: Model) -> list[Json]:
    return [{"class_id": n, "wordnet_id": one.wordnet_id, "label": one.label} for n, one in enumerate(model.labels)]


@lru_cache(maxsize=64)
def _model(model: Model) -> Json:
    return {
        "alpha": model.variant.alpha,
        "resolution": model.variant.resolution,
        "weights": model.weights,
        "precision": model.engine.precision,
    }


def forget_models() -> None:
    """Forget what was made of models, so that those that no longer serve can go from memory."""
    _classes.cache_clear()
    _model.cache_clear()


def _cost(models: Sequence[Model]) -> Json:
    return _spent(tuple(model.variant for model in models), models[0].engine.classes)


@lru_cache(maxsize=64)  # every response has a cost, and few costs differ
def _spent(variants: tuple[Variant, ...], classes: int) -> Json:
    costs = [cost(variant, classes) for variant in variants]
    return {
        "macs": sum(one.macs for one in costs),
        "flops": sum(one.flops for one in costs),
        "parameters": sum(one.parameters for one in costs),
    }


def _macs(model: Model) -> int:
    return model.cost.macs
