"""Finds the variant that the flags of a command ask for: in a service, or among those of the weights here."""

import asyncio
from collections.abc import Sequence
from math import inf

from app.api import catalogue
from app.client import Client
from app.client.calls import PredictOptions
from app.config import Settings
from app.engines import weights
from app.errors import StartError
from app.mobilenet.variants import Variant
from app.model.selftest import SelfTestFailed
from app.prediction.budget import Budget, Candidate, ranked
from app.runtime.loading import start_loading
from app.schemas import Catalogue, ModelInfo


def loaded_there(client: Client, wanted: PredictOptions) -> ModelInfo:
    """Return what a service says of the wanted variant. Raises `StartError`, with those it has, if it is not loaded."""
    info = client.model_info(wanted.get("alpha"), wanted.get("resolution"))
    if not info.served:
        names = ", ".join(f"{one.alpha:g}/{one.resolution}" for one in client.variants().variants if one.served)
        raise StartError(f"the service has not loaded {info.alpha:g}/{info.resolution}; loaded are {names}")
    return info


def within(budget: Budget, settings: Settings) -> Settings:
    """Return the settings with the most accurate variant of the weights that fits a budget.

    What is known of all variants, the default one says once it is loaded. Raises `StartError` if none fits.
    """
    try:
        pipeline = start_loading(settings)()
    except SelfTestFailed as exc:
        raise StartError(str(exc)) from exc
    known = catalogue.variants(pipeline.models, settings)
    asyncio.run(pipeline.close())
    there_are = weights.variants(settings)
    return settings.serving(_best(budget, [one for one in _candidates(known) if one.variant in there_are]))


def _best(budget: Budget, candidates: Sequence[Candidate]) -> Variant:
    if budget.max_latency_ms is not None and all(one.expected_ms == inf for one in candidates):
        raise StartError("--max-latency-ms: how long variants take here is not known yet; run `mobilenet bench` first")
    fitting = [one for one in candidates if budget.excess(one) <= 1]
    if not fitting:
        nearest = min(candidates, key=budget.excess)
        raise StartError(f"no variant fits {budget}; the nearest is {nearest.variant.name}, {_about(nearest)}")
    return ranked(fitting)[0].variant


def _candidates(known: Catalogue) -> list[Candidate]:
    return [
        Candidate(Variant(one.alpha, one.resolution), one.macs, one.top1, one.latency.median_ms if one.latency else inf)
        for one in known.variants
    ]


def _about(candidate: Candidate) -> str:
    right = "an unknown accuracy" if candidate.top1 is None else f"a top-1 of {candidate.top1:.3f}"
    takes = "" if candidate.expected_ms == inf else f", {candidate.expected_ms:g} ms"
    return f"with {candidate.macs:,} MACs, {right}{takes}"
