"""Trainings of 4, 8, 16, … epochs share a steady one, and their learning rate falls to 0 in the last quarter."""

import pytest

from tools.experiments.plan import HIGHEST_RATE, WARM_UP, branch_epoch, falling_rate, lengths, steady_rate


def test_each_training_has_twice_the_epochs_of_the_one_before() -> None:
    assert lengths(4) == [4]
    assert lengths(64) == [4, 8, 16, 32, 64]


@pytest.mark.parametrize("longest", [0, 3, 6, 63])
def test_other_lengths_are_refused(longest: int) -> None:
    with pytest.raises(ValueError, match=f"4, 8, 16, … epochs, and not {longest}"):
        lengths(longest)


def test_a_training_leaves_the_steady_one_after_three_quarters_and_later_than_the_shorter_ones_did() -> None:
    assert [branch_epoch(length) for length in lengths(64)] == [3, 6, 12, 24, 48]


def test_the_rate_rises_and_stays() -> None:
    assert steady_rate(0) == 0
    assert steady_rate(WARM_UP / 2) == HIGHEST_RATE / 2
    assert steady_rate(WARM_UP) == steady_rate(1000) == HIGHEST_RATE


def test_the_rate_falls_to_zero_by_a_square_root_from_where_it_was_steady() -> None:
    rate = falling_rate(16)
    assert rate(12) == steady_rate(12)
    assert rate(13) == pytest.approx(HIGHEST_RATE / 2)
    assert rate(15.99) < 0.01 * HIGHEST_RATE
    assert rate(16) == 0
