"""The response to `POST /predict`: the results of its images as JSON, and what the log says of them.

It is built from plain dictionaries, because pydantic models would add a tenth of a millisecond to the response to a
small photo. Tests check it against `schemas.PredictResponse`.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any
from urllib.parse import quote

from app.api import problems
from app.errors import InvalidParameter, ServiceError
from app.measurements import UNFAMILIAR
from app.mobilenet.variants import Variant
from app.model.evidence import Evidence, as_stored
from app.model.labels import top_k
from app.model.model import Model
from app.observability.trace import Trace
from app.prediction.classifier import Classifier
from app.prediction.result import Classification, Result
from app.prediction.selection import Cascade, Plan, SideBySide, Single

Json = dict[str, Any]
STAGES = ("decode", "queue", "inference")


def account(outcomes: Sequence[Result], current: Trace) -> int:
    """Note in the trace how long the stages took and how many images failed; return the largest batch size."""
    done = [outcome for outcome in outcomes if isinstance(outcome, Classification)]
    times = [(one.decode_ms, one.queue_ms, one.inference_ms) for one in done] or [(0.0, 0.0, 0.0)]
    longest = times[0] if len(times) == 1 else [max(stage) for stage in zip(*times, strict=True)]
    current.stages = dict(zip(STAGES, [round(stage_ms, 3) for stage_ms in longest], strict=True))
    current.images = done
    batch_size = max([one.batch_size for one in done], default=0)
    current.facts |= {"images": len(outcomes), "failed": len(outcomes) - len(done), "batch_size": batch_size}
    return batch_size


def predict_response(classifier: Classifier, plan: Plan, outcomes: Sequence[Result], k: int, current: Trace) -> Json:
    """Return a `PredictResponse` as a dictionary, and note its stages and facts in the trace."""
    batch_size = account(outcomes, current)
    runs = {outcome.model: outcome for outcome in current.images}  # nearly always of one model
    model = _last(runs, plan) if runs else classifier.models[variant_of(plan, classifier.model.variant)]
    current.facts["variant"] = model.variant.name
    costs = [_cost_of_run(one) for one in runs.values()] or [_cost_of_none(model, classifier, plan)]
    body: Json = {
        "model": model_reference(model),
        "results": [_result(outcome, plan, k, current) for outcome in outcomes],
        "cost": costs[0] if len(costs) == 1 else max(costs, key=itemgetter("macs")),
        "timing": timing(current),
        "batch_size": batch_size,
    }
    if isinstance(plan, Single) and plan.reason is not None and plan.expected_ms is not None:
        body["choice"] = {"reason": plan.reason, "expected_ms": round(plan.expected_ms, 3)}
    if wanted := _degraded_from(plan, outcomes):
        body["degraded_from"] = {"alpha": wanted.alpha, "resolution": wanted.resolution}
        current.facts["degraded_from"] = wanted.name
    body["request_id"] = current.request_id
    return body


def variant_of(plan: Plan, default: Variant) -> Variant:
    """Return the variant that the answer names if no image could be classified."""
    match plan:
        case Single(variants):
            return variants[0] if variants else default
        case SideBySide(_, best):
            return best
        case Cascade(stages):
            return stages[0]


def _last(models: Collection[Model], plan: Plan) -> Model:
    """Return the model that was asked last of those that answered; only a cascade has several."""
    if isinstance(plan, Cascade):
        return max(models, key=lambda model: plan.stages.index(model.variant))
    return next(iter(models))


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
        return {**answer, "model": model_reference(outcome.model), "cost": _cost_of_run(outcome)}
    if isinstance(plan, SideBySide):
        variants = [_variant(run, k) for run in outcome.runs or [outcome]]
        return {**answer, "variants": variants, "agreement": _agreement(answer["predictions"], variants)}
    return answer


def _variant(run: Classification, k: int) -> Json:
    return {
        "model": model_reference(run.model),
        **_answer(run, k),
        "cost": _cost_of_run(run),
        "inference_ms": round(run.inference_ms, 3),
    }


def _agreement(predictions: Sequence[Json], variants: Sequence[Json]) -> float:
    alike = [bool(variant["predictions"][0]["class_id"] == predictions[0]["class_id"]) for variant in variants]
    return sum(alike) / len(alike)


def _answer(run: Classification, k: int) -> Json:
    classes = _classes(run.model)
    best = [{**classes[index], "probability": probability} for index, probability in top_k(run.probabilities, k)]
    if run.evidence is not None:
        for one, grid in zip(best, run.evidence, strict=True):
            one["evidence"] = _evidence(grid, run)
    familiarity = run.familiarity
    if familiarity is None:
        return {"predictions": best}
    if familiarity < UNFAMILIAR:
        return {"predictions": best, "familiarity": familiarity, "unfamiliar": True}
    return {"predictions": best, "familiarity": familiarity}


def _evidence(grid: Evidence, run: Classification) -> Json:
    """Return what each place says for a class, and where these places lie among the pixels of the file."""
    region = run.region
    values = grid if region is None else as_stored(grid, region.orientation)
    rows, columns = values.shape
    found = {"logit": round(float(grid.sum()), 6), "rows": rows, "columns": columns}
    found["values"] = values.astype(float).round(6).tolist()
    if region is not None:
        found["box"] = region._asdict()
    return found


@lru_cache(maxsize=64)
def _classes(model: Model) -> list[Json]:
    return [{"class_id": n, "wordnet_id": one.wordnet_id, "label": one.label} for n, one in enumerate(model.labels)]


@lru_cache(maxsize=64)
def model_reference(model: Model) -> Json:
    """Return the `ModelRef` of a model."""
    return {
        "alpha": model.variant.alpha,
        "resolution": model.variant.resolution,
        "weights": model.weights,
        "precision": model.engine.precision,
    }


def forget_models() -> None:
    """Forget what was made of models, so that those that no longer serve can go from memory."""
    _classes.cache_clear()
    model_reference.cache_clear()
    cost_of.cache_clear()


def model_name(model: Model) -> str:
    """Return what the model is called in a header, which is ASCII: the name of a file is percent-encoded."""
    return f"{quote(model.weights)} {model.variant.name} {model.engine.precision}"


def check_features(models: Iterable[Model]) -> None:
    """Raise `InvalidParameter` for a model that gives no features, from which embeddings and evidence are made."""
    for model in models:
        if not model.channels:
            raise InvalidParameter(
                f"{model.weights} {model.variant.name} gives no features, so that there are neither explanations nor "
                "embeddings: it was compiled without them; serve its Keras weights, or train or compile it again"
            )


def timing(current: Trace) -> Json:
    """Return the `Timing` of a request whose stages were noted."""
    stages = current.stages
    return {
        "decode_ms": stages["decode"],
        "queue_ms": stages["queue"],
        "inference_ms": stages["inference"],
        "total_ms": round(current.total_ms, 3),
    }


def _cost_of_run(run: Classification) -> Json:
    """Return the cost of an image in the networks that ran on it, and that of its evidence if there is any."""
    spent = cost_of(run.models)
    macs = sum(one.evidence.size * one.model.channels for one in run.runs or [run] if one.evidence is not None)
    return {**spent, "explain_macs": macs} if macs else spent


def _cost_of_none(model: Model, classifier: Classifier, plan: Plan) -> Json:
    """Return what an image would have cost, where none could be classified."""
    return cost_of(tuple(classifier.models_of(plan)) if isinstance(plan, SideBySide) else (model,))


@lru_cache(maxsize=64)  # every response has a cost, and few costs differ
def cost_of(models: tuple[Model, ...]) -> Json:
    """Return the `CostRef` of one image in these networks."""
    costs = [model.cost for model in models]
    return {
        "macs": sum(one.macs for one in costs),
        "flops": sum(one.flops for one in costs),
        "parameters": sum(one.parameters for one in costs),
    }
