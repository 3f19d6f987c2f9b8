"""What a served model is compared with: what was measured here, of the same weights, and can be run."""

from dataclasses import replace
from typing import Any

import pytest

from app.measurements import Latency
from app.mobilenet.variants import PUBLISHED, Variant
from app.model import alternatives as module
from app.model import scores
from app.model.alternatives import alternatives
from app.model.model import Model
from tests.support.fakes import colour_model

VARIANT = Variant(0.5, 160)
MODEL = replace(colour_model(), variant=VARIANT)


def measured(**other: Any) -> Latency:
    facts: dict[str, Any] = {
        "alpha": 0.5,
        "resolution": 160,
        "classes": 6,
        "precision": "float32",
        "engine": "litert",
        "threads": 2,
        "weights": "colours",
        "machine": "this one",
        "measured": "2026-01-31",
        "runs": 20,
        "median_ms": 2.0,
        "p95_ms": 3.0,
    }
    return Latency(**facts | other)


def found(*saved: Latency, model: Model = MODEL) -> list[Latency]:
    return [one.latency for one in alternatives(saved, model, VARIANT, machine="this one", threads=2)]


@pytest.mark.parametrize(
    "other",
    [
        {"machine": "an older one"},
        {"threads": 1},
        {"classes": 10},
        {"weights": "others"},
        {"alpha": 0.25},
        {"resolution": 128},
    ],
    ids=str,
)
def test_what_was_measured_under_other_conditions_is_not_compared(other: dict[str, Any]) -> None:
    ours, int8 = measured(), measured(precision="int8")
    assert found(ours, measured(engine="colour", **other), int8) == [ours, int8]


def test_an_engine_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.PACKAGES, "openvino", "a_package_that_is_not_there")
    ours = measured()
    assert found(ours, measured(engine="openvino"), measured(engine="unheard of")) == [ours]


def test_what_an_older_version_has_measured_counts_but_not_for_a_file_that_others_compiled() -> None:
    older = measured(weights=None)
    assert found(older) == [older]
    assert found(older, model=replace(MODEL, weights="theirs.tflite")) == []


def test_each_has_the_accuracy_of_the_served_weights_in_its_own_precision() -> None:
    def top1(model: Model) -> list[float | None]:
        saved = [measured(precision=one, weights=model.weights) for one in ("float32", "int8", "bfloat16")]
        return [one.top1 for one in alternatives(saved, model, VARIANT, machine="this one", threads=2)]

    of_each = {"float32": 0.9, "int8": 0.7, "bfloat16": 0.8}
    known = [
        one.model_copy(update={"top1": of_each[one.precision]})
        if Variant(one.alpha, one.resolution) == VARIANT
        else one
        for one in scores.read()
    ]
    assert top1(replace(MODEL, weights="imagenette", scores=tuple(known))) == list(of_each.values())
    published = replace(MODEL, weights="imagenet", published=True)
    assert top1(published) == [PUBLISHED[VARIANT].checkpoint_top1 / 100, None, None]
    assert top1(MODEL) == [None, None, None]


@pytest.mark.parametrize("published", [True, False])
def test_whether_the_weights_are_the_published_ones_the_model_says_and_not_their_name(published: bool) -> None:
    model = replace(MODEL, weights="imagenet", published=published)
    saved = [measured(weights="imagenet")]
    (one,) = alternatives(saved, model, VARIANT, machine="this one", threads=2)
    assert one.published is published
