"""The settings that a served model could be served with instead, as `mobilenet bench` has measured them here."""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from typing import Final

from app.engines.weights import COMPILED
from app.measurements import Latency
from app.mobilenet.variants import Variant
from app.model.model import Model
from app.model.recommendation import Measured

PACKAGES: Final = {"litert": "ai_edge_litert", "openvino": "openvino", "tensorflow": "tensorflow"}
"""The package that each engine needs; two of them are extras."""


def alternatives(
    saved: Iterable[Latency], model: Model, variant: Variant, *, machine: str, threads: int
) -> list[Measured]:
    """Return what was measured of a model's weights in a variant, in each engine and precision, its own included.

    Only what can be compared counts: it was measured on this machine, with as many threads and classes, and of these
    weights, unless an older version has not noted which. What needs an engine that is not installed is left out.
    """
    conditions = (variant.alpha, variant.resolution, machine, threads, model.engine.classes)
    return [
        Measured(one, model.top1_in(variant, one.precision), model.published)
        for one in saved
        if (one.alpha, one.resolution, one.machine, one.threads, one.classes) == conditions
        and _is_of(one, model.weights)
        and (one.engine == model.engine.name or _installed(PACKAGES.get(one.engine)))
    ]


def _is_of(one: Latency, weights: str) -> bool:
    # What was measured of any weights says nothing of a file that others compiled, which runs in LiteRT alone.
    return one.weights == weights or (one.weights is None and not weights.endswith(COMPILED))


@cache
def _installed(package: str | None) -> bool:
    return package is not None and find_spec(package) is not None
