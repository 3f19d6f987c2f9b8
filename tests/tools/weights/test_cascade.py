"""What is said of a cascade is what asking its two variants one after the other comes to."""

import json
from pathlib import Path

import pytest

from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.model import scores
from tests.documents.test_docs import rows
from tests.support.data import REPOSITORY
from tools.weights.cascade import THRESHOLDS, VariantAnswers, at, curves, draw, worthwhile, write

DOCS = REPOSITORY / "docs"
WRITTEN = json.loads((DOCS / "cascade.json").read_text())
CHEAPEST = {"alpha": 0.25, "resolution": 128}
SMALL, LARGE = Variant(0.25, 128), Variant(0.75, 192)
TRUTHS = [0, 1, 2, 0]
MACS = cost(SMALL, 3).macs, cost(LARGE, 3).macs


@pytest.fixture
def small() -> VariantAnswers:
    return VariantAnswers.of(SMALL, 3, [[(0, 0.9), (1, 0.1)], [(0, 0.8)], [(1, 0.6)], []], TRUTHS)


@pytest.fixture
def large() -> VariantAnswers:
    return VariantAnswers.of(LARGE, 3, [[(2, 0.5)], [(1, 0.9)], [(2, 0.9)], [(0, 0.9)]], TRUTHS)


def test_a_photo_without_an_answer_is_a_wrong_one_that_is_passed_on(small: VariantAnswers) -> None:
    assert small.right.tolist() == [True, False, False, False]
    assert (small.macs, small.top1) == (MACS[0], 0.25)


@pytest.mark.parametrize(
    ("threshold", "passed_on", "top1"), [(0, 0, 0.25), (0.6, 0.25, 0.5), (0.8, 0.5, 0.75), (0.9, 0.75, 1), (1, 1, 0.75)]
)
def test_the_large_one_answers_and_costs_where_the_small_one_is_less_sure(
    small: VariantAnswers, large: VariantAnswers, threshold: float, passed_on: float, top1: float
) -> None:
    point = at(small, large, threshold)
    assert (point.passed_on, point.top1) == (passed_on, top1)
    assert point.mean_macs == round(MACS[0] + passed_on * MACS[1])


def test_every_two_variants_have_a_curve_that_begins_with_the_cheaper_one_alone(
    small: VariantAnswers, large: VariantAnswers
) -> None:
    (curve,) = curves([large, small])
    assert (curve.small.variant, curve.large.variant) == (SMALL, LARGE)
    assert len(curve.points) == len(THRESHOLDS)
    assert curve.points[0] == (MACS[0], 0.25, 0)
    assert len(curves([small, large, small, large])) == 6


def test_a_variant_that_a_cheaper_one_matches_is_not_worthwhile(small: VariantAnswers, large: VariantAnswers) -> None:
    match = small._replace(variant=Variant(0.5, 128), macs=small.macs + 1)
    assert [single.variant for single in worthwhile([large, match, small])] == [SMALL, LARGE]


def test_the_figures_are_written_and_drawn(small: VariantAnswers, large: VariantAnswers, tmp_path: Path) -> None:
    write([small, large], tmp_path / "cascade.json")
    written = json.loads((tmp_path / "cascade.json").read_text())
    (cascade,) = written["cascades"]
    assert cascade["small"] == {"alpha": 0.25, "resolution": 128}
    assert [len(cascade[name]) for name in ("mean_macs", "top1", "passed_on")] == [len(written["thresholds"])] * 3
    draw([small, large], tmp_path / "cascade.png")
    assert (tmp_path / "cascade.png").read_bytes().startswith(b"\x89PNG")


def test_the_documented_cascades_are_of_the_weights_that_are_bundled() -> None:
    found = {(one["alpha"], one["resolution"]): one["top1"] for one in WRITTEN["variants"]}
    measured = [score for score in scores.read() if score.precision == "float32"]
    assert found == {(score.alpha, score.resolution): score.top1 for score in measured}
    for cascade in WRITTEN["cascades"]:
        small, large = (found[one["alpha"], one["resolution"]] for one in (cascade["small"], cascade["large"]))
        assert (cascade["top1"][0], cascade["passed_on"][0]) == (small, 0)
        assert cascade["top1"][-1] == pytest.approx(large, abs=0.01)


def test_the_document_has_the_figures_as_they_were_computed() -> None:
    alone = {Variant(one["alpha"], one["resolution"]): one["macs"] for one in WRITTEN["variants"]}
    behind = {Variant(**one["large"]): one for one in WRITTEN["cascades"] if one["small"] == CHEAPEST}
    for name, threshold, *cells in rows((DOCS / "cascade.md").read_text(), "Figures"):
        large = next(variant for variant in behind if str(variant) == name)
        index = WRITTEN["thresholds"].index(float(threshold))
        passed_on, top1, macs = (behind[large][column][index] for column in ("passed_on", "top1", "mean_macs"))
        assert cells == [f"{passed_on:.1%}"[:-1], f"{top1:.2%}"[:-1], f"{macs:,}", f"{macs / alone[large]:.2f}"]
