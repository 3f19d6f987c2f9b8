"""The rule by which `mobilenet bench` recommends an engine and a precision."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.errors import StartError
from app.measurements import Latency
from app.mobilenet.variants import Precision, Variant
from app.model.recommendation import Measured, advice, advice_within, most_accurate, recommend

SMALL, LARGE = Variant(0.25, 128), Variant(0.5, 160)


def measured(
    engine: str,
    precision: Precision,
    median_ms: float,
    top1: float | None,
    variant: Variant = SMALL,
    *,
    published: bool = False,
    **other: Any,
) -> Measured:
    found = Latency(
        alpha=variant.alpha,
        resolution=variant.resolution,
        classes=10,
        precision=precision,
        engine=engine,
        threads=1,
        machine="a machine",
        measured="2026-01-31",
        runs=20,
        median_ms=median_ms,
        p95_ms=median_ms,
        weights="imagenette",
        turns_ms=(median_ms,),
        contest="2026-01-31T10:00:00+00:00",
    )
    return Measured(found.model_copy(update=other), top1, published)


def fastest(found: Sequence[Measured]) -> Measured:
    recommended = recommend(found)
    assert recommended is not None
    return recommended.best


FLOAT32 = measured("litert", "float32", 2.0, 0.93)


@pytest.mark.parametrize(("top1", "takes_it"), [(0.9251, True), (0.925, True), (0.9249, False), (0.94, True)])
def test_a_faster_precision_may_lose_half_a_point_and_no_more(top1: float, takes_it: bool) -> None:
    int8 = measured("litert", "int8", 1.0, top1)
    assert fastest([FLOAT32, int8]) == (int8 if takes_it else FLOAT32)


def test_a_slower_precision_is_taken_if_it_alone_is_accurate_enough() -> None:
    int8 = measured("litert", "int8", 3.0, 0.95)
    assert fastest([FLOAT32, int8]) == int8


def test_of_equally_fast_settings_the_more_accurate_is_taken_and_of_equals_the_first() -> None:
    same, better = measured("openvino", "float32", 2.0, 0.93), measured("litert", "int8", 2.0, 0.931)
    assert fastest([FLOAT32, same]) == FLOAT32
    assert fastest([FLOAT32, same, better]) == better


def test_what_has_no_score_is_left_out_and_said() -> None:
    unknown = measured("openvino", "bfloat16", 0.5, None)
    assert advice([FLOAT32, unknown]) == [
        "For α 0.25 @ 128, nobody has measured how accurate this is, so it is left out: openvino bfloat16 (0.5 ms).",
        "For α 0.25 @ 128, the fastest setting within 0.5 points of the most accurate one "
        "(litert float32, 2 ms, top-1 0.93):",
        "    mobilenet serve --engine litert --precision float32 --alpha 0.25 --resolution 128",
    ]


def test_without_any_score_the_fastest_is_named_and_that_its_accuracy_is_unknown() -> None:
    slow, quick = measured("litert", "float32", 2.0, None), measured("litert", "int8", 1.0, None)
    assert fastest([slow, quick]) == quick
    assert advice([slow, quick]) == [
        "For α 0.25 @ 128, the fastest setting, whose accuracy nobody has measured (litert int8, 1 ms, top-1 unknown):",
        "    mobilenet serve --engine litert --precision int8 --alpha 0.25 --resolution 128",
    ]


def test_within_a_budget_the_most_accurate_of_all_is_taken_and_of_equals_the_fastest() -> None:
    large = measured("litert", "float32", 5.0, 0.95, LARGE)
    quicker = measured("openvino", "float32", 4.0, 0.95, LARGE)
    found = [FLOAT32, large, quicker, measured("openvino", "bfloat16", 0.5, None)]
    assert most_accurate(found, 10) == quicker
    assert most_accurate(found, 4) == quicker
    assert most_accurate(found, 3.9) == FLOAT32
    assert advice_within(found, 10)[-1] == (
        "    mobilenet serve --engine openvino --precision float32 --alpha 0.5 --resolution 160"
    )


def test_a_budget_that_nothing_fits_is_one_line_with_the_fastest() -> None:
    with pytest.raises(StartError) as caught:
        most_accurate([measured("litert", "int8", 3.0, 0.92), FLOAT32], 0.1)
    assert str(caught.value) == (
        "--max-latency-ms 0.1: nothing that was measured is as fast; the fastest is "
        "α 0.25 @ 128 with litert float32, 2 ms, top-1 0.93"
    )


def test_a_budget_that_only_unknown_accuracies_fit_is_one_line() -> None:
    unknown = measured("openvino", "bfloat16", 0.5, None)
    with pytest.raises(StartError, match=r"^--max-latency-ms 1: .+ accuracy of these weights in bfloat16$"):
        most_accurate([FLOAT32, unknown], 1)


@pytest.mark.parametrize(("turns_ms", "unsure"), [((1.9, 2.3), True), ((2.2, 2.4), False)])
def test_it_is_said_that_the_faster_one_is_not_sure_if_turns_overlap(turns_ms: tuple[float, ...], unsure: bool) -> None:
    best = measured("litert", "float32", 2.0, 0.93, turns_ms=(1.8, 2.1))
    lines = advice([best, measured("openvino", "float32", 2.2, 0.93, turns_ms=turns_ms)])
    said = "    # Its turns overlap with those of openvino float32: which is faster is not sure."
    assert (lines[-1] == said) is unsure
    assert best.command in "".join(lines)


@pytest.mark.parametrize("contest", ["2026-02-28T10:00:00+00:00", None])
def test_turns_that_were_not_taken_with_one_another_leave_it_unsure(contest: str | None) -> None:
    turns: dict[str, Any] = {"contest": contest, "turns_ms": (8.9, 9.1) if contest else ()}
    found = recommend([FLOAT32, measured("openvino", "float32", 9.0, 0.93, **turns)])
    assert found is not None
    assert [one.name for one in found.rivals] == ["openvino float32"]


def test_what_is_left_out_is_no_rival() -> None:
    found = recommend([FLOAT32, measured("openvino", "bfloat16", 2.0, None), measured("litert", "int8", 2.0, 0.8)])
    assert found == (FLOAT32, ())


def test_nothing_is_recommended_where_nothing_was_measured() -> None:
    assert recommend([]) is None


@pytest.mark.parametrize("published", [True, False])
def test_the_command_names_the_published_weights_and_no_others_of_their_name(published: bool) -> None:
    found = measured("litert", "int8", 1.0, None, weights="imagenet", published=published)
    command = "mobilenet serve --engine litert --precision int8 --alpha 0.25 --resolution 128"
    assert found.command == command + (" --weights imagenet" if published else "")
