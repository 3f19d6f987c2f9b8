import pytest

from app.mobilenet.variants import ALPHAS, PUBLISHED, RESOLUTIONS, Variant


def test_the_sixteen_published_variants_are_listed_with_the_papers_accuracy() -> None:
    assert set(PUBLISHED) == {Variant(alpha, resolution) for alpha in ALPHAS for resolution in RESOLUTIONS}
    assert [PUBLISHED[Variant(alpha, 224)].paper_top1 for alpha in ALPHAS] == [70.6, 68.4, 63.7, 50.6]
    assert [PUBLISHED[Variant(1.0, resolution)].paper_top1 for resolution in RESOLUTIONS] == [70.6, 69.1, 67.2, 64.4]


RELEASED = {
    1.0: [(70.9, 89.9), (70.0, 89.2), (68.0, 87.7), (65.2, 85.8)],
    0.75: [(68.4, 88.2), (67.2, 87.3), (65.3, 86.0), (62.1, 83.9)],
    0.5: [(63.3, 84.9), (61.7, 83.6), (59.1, 81.9), (56.3, 79.4)],
    0.25: [(49.8, 74.2), (47.7, 72.3), (45.5, 70.3), (41.5, 66.3)],
}
"""Top-1 and top-5 accuracy of the released checkpoints, copied from their page: for each width, 224 to 128 pixels."""


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_accuracy_of_the_checkpoints_is_as_released(alpha: float) -> None:
    ours = [PUBLISHED[Variant(alpha, resolution)] for resolution in RESOLUTIONS]
    assert [(one.checkpoint_top1, one.checkpoint_top5) for one in ours] == RELEASED[alpha]


def test_published_accuracy_grows_with_width_and_with_resolution() -> None:
    for alphas, resolutions in [(ALPHAS, (128,)), (ALPHAS, (224,)), ((0.25,), RESOLUTIONS), ((1.0,), RESOLUTIONS)]:
        scores = [PUBLISHED[Variant(a, r)].checkpoint_top1 for a in alphas for r in resolutions]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("resolution", [32, 96, 128, 2048])
def test_any_multiple_of_32_is_a_resolution(resolution: int) -> None:
    assert Variant(0.5, resolution).rho == resolution / 224


@pytest.mark.parametrize(
    ("alpha", "resolution", "allowed"),
    [
        (0.3, 224, "alpha 0.3 is not one of 1, 0.75, 0.5, 0.25"),
        (float("nan"), 224, "alpha nan is not one of"),
        (1.0, 100, "resolution 100 is not a multiple of 32"),
        (1.0, 0, "resolution 0 is not a multiple of 32 from 32 to 2048"),
        (1.0, -32, "resolution -32 is not a multiple of 32 from 32 to 2048"),
        (1.0, 2080, "resolution 2080 is not a multiple of 32 from 32 to 2048"),
        pytest.param(1.0, 32 * 10**310, "from 32 to 2048", id="very many digits"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(alpha: float, resolution: int, allowed: str) -> None:
    with pytest.raises(ValueError, match=allowed):
        Variant(alpha, resolution)


@pytest.mark.parametrize("variant", [Variant(1.0, 224), Variant(0.25, 32)], ids=str)
def test_a_name_is_read_as_it_is_written(variant: Variant) -> None:
    assert Variant.parse(variant.name) == variant


@pytest.mark.parametrize("name", ["", "0.5", "0.5/", "/160", "0.5@160", "0.5/160/1", "half/160", "0.5/1.5"])
def test_what_is_no_name_is_refused_with_one_that_is(name: str) -> None:
    with pytest.raises(ValueError, match=r"such as 0\.5/160"):
        Variant.parse(name)


def test_a_very_long_name_is_refused_in_few_words() -> None:
    with pytest.raises(ValueError, match=r"such as 0\.5/160") as caught:
        Variant.parse("0.5/" + "9" * 60_000)
    assert len(str(caught.value)) < 200
