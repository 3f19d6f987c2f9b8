"""The figures of `docs/mobilenet.md` are those of the code, of the measurements and of the published tables."""

from collections.abc import Callable, Iterable

from app.measurements import Score
from app.mobilenet.ablations import full_convolution, pointwise_stride, shallow
from app.mobilenet.architecture import layers
from app.mobilenet.cost import Cost, LayerCost, cost
from app.mobilenet.variants import ALPHAS, BASE, PUBLISHED, RESOLUTIONS, Variant
from app.model import scores
from tests.documents.test_docs import rows
from tests.support.data import REPOSITORY
from tools.experiments.results import Mean, TrainingResult, by_resolution, by_training, gain, read

CHAPTER = (REPOSITORY / "docs" / "mobilenet.md").read_text()
EXPERIMENTS = by_training(read(REPOSITORY / "docs" / "architectures.json"))
TRAINED_RESOLUTIONS = read(REPOSITORY / "docs" / "resolutions.json")
LENGTHS = sorted({length for _, length in EXPERIMENTS})
SCORES = {Variant(score.alpha, score.resolution): score for score in scores.read() if score.precision == "float32"}
WIDTHS = {"separable": 1.0, "shallow": 1.0, "narrow": 0.75, "full convolution": 1.0}
ARCHITECTURES = {"separable": layers, "shallow": shallow, "narrow": layers, "full convolution": full_convolution}
PAPER = {"separable": 70.6, "shallow": 65.3, "narrow": 68.4, "full convolution": 71.7}


def own(score: Score | None) -> str:
    return f"{score.top1 * 100:.2f}" if score else "–"


def test_every_kind_of_layer_has_its_share() -> None:
    total = cost(BASE)

    def sums(kind: str, of: Callable[[LayerCost], int]) -> int:
        return sum(of(item) for item in total.layers if item.layer.kind == kind)

    def cells(kind: str) -> Iterable[str]:
        for of, whole in ((lambda item: item.macs, total.macs), (lambda item: item.parameters, total.parameters)):
            yield f"{sums(kind, of):,}"
            yield f"{sums(kind, of) / whole:.2%}".replace("%", " %")

    kinds = ("convolution", "depthwise", "pointwise", "classifier")
    assert rows(CHAPTER, "By kind of layer") == [(kind, *cells(kind)) for kind in kinds]


def test_the_sixteen_variants_have_their_cost() -> None:
    assert rows(CHAPTER, "The sixteen variants") == [
        (
            f"{alpha:g}",
            *(f"{cost(Variant(alpha, resolution)).macs:,}" for resolution in RESOLUTIONS),
            f"{cost(Variant(alpha, 224)).parameters:,}",
        )
        for alpha in ALPHAS
    ]


def test_a_map_costs_its_places_times_the_channels() -> None:
    found = []
    for resolution in RESOLUTIONS:
        last = [[one for one in layers(alpha, resolution) if one.kind == "pointwise"][-1] for alpha in ALPHAS]
        side = last[0].out_size
        costs = (side * side * one.out_channels for one in last)
        found.append((str(resolution), f"{side} × {side}", *(f"{macs:,}" for macs in costs)))
    assert rows(CHAPTER, "Where a class is") == found


def test_the_misplaced_stride_costs_what_is_said() -> None:
    right, wrong = cost(BASE), Cost.of(pointwise_stride(BASE.alpha, BASE.resolution, 1000))
    more, bytes_more = wrong.macs / right.macs - 1, wrong.activation_bytes / right.activation_bytes - 1
    text = " ".join(CHAPTER.split())
    said = f"{wrong.macs:,} MACs for {right.macs:,}, {more * 100:.1f} % more, and {bytes_more * 100:.0f} % more bytes"
    assert said in text


def test_the_widths_score_what_was_published_and_measured() -> None:
    found = []
    for alpha in ALPHAS:
        variant = Variant(alpha, 224)
        published = PUBLISHED[variant]
        found.append(
            (
                f"{alpha:g}",
                f"{cost(variant).macs:,}",
                f"{published.paper_top1}",
                f"{published.checkpoint_top1}",
                own(SCORES.get(variant)),
            )
        )
    assert rows(CHAPTER, "Width at a fixed resolution") == found


def test_the_resolutions_score_what_was_published_and_measured() -> None:
    def line(alpha: float, on: str, cell: Callable[[Variant], str]) -> tuple[str, ...]:
        return (f"{alpha:g}", on, *(cell(Variant(alpha, resolution)) for resolution in RESOLUTIONS))

    widths = sorted({variant.alpha for variant in SCORES}, reverse=True)
    assert rows(CHAPTER, "Resolution at a fixed width") == [
        line(1, "ImageNet, paper", lambda variant: f"{PUBLISHED[variant].paper_top1}"),
        *(
            line(alpha, "ImageNet, checkpoint", lambda variant: f"{PUBLISHED[variant].checkpoint_top1}")
            for alpha in ALPHAS
        ),
        *(line(alpha, "Imagenette, here", lambda variant: own(SCORES.get(variant))) for alpha in widths),
    ]


def own_mean(results: list[TrainingResult], of: Callable[[TrainingResult], float]) -> str:
    mean = Mean.of([of(one) for one in results])
    return f"{mean.value * 100:.1f} ± {mean.error * 100:.1f}"


def test_the_networks_of_the_experiments_cost_and_score_what_is_said() -> None:
    def line(name: str) -> tuple[str, ...]:
        own = EXPERIMENTS[name, max(LENGTHS)]
        here = Cost.of(ARCHITECTURES[name](own[0].alpha, own[0].resolution, 10))
        there = Cost.of(ARCHITECTURES[name](WIDTHS[name], 224, 1000))
        assert {(one.macs, one.parameters) for one in own} == {(here.macs, here.parameters)}
        return (
            name,
            f"{there.macs:,}",
            f"{PAPER[name]}",
            f"{here.macs:,}",
            f"{here.parameters:,}",
            own_mean(own, lambda one: one.top1),
            own_mean(own, lambda one: one.train_accuracy),
        )

    assert rows(CHAPTER, "Full convolution, shallow and narrow") == [line(name) for name in PAPER]


def test_the_experiments_have_three_seeds_and_score_what_is_said_after_every_length() -> None:
    assert {tuple(one.seed for one in own) for own in EXPERIMENTS.values()} == {(0, 1, 2)}
    assert rows(CHAPTER, "By the length of the training") == [
        (name, *(own_mean(EXPERIMENTS[name, length], lambda one: one.top1) for length in LENGTHS)) for name in PAPER
    ]


def points(share: float) -> str:
    return f"{round(100 * share, 1) + 0:+.1f}"  # 0 is added, or there would be a -0.0


def test_one_network_for_all_resolutions_scores_what_is_said_beside_one_for_each() -> None:
    def lines(alpha: float, epochs: int) -> Iterable[tuple[str, ...]]:
        found = by_resolution(TRAINED_RESOLUTIONS, alpha, epochs)
        own, one = ([found[side][part] for side in RESOLUTIONS] for part in (0, 1))
        for name, of in (("one for each", own), ("one for all", one)):
            yield (f"{alpha:g}", str(epochs), name, *(own_mean(each, lambda seed: seed.top1) for each in of))
        gains = (gain(*pair) for pair in zip(own, one, strict=True))
        differences = (f"{points(mean.value)} ± {100 * mean.error:.1f}" for mean in gains)
        yield (f"{alpha:g}", str(epochs), "all − each", *differences)

    trainings = sorted({(one.alpha, one.epochs) for one in TRAINED_RESOLUTIONS})
    assert rows(CHAPTER, "A network for each resolution, and one for all") == [
        line for training in trainings for line in lines(*training)
    ]
