"""How fast the service should be beside the fastest other server, and whether it is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan

from tools.bench.results import DEFAULT, INLINE, LOOP, OURS, Rounds, Summary, middle, ratios

FASTER = {
    DEFAULT: {"mix": 1.3, "small": 1.5, "large": 1.3},
    INLINE: {"mix": 1.4, "small": 1.6, "large": 1.4},
}
"""Answers per second, as a multiple of those of the fastest peer."""
SOONER = {DEFAULT: 0.7, INLINE: 0.65}
"""The p50 of a request that is alone, as a part of that of the peer whose p50 is the lowest."""
OF_BEST, OF_BEST_P50 = 0.9, 1.1
"""What the default settings should reach of the best of our settings."""
LOOP_FLOAT32 = f"{LOOP}float32"
WORDS = {DEFAULT: "default", INLINE: "inline"}


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio in each round, and its goal: at least or at most so much, as the median of the rounds.

    `bound` is the same ratio of the bare loop, which has no HTTP, in each round.
    """

    name: str
    values: Sequence[float]
    least: float | None = None
    most: float | None = None
    bound: Sequence[float] = ()

    @property
    def value(self) -> float:
        """The median of the rounds, nan if it was not measured."""
        return middle(self.values)

    @property
    def status(self) -> str:
        """Whether the goal is met, in words."""
        if isnan(self.value):
            return "not measured"
        enough = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        return "met" if enough else "**missed**"


def goals(summary: Summary) -> Iterator[Goal]:
    """Yield the goals for what was measured, all in float32."""
    for name, wanted in FASTER.items():
        for photos, least in wanted.items():
            if summary.figures(name, photos)[0] and summary.peers:
                yield from _beside_peers(summary, name, photos, least)
    for photos in ("mix", "small"):
        yield from _beside_ourselves(summary, photos)


def _beside_peers(summary: Summary, name: str, photos: str, least: float) -> Iterator[Goal]:
    where = f"{WORDS[name]}, {photos} photos"
    rate, p50 = summary.figures(name, photos)
    loop_rate, loop_p50 = summary.figures(LOOP_FLOAT32, photos)
    peer, theirs = _best(summary, summary.peers, photos, 0, max)
    yield Goal(
        f"{where}: answers/s ÷ those of {peer}", ratios(rate, theirs), least=least, bound=ratios(loop_rate, theirs)
    )
    if p50:
        peer, theirs = _best(summary, summary.peers, photos, 1, min)
        bound = ratios(loop_p50, theirs)
        yield Goal(f"{where}: p50 alone ÷ that of {peer}", ratios(p50, theirs), most=SOONER[name], bound=bound)


def _beside_ourselves(summary: Summary, photos: str) -> Iterator[Goal]:
    settings = [name for name in summary.contenders if name.startswith(f"{OURS}float32")]
    rate, p50 = summary.figures(DEFAULT, photos)
    if not rate or len(settings) == 1:
        return
    where = f"{WORDS[DEFAULT]}, {photos} photos"
    _, best = _best(summary, settings, photos, 0, max)
    yield Goal(f"{where}: answers/s ÷ those of the best of our settings", ratios(rate, best), least=OF_BEST)
    if p50:
        _, best = _best(summary, settings, photos, 1, min)
        yield Goal(f"{where}: p50 alone ÷ that of the best of our settings", ratios(p50, best), most=OF_BEST_P50)


def _best(
    summary: Summary, names: Iterable[str], photos: str, figure: int, choose: Callable[..., tuple[str, Rounds]]
) -> tuple[str, Rounds]:
    """Return the contender with the best median of a figure, and that figure in each round."""
    found = [(name, summary.figures(name, photos)[figure]) for name in names]
    measured = [one for one in found if one[1]] or found
    return choose(measured, key=lambda one: middle(list(one[1].values())))
