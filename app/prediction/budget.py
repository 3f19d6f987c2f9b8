"""Which variants fit a budget of MACs, latency and accuracy, and which of them is the most accurate."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil, floor, inf

from app.errors import ImpossibleBudget
from app.mobilenet.variants import Variant


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded variant: MACs for one image, top-1 accuracy (0 to 1) if known, and how long a result would take now."""

    variant: Variant
    macs: int
    top1: float | None
    expected_ms: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What a request may cost at most, and how accurate (top-1, 0 to 1) it must be at least; None is no limit."""

    max_macs: int | None = None
    max_latency_ms: float | None = None
    min_accuracy: float | None = None

    def excess(self, candidate: Candidate) -> float:
        """Return the largest ratio of value to limit, for `min_accuracy` of limit to value; at most 1 fits.

        An unknown accuracy counts as 0.
        """
        return max(self._factors(candidate), default=0.0)

    def _factors(self, candidate: Candidate) -> Iterator[float]:
        if self.max_macs is not None:
            yield _factor(candidate.macs, self.max_macs)
        if self.max_latency_ms is not None:
            yield _factor(candidate.expected_ms, self.max_latency_ms)
        if self.min_accuracy is not None:
            yield _factor(self.min_accuracy, candidate.top1 or 0.0)

    def widened(self, candidate: Candidate) -> "Budget":
        """Return the nearest budget that the candidate fits: a limit that it misses is moved to its value."""
        return Budget(
            max_macs=None if self.max_macs is None else max(self.max_macs, candidate.macs),
            max_latency_ms=None
            if self.max_latency_ms is None
            else max(self.max_latency_ms, ceil(candidate.expected_ms * 10) / 10),
            min_accuracy=None
            if self.min_accuracy is None
            else min(self.min_accuracy, floor((candidate.top1 or 0.0) * 10_000) / 10_000),
        )

    def __str__(self) -> str:
        return " and ".join(f"{name}={value}" for name, value in asdict(self).items() if value is not None)


def _factor(value: float, limit: float) -> float:
    if limit > 0:
        return value / limit
    return inf if value > 0 else 0.0


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sort by accuracy, the best first and the cheaper of equals; if one is unknown, by MACs, the most first."""
    known = all(one.top1 is not None for one in candidates)
    return sorted(candidates, key=lambda one: (-(one.top1 or 0.0), one.macs) if known else (-one.macs, 0))


def fitting(candidates: Sequence[Candidate], budget: Budget) -> list[Candidate]:
    """Return the candidates that fit, the best first.

    Raises `ImpossibleBudget`, which names the nearest budget that one fits, if there is none.
    """
    found = [one for one in candidates if budget.excess(one) <= 1]
    if not found:
        raise _impossible(candidates, budget)
    return ranked(found)


def _impossible(candidates: Sequence[Candidate], budget: Budget) -> ImpossibleBudget:
    if budget.min_accuracy and all(one.top1 is None for one in candidates):
        return ImpossibleBudget("min_accuracy: nobody has measured how often the loaded variants are right")
    nearest = min(candidates, key=budget.excess)
    return ImpossibleBudget(
        f"no loaded variant fits {budget} now; the nearest that is feasible is {budget.widened(nearest)}, "
        f"with {nearest.variant.name}"
    )
