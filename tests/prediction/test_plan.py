"""The plan that a selection comes to for the variants that are loaded."""

from itertools import combinations
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import InvalidParameter, VariantNotLoaded
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


@pytest.mark.parametrize("way", ["variants", "cascade"])
def test_several_variants_can_be_kept_from_degrading_and_not_be_allowed_to(way: str) -> None:
    assert Selection(**{way: VALUES[way]}, degrade="never").plan(CANDIDATES, degrade=True)
    assert Selection(**{way: VALUES[way]}).plan(CANDIDATES, degrade=True)
    with pytest.raises(InvalidParameter, match=f"^degrade=allow is not possible with {way}; "):
        Selection(**{way: VALUES[way]}, degrade="allow").plan(CANDIDATES, degrade=False)


@pytest.mark.parametrize(("given", "threshold"), [({}, 0.8), ({"threshold": 0}, 0), ({"threshold": 0.95}, 0.95)])
def test_a_cascade_has_the_threshold_that_was_given_or_the_documented_one(
    given: dict[str, float], threshold: float
) -> None:
    plan = Selection(cascade="0.25/32,0.5/160", **given).plan(CANDIDATES, degrade=False)
    assert plan == Cascade((TINY, MIDDLE), threshold)


@pytest.mark.parametrize(
    ("selection", "error", "says"),
    [
        (Selection(variants="0.5"), InvalidParameter, "^variants: "),
        (Selection(cascade="0.5,0.25/32"), InvalidParameter, "^cascade: "),
        (Selection(cascade=""), InvalidParameter, "^cascade: "),
        (Selection(variants="ALL"), InvalidParameter, "^variants: 'ALL' is not a .*; or write all, alone and in lower"),
        (Selection(variants="all,0.5/160"), InvalidParameter, "^variants: 'all' is not .*; or write all, alone"),
        (Selection(cascade="all"), InvalidParameter, "^cascade: 'all' is not a variant such as 0.5/160: .*resolution$"),
        (Selection(variants="0.75/96"), VariantNotLoaded, "0.75/96 is not loaded; loaded are 0.5/160, 0.25/32"),
    ],
    ids=repr,
)
def test_what_is_wrong_with_names_is_said_of_their_parameter(
    selection: Selection, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        selection.plan(CANDIDATES, degrade=False)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("max_macs", 1, None), ("max_latency_ms", 1e-9, None), ("min_accuracy", 0, 1), ("threshold", 0, 1)],
)
def test_a_limit_has_its_range(name: str, least: float, most: float | None) -> None:
    for value in (least, most or 10**12):
        Selection(**{name: value})
    for value in (least - 1e-6 if name != "max_macs" else 0, 1 + 1e-6 if most else float("inf")):
        with pytest.raises(ValidationError):
            Selection(**{name: value})


def test_every_parameter_is_described_and_each_number_has_an_example_that_is_valid() -> None:
    for name, field in Selection.model_fields.items():
        assert field.description, name
        for example in field.examples or ():
            assert Selection(**{name: example})
    assert {name for name, field in Selection.model_fields.items() if field.examples} == {
        "alpha",
        "resolution",
        "max_macs",
        "max_latency_ms",
        "min_accuracy",
    }


def test_a_selection_cannot_be_changed_since_requests_share_it() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Selection().alpha = 0.5  # type: ignore[misc]
