"""The numbers of a response, each from the result that it is of, where no two are alike."""

from dataclasses import replace

import numpy as np
import pytest

from app.api.response import account, predict_response
from app.config import Settings
from app.errors import UnsupportedImage
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.model.familiarity import Familiarity
from app.model.model import Model
from app.observability.metrics import Metrics
from app.observability.trace import Trace
from app.prediction.classifier import Classifier
from app.prediction.result import Classification, Result, combine
from app.prediction.selection import DEFAULT, Cascade, Plan, SideBySide, Single
from tests.support.fakes import COLOURS, colour_model, familiarity, serving, serving_lineup

FIRST = colour_model()
SECOND = replace(FIRST, variant=Variant(0.5, 64))
ROW = np.array([0.7, 0.1, 0.1, 0.05, 0.03, 0.02], np.float32)
ONE = Classification(FIRST, ROW, 0.5, 1.25, 20.5, 300.75, 4, "PNG", (0.0, 0.0, 0.0))
OTHER = Classification(SECOND, ROW, -0.5, 2.0, 10.0, 150.5, 7, "JPEG", (0.0, 0.0, 0.0))


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(serving(FIRST)(Settings()), Settings(), Metrics().images)


def test_every_time_is_under_its_own_name_and_a_batch_has_its_size(classifier: Classifier) -> None:
    current = Trace("an-id")
    body = predict_response(classifier, DEFAULT, [ONE], 2, current)
    timing = body["timing"]
    assert (timing["decode_ms"], timing["queue_ms"], timing["inference_ms"]) == (1.25, 20.5, 300.75)
    assert (body["batch_size"], body["request_id"], current.facts["batch_size"]) == (4, "an-id", 4)
    assert current.stages == {"decode": 1.25, "queue": 20.5, "inference": 300.75}


def test_of_several_images_the_longest_times_and_the_largest_batch_count() -> None:
    current = Trace("an-id")
    outcomes: list[Result] = [ONE, UnsupportedImage("no image"), OTHER]
    assert account(outcomes, current) == 7
    assert current.stages == {"decode": 2.0, "queue": 20.5, "inference": 300.75}
    assert (current.facts["images"], current.facts["failed"]) == (3, 1)


def test_side_by_side_every_variant_has_its_own_time_and_cost(classifier: Classifier) -> None:
    both = combine([ONE, OTHER], 1)
    body = predict_response(
        classifier, SideBySide((FIRST.variant, SECOND.variant), SECOND.variant), [both], 1, Trace("")
    )
    (result,) = body["results"]
    assert [one["inference_ms"] for one in result["variants"]] == [300.75, 150.5]
    macs = [cost(model.variant, len(COLOURS)).macs for model in (FIRST, SECOND)]
    assert [one["cost"]["macs"] for one in result["variants"]] == macs
    assert (body["timing"]["inference_ms"], body["cost"]["macs"]) == (451.25, sum(macs))
    assert [one["model"]["resolution"] for one in result["variants"]] == [FIRST.variant.resolution, 64]
    assert [len(one["predictions"]) for one in (result, *result["variants"])] == [1, 1, 1]
    assert result["agreement"] == 1.0


def test_of_a_cascade_every_image_has_its_variant_and_what_its_stages_cost_and_the_dearest_is_above(
    classifier: Classifier,
) -> None:
    cascade = Cascade((FIRST.variant, SECOND.variant), 0.8)
    outcomes: list[Result] = [combine([ONE], -1), combine([ONE, OTHER], -1), combine([ONE], -1)]
    body = predict_response(classifier, cascade, outcomes, 1, Trace(""))
    first, second = (cost(model.variant, len(COLOURS)).macs for model in (FIRST, SECOND))
    assert [one["cost"]["macs"] for one in body["results"]] == [first, first + second, first]
    resolutions = [FIRST.variant.resolution, 64, FIRST.variant.resolution]
    assert [one["model"]["resolution"] for one in body["results"]] == resolutions
    assert (body["model"]["resolution"], body["cost"]["macs"]) == (64, first + second)


@pytest.mark.parametrize("stages", [(FIRST, SECOND), (SECOND, FIRST)], ids=["small first", "large first"])
def test_above_the_answers_of_a_cascade_is_its_last_variant_that_was_asked(
    classifier: Classifier, stages: tuple[Model, Model]
) -> None:
    one, other = (replace(ONE, model=model) for model in stages)
    outcomes: list[Result] = [combine([one], -1), combine([one, other], -1), combine([one], -1)]
    current = Trace("")
    body = predict_response(classifier, Cascade((stages[0].variant, stages[1].variant), 0.8), outcomes, 1, current)
    assert body["model"] == body["results"][1]["model"]
    assert (body["model"]["alpha"], current.facts["variant"]) == (stages[1].variant.alpha, stages[1].variant.name)


BOTH = (FIRST.variant, SECOND.variant)


@pytest.mark.parametrize(
    ("plan", "named", "cost_of"),
    [
        (DEFAULT, FIRST, [FIRST]),
        (Single([SECOND.variant, FIRST.variant]), SECOND, [SECOND]),
        (SideBySide(BOTH, SECOND.variant), SECOND, [FIRST, SECOND]),
        (Cascade((SECOND.variant, FIRST.variant), 0.8), SECOND, [SECOND]),
    ],
    ids=["default", "chosen", "side by side", "cascade"],
)
def test_where_no_image_was_classified_the_variant_that_was_wanted_is_named(
    plan: Plan, named: Model, cost_of: list[Model]
) -> None:
    settings, current = Settings(alpha=0.25, resolution=64, variants="0.5/64"), Trace("")
    classifier = Classifier(serving_lineup()(settings), settings, Metrics().images)
    broken: list[Result] = [UnsupportedImage("no image"), UnsupportedImage("no image")]
    body = predict_response(classifier, plan, broken, 1, current)
    assert (body["model"]["alpha"], current.facts["variant"]) == (named.variant.alpha, named.variant.name)
    assert body["cost"]["macs"] == sum(cost(model.variant, len(COLOURS)).macs for model in cost_of)


def test_a_variant_that_answers_for_one_without_room_is_said_to(classifier: Classifier) -> None:
    current = Trace("")
    body = predict_response(classifier, Single([SECOND.variant, FIRST.variant]), [ONE], 1, current)
    assert body["degraded_from"] == {"alpha": 0.5, "resolution": 64}
    assert current.facts["degraded_from"] == SECOND.variant.name
    for plan in (Single([FIRST.variant, SECOND.variant]), DEFAULT):
        assert "degraded_from" not in predict_response(classifier, plan, [ONE], 1, current)


def test_a_variant_that_answers_for_another_is_said_to_even_if_some_images_failed(classifier: Classifier) -> None:
    plan = Single([SECOND.variant, FIRST.variant])
    failed = UnsupportedImage("no image")
    orders: list[list[Result]] = [[ONE, failed], [failed, ONE]]
    for outcomes in orders:
        body = predict_response(classifier, plan, outcomes, 1, Trace(""))
        assert body["degraded_from"] == {"alpha": 0.5, "resolution": 64}


def test_what_a_budget_led_to_is_explained_and_nothing_else(classifier: Classifier) -> None:
    plan = Single([FIRST.variant], "the only one that fits", 12.34567)
    body = predict_response(classifier, plan, [ONE], 1, Trace(""))
    assert body["choice"] == {"reason": "the only one that fits", "expected_ms": 12.346}
    assert "choice" not in predict_response(classifier, DEFAULT, [ONE], 1, Trace(""))


def test_times_are_told_to_a_microsecond_and_are_0_if_no_image_was_run(classifier: Classifier) -> None:
    current = Trace("")
    account([replace(ONE, decode_ms=1.23456, queue_ms=2.34567, inference_ms=3.45678)], current)
    assert current.stages == {"decode": 1.235, "queue": 2.346, "inference": 3.457}
    assert account([UnsupportedImage("no image")], current) == 0
    assert current.stages == {"decode": 0, "queue": 0, "inference": 0}
    body = predict_response(classifier, DEFAULT, [UnsupportedImage("no image")], 1, current)
    assert body["model"]["resolution"] == FIRST.variant.resolution


KNOWN = familiarity(0, 1)


def test_an_image_is_as_familiar_as_its_energy_says_and_unfamiliar_below_a_twentieth(classifier: Classifier) -> None:
    for energy, share, unfamiliar in ((0.5, 0.5, None), (0.05, 0.05, None), (0.0499, 0.0499, True), (-9, 0, True)):
        image = replace(ONE, model=replace(FIRST, familiarity=KNOWN), energy=energy)
        (result,) = predict_response(classifier, DEFAULT, [image], 1, Trace(""))["results"]
        assert (result["familiarity"], result.get("unfamiliar")) == (share, unfamiliar)


@pytest.mark.parametrize(("known", "energy"), [(None, 0.5), (KNOWN, np.nan)])
def test_where_familiarity_is_unknown_nothing_is_said_of_it(
    classifier: Classifier, known: Familiarity | None, energy: float
) -> None:
    image = replace(ONE, model=replace(FIRST, familiarity=known), energy=energy)
    (result,) = predict_response(classifier, DEFAULT, [image], 1, Trace(""))["results"]
    assert set(result) == {"predictions"}


def test_each_variant_says_how_familiar_the_image_is_to_itself(classifier: Classifier) -> None:
    one, other = (replace(run, model=replace(run.model, familiarity=KNOWN)) for run in (ONE, OTHER))
    both = combine([one, other, replace(ONE, model=replace(FIRST, variant=Variant(0.75, 64)))], 1)
    plan = SideBySide((FIRST.variant, SECOND.variant), SECOND.variant)
    (result,) = predict_response(classifier, plan, [both], 1, Trace(""))["results"]
    assert [run.get("familiarity") for run in result["variants"]] == [0.5, 0, None]
    assert (result["familiarity"], result["unfamiliar"]) == (0, True)


def test_probabilities_are_rounded_to_seven_significant_digits(classifier: Classifier) -> None:
    row = np.array([2 / 3, 1 / 3, 1.2345678e-7, 0, 0, 0], np.float32)
    body = predict_response(classifier, DEFAULT, [replace(ONE, probabilities=row)], 3, Trace(""))
    found = [one["probability"] for one in body["results"][0]["predictions"]]
    assert found == [0.6666667, 0.3333333, 1.234568e-07]
