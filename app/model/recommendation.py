"""Which engine and precision to serve with, by what `mobilenet bench` has measured: a rule, and lines to paste."""

from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from app.errors import StartError
from app.measurements import Latency
from app.mobilenet.variants import Variant

LOSS: Final = 0.005
"""How much top-1 accuracy, 0 to 1, a faster precision may lose against the most accurate one: half a point."""


class Measured(NamedTuple):
    """A variant in one engine and precision: how long an image takes, and how accurate it is.

    `top1` is a share, 0 to 1, and None if nobody has measured it in this precision. `published` is whether the weights
    are those that Keras Applications publishes, and not others that have their name.
    """

    latency: Latency
    top1: float | None
    published: bool

    @property
    def variant(self) -> Variant:
        """The variant that was measured."""
        return Variant(self.latency.alpha, self.latency.resolution)

    @property
    def name(self) -> str:
        """The engine and the precision."""
        return f"{self.latency.engine} {self.latency.precision}"

    @property
    def command(self) -> str:
        """The command that serves this variant in this way; own weights are left to the settings."""
        from app.engines.weights import PUBLISHED  # with NumPy, which the command line starts without

        weights = f" --weights {PUBLISHED}" if self.published else ""
        return (
            f"mobilenet serve --engine {self.latency.engine} --precision {self.latency.precision} "
            f"--alpha {self.latency.alpha:g} --resolution {self.latency.resolution}{weights}"
        )

    def surely_faster(self, other: "Measured") -> bool:
        """Whether each of its turns was faster than each of another, and the two took turns with one another."""
        mine, theirs = self.latency, other.latency
        return mine.contest == theirs.contest and max(mine.turns_ms, default=inf) < min(theirs.turns_ms, default=0)

    def __str__(self) -> str:
        accuracy = "top-1 unknown" if self.top1 is None else f"top-1 {self.top1:.4g}"
        return f"{self.name}, {self.latency.median_ms:g} ms, {accuracy}"


class Recommendation(NamedTuple):
    """The setting to serve a variant with, and its rivals: those of which it is not sure that they are slower."""

    best: Measured
    rivals: tuple[Measured, ...]


def recommend(measured: Sequence[Measured]) -> Recommendation | None:
    """Return the fastest setting of a variant that loses at most `LOSS` against the most accurate one.

    Those of unknown accuracy count only if there are no others. Of equally fast ones it is the more accurate, and of
    equals the first. None if nothing was measured.
    """
    eligible = _near(measured) or measured
    if not eligible:
        return None
    best = min(eligible, key=lambda one: (one.latency.median_ms, -(one.top1 or 0)))
    return Recommendation(best, tuple(one for one in eligible if one != best and not best.surely_faster(one)))


def _near(measured: Sequence[Measured]) -> list[Measured]:
    """Return those that lose at most `LOSS` against the most accurate one."""
    known = [(one, one.top1) for one in measured if one.top1 is not None]
    best = max((top1 for _, top1 in known), default=0.0)
    # Rounded, as 0.93 - 0.925 is a little more than 0.005 in binary.
    return [one for one, top1 in known if round(best - top1, 6) <= LOSS]


def most_accurate(measured: Sequence[Measured], max_latency_ms: float) -> Measured:
    """Return the most accurate one whose median is within a budget, and of equally accurate ones the fastest.

    Raises `StartError`, in one line, if none is, or if it is not known how accurate those are.
    """
    fitting = [one for one in measured if one.latency.median_ms <= max_latency_ms]
    known = [(-one.top1, one.latency.median_ms, one) for one in fitting if one.top1 is not None]
    if known:
        return min(known, key=lambda item: item[:2])[2]
    if fitting:
        names = ", ".join(dict.fromkeys(one.latency.precision for one in fitting))
        raise StartError(
            f"--max-latency-ms {max_latency_ms:g}: which setting within it is the most accurate is not known, as "
            f"nobody has measured the accuracy of these weights in {names}"
        )
    nearest = min(measured, key=lambda one: one.latency.median_ms)
    raise StartError(
        f"--max-latency-ms {max_latency_ms:g}: nothing that was measured is as fast; the fastest is "
        f"{nearest.variant} with {nearest}"
    )


def advice(measured: Sequence[Measured]) -> list[str]:
    """Return the lines that recommend a setting for one variant, with a command to paste."""
    found = recommend(measured)
    return [] if found is None else [*_left_out(measured, found.best), *_recommended(found)]


def _left_out(measured: Sequence[Measured], best: Measured) -> list[str]:
    unknown = ", ".join(f"{one.name} ({one.latency.median_ms:g} ms)" for one in measured if one.top1 is None)
    if best.top1 is None or not unknown:
        return []
    return [f"For {best.variant}, nobody has measured how accurate this is, so it is left out: {unknown}."]


def _recommended(found: Recommendation) -> list[str]:
    best, rivals = found.best, ", ".join(one.name for one in found.rivals)
    within = f" within {LOSS * 100:g} points of the most accurate one"
    which = ", whose accuracy nobody has measured" if best.top1 is None else within
    unsure = [f"    # Its turns overlap with those of {rivals}: which is faster is not sure."] if rivals else []
    return [f"For {best.variant}, the fastest setting{which} ({best}):", f"    {best.command}", *unsure]


def advice_within(measured: Sequence[Measured], max_latency_ms: float) -> list[str]:
    """Return the lines that recommend the most accurate of all within a budget. Raises as `most_accurate` does."""
    best = most_accurate(measured, max_latency_ms)
    return [
        f"The most accurate within {max_latency_ms:g} ms, by the median, is {best.variant} ({best}):",
        f"    {best.command}",
    ]
