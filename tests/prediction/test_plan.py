"""The plan that a selection comes to for the variants that are loaded."""

from itertools import combinations
from typing import Any

import pytest

from app.errors import InvalidParameter
from app.mobilenet.variants import Variant
from app.prediction.budget import Candidate
from app.prediction.selection import Cascade, Selection, Single

TINY, SMALL, MIDDLE, LARGE = Variant(0.25, 32), Variant(0.25, 128), Variant(0.5, 160), Variant(1.0, 224)
CANDIDATES = [
    Candidate(MIDDLE, 100, 0.8, 10.0),
    Candidate(TINY, 10, 0.5, 1.0),
    Candidate(LARGE, 400, 0.9, 40.0),
    Candidate(SMALL, 40, 0.7, 4.0),
]
VALUES: dict[str, Any] = {
    "alpha": 0.5,
    "resolution": 160,
    "max_macs": 1000,
    "max_latency_ms": 100,
    "min_accuracy": 0.5,
    "variants": "all",
    "cascade": "0.25/32,0.5/160",
}
WAYS = [{"alpha", "resolution"}, {"max_macs", "max_latency_ms", "min_accuracy"}, {"variants"}, {"cascade"}]


@pytest.mark.parametrize("names", [*combinations(VALUES, 2)], ids=" and ".join)
def test_two_parameters_go_together_if_they_are_of_one_way_of_choosing(names: tuple[str, str]) -> None:
    selection = Selection(**{name: VALUES[name] for name in names})
    if any({*names} <= way for way in WAYS):
        selection.plan(CANDIDATES, degrade=False)
    else:
        with pytest.raises(InvalidParameter, match="one way of choosing"):
            selection.plan(CANDIDATES, degrade=False)


@pytest.mark.parametrize(
    ("selection", "chain"),
    [
        (Selection(alpha=1, resolution=224), [LARGE, MIDDLE, SMALL, TINY]),
        (Selection(), [MIDDLE, SMALL, TINY]),
        (Selection(max_macs=400), [LARGE, MIDDLE, SMALL, TINY]),
        (Selection(max_macs=400, min_accuracy=0.6), [LARGE, MIDDLE, SMALL]),
    ],
    ids=repr,
)
def test_what_stands_in_is_the_best_of_the_smaller_ones_that_has_room(
    selection: Selection, chain: list[Variant]
) -> None:
    plan = selection.plan(CANDIDATES, degrade=True)
    assert isinstance(plan, Single)
    assert plan.variants == chain
    alone = selection.plan(CANDIDATES, degrade=False)
    assert isinstance(alone, Single)
    assert alone.variants == chain[:1]


@pytest.mark.parametrize(("given", "threshold"), [({}, 0.8), ({"threshold": 0}, 0), ({"threshold": 0.95}, 0.95)])
def test_a_cascade_has_the_threshold_that_was_given_or_the_documented_one(
    given: dict[str, float], threshold: float
) -> None:
    plan = Selection(cascade="0.25/32,0.5/160", **given).plan(CANDIDATES, degrade=False)
    assert plan == Cascade((TINY, MIDDLE), threshold)
