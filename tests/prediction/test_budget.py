"""What a budget leads to: what is chosen fits, nothing that fits is better, the nearest feasible one is feasible."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ImpossibleBudget
from app.mobilenet.variants import PUBLISHED, Variant
from app.prediction.budget import Budget, Candidate, fitting, ranked

SMALL, MIDDLE, LARGE = Variant(0.25, 128), Variant(0.5, 192), Variant(1.0, 224)
CANDIDATES = [
    Candidate(MIDDLE, 50, 0.8, 20.0),
    Candidate(SMALL, 10, 0.6, 5.0),
    Candidate(LARGE, 200, 0.9, 80.0),
]

candidates = st.lists(
    st.builds(
        Candidate,
        st.sampled_from(list(PUBLISHED)),
        st.integers(1, 10**9),
        st.none() | st.floats(0, 1),
        st.floats(0.01, 10**4),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.variant,
)
budgets = st.builds(
    Budget, st.none() | st.integers(1, 10**9), st.none() | st.floats(0.01, 10**4), st.none() | st.floats(0, 1)
)


def fits(one: Candidate, budget: Budget) -> bool:
    """Say the same as the code in other words."""
    return (
        (budget.max_macs is None or one.macs <= budget.max_macs)
        and (budget.max_latency_ms is None or one.expected_ms <= budget.max_latency_ms)
        and (budget.min_accuracy is None or (one.top1 or 0.0) >= budget.min_accuracy)
    )


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (Budget(), LARGE),
        (Budget(max_macs=199), MIDDLE),
        (Budget(max_macs=200), LARGE),
        (Budget(max_latency_ms=19.9), SMALL),
        (Budget(max_macs=100, min_accuracy=0.7), MIDDLE),
    ],
    ids=str,
)
def test_the_most_accurate_that_fits_is_chosen(budget: Budget, chosen: Any) -> None:
    assert fitting(CANDIDATES, budget)[0].variant == chosen


def test_of_equally_accurate_variants_the_cheaper_one_is_chosen() -> None:
    cheap, dear = Candidate(SMALL, 10, 0.8, 5.0), Candidate(MIDDLE, 50, 0.8, 20.0)
    for known in ([cheap, dear], [dear, cheap]):
        assert ranked(known) == [cheap, dear]
        assert fitting(known, Budget(min_accuracy=0.8))[0] == cheap


@given(candidates, budgets)
def test_what_is_chosen_fits_and_nothing_that_fits_is_more_accurate(known: list[Candidate], budget: Budget) -> None:
    good = [one for one in known if fits(one, budget)]
    try:
        found = fitting(known, budget)
    except ImpossibleBudget:
        assert good == []
        return
    assert sorted(found, key=repr) == sorted(good, key=repr)
    if all(one.top1 is not None for one in good):
        assert all((one.top1 or 0) <= (found[0].top1 or 0) for one in good)
    else:
        assert all(one.macs <= found[0].macs for one in good)


@given(candidates, budgets)
def test_the_nearest_feasible_budget_is_feasible_and_no_stricter(known: list[Candidate], budget: Budget) -> None:
    for one in known:
        if budget.min_accuracy is not None and one.top1 is None:
            continue
        wide = budget.widened(one)
        assert fits(one, wide)
        assert one in fitting(known, wide)
        assert all(other in fitting(known, wide) for other in known if fits(other, budget))


def test_an_impossible_budget_names_the_nearest_feasible_one() -> None:
    with pytest.raises(ImpossibleBudget) as caught:
        fitting(CANDIDATES, Budget(max_macs=40, min_accuracy=0.75))
    assert re.search(r"fits max_macs=40 and min_accuracy=0.75 now; .* max_macs=50 and min_accuracy=0.75, with 0.5/192",
                     caught.value.detail)  # fmt: skip


@pytest.mark.parametrize("min_accuracy", [None, 0.0])
def test_a_latency_that_no_number_can_be_divided_by_is_not_taken_for_an_accuracy(min_accuracy: float | None) -> None:
    unknown = [Candidate(SMALL, 10, None, 1.0), Candidate(LARGE, 20, None, 8.0)]
    with pytest.raises(ImpossibleBudget, match=r"fits max_latency_ms=5e-324.* is max_latency_ms=1.0.*, with 0.25/128"):
        fitting(unknown, Budget(max_latency_ms=5e-324, min_accuracy=min_accuracy))


def test_accuracies_of_0_were_measured() -> None:
    with pytest.raises(ImpossibleBudget, match="the nearest that is feasible is min_accuracy=0"):
        fitting([Candidate(SMALL, 10, 0.0, 1.0)], Budget(min_accuracy=0.1))


def test_a_variant_of_unknown_accuracy_satisfies_none() -> None:
    unknown = [Candidate(SMALL, 10, None, 1.0), Candidate(LARGE, 20, None, 1.0)]
    with pytest.raises(ImpossibleBudget, match="nobody has measured"):
        fitting(unknown, Budget(min_accuracy=0.1))
    assert Budget(min_accuracy=0.1).widened(unknown[0]) == Budget(min_accuracy=0.0)
    assert ranked(unknown)[0].variant == LARGE, "then more MACs count as better"
    mixed = [*unknown, Candidate(MIDDLE, 15, 0.2, 1.0)]
    assert [one.variant for one in fitting(mixed, Budget(min_accuracy=0.1))] == [MIDDLE]
