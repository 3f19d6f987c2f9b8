"""Which tests are tried on a mutant."""

import pytest

from tools.mutants.mutants import first_difference, sample
from tools.mutants.suite import AT_MOST_S, Suite, statement

TEXT = """\
LIMIT = 3


def double(
    value,
):
    if value > LIMIT:
        return (
            2
            * value
        )
    match value:
        case 1:
            return 0
"""


@pytest.mark.parametrize(
    ("line", "lines"),
    [(1, range(1, 2)), (5, range(4, 7)), (7, range(7, 8)), (9, range(8, 12)), (13, range(13, 14)), (14, range(14, 15))],
)
def test_a_line_belongs_to_its_innermost_statement_without_the_body(line: int, lines: range) -> None:
    assert statement(TEXT, line) == lines


def test_the_tests_that_run_the_statement_are_tried_quickest_first() -> None:
    suite = Suite({"slow": 2.0, "quick": 1.0, "other": 0.1}, {"a.py": {8: ["slow", "quick"], 7: ["slow"]}})
    assert suite.noticing("a.py", 9, TEXT) == ["quick", "slow"]
    assert suite.noticing("a.py", 1, TEXT) == ["other", "quick", "slow"], "of a constant all"
    assert suite.noticing("b.py", 1, TEXT) == ["other", "quick", "slow"]


def test_tests_that_take_too_long_together_are_left_out_but_never_all() -> None:
    suite = Suite(
        {"long": AT_MOST_S, "quick": 1.0, "only": 2 * AT_MOST_S}, {"a.py": {1: ["long", "quick"], 7: ["only"]}}
    )
    assert suite.noticing("a.py", 1, TEXT) == ["quick"]
    assert suite.noticing("a.py", 7, TEXT) == ["only"]


def test_a_larger_sample_has_the_smaller_one_in_it() -> None:
    places = [object() for _ in range(50)]
    assert sample(places, 5, "0/a") == sample(places, 20, "0/a")[:5] != places[:5]


def test_a_fault_is_shown_by_the_first_line_that_differs() -> None:
    assert first_difference("a\n  b\nc", "a\n  d\nc") == (2, "b", "d")
    assert first_difference("a\n  b", "a") == (2, "b", "")
