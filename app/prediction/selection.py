"""How a request chooses its variants, and the plan that this comes to for the variants that are loaded."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import InvalidParameter, VariantNotLoaded
from app.mobilenet.architecture import STRIDE
from app.mobilenet.variants import LARGEST_RESOLUTION, Variant
from app.prediction.budget import Budget, Candidate, fitting, ranked

ALL = "all"
DEFAULT_THRESHOLD = 0.8

Alpha = Annotated[
    float | None, Field(description="1, 0.75, 0.5 or 0.25; default: that of the default variant", examples=[0.5])
]
Resolution = Annotated[
    int | None,
    Field(
        ge=STRIDE,
        le=LARGEST_RESOLUTION,
        multiple_of=STRIDE,
        description="side of the network's input in pixels; default: that of the default variant",
        examples=[160],
    ),
]
MaxMacs = Annotated[
    int | None,
    Field(ge=1, description="answer with the most accurate loaded variant of no more MACs", examples=[100_000_000]),
]
MaxLatencyMs = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="answer with the most accurate loaded variant that is expected to take no longer, by what queues "
        "and runs take now",
        examples=[50],
    ),
]
MinAccuracy = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="answer only with a loaded variant whose top-1 accuracy, 0 to 1, is known and at least this",
        examples=[0.85],
    ),
]
Degrade = Annotated[
    Literal["allow", "never"] | None,
    Field(description="whether a smaller loaded variant may answer instead of 429; default: MOBILENET_DEGRADE"),
]
Names = Annotated[
    str | None,
    Field(description="loaded variants to answer side by side: `all`, or names such as `0.25/128,0.5/160`"),
]
Stages = Annotated[
    str | None,
    Field(description="loaded variants to ask one after the other until one is sure, such as `0.25/128,0.5/160`"),
]
Threshold = Annotated[
    float | None,
    Field(ge=0, le=1, description="probability from which a stage of `cascade` is sure, default 0.8"),
]


@dataclass(frozen=True, slots=True)
class Single:
    """One variant classifies: the first of `variants` whose queue has room; if there are none, the default variant.

    If a budget led to this, `reason` says so in words and `expected_ms` is how long a result was expected to take.
    """

    variants: Sequence[Variant] = ()
    reason: str | None = None
    expected_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SideBySide:
    """All `variants` classify an image that is decoded once, and `best`, one of them, gives the answer."""

    variants: tuple[Variant, ...]
    best: Variant


@dataclass(frozen=True, slots=True)
class Cascade:
    """The stages classify in turn until one gives a class at least the probability `threshold`, 0 to 1."""

    stages: tuple[Variant, ...]
    threshold: float


Plan = Single | SideBySide | Cascade
"""Which variants run on the images of a request, and how."""
DEFAULT = Single()
"""The default variant classifies."""


class Selection(BaseModel):
    """How a request chooses its variants: by their numbers, a budget, side by side or as a cascade.

    If only one of α and resolution is given, the other is that of the default variant.
    """

    model_config = ConfigDict(frozen=True)

    alpha: Alpha = None
    resolution: Resolution = None
    max_macs: MaxMacs = None
    max_latency_ms: MaxLatencyMs = None
    min_accuracy: MinAccuracy = None
    degrade: Degrade = None
    variants: Names = None
    cascade: Stages = None
    threshold: Threshold = None

    @cached_property
    def is_default(self) -> bool:
        """Whether the request chooses nothing, so that the default variant classifies."""
        return all(getattr(self, name) is None for name in Selection.model_fields)

    def plan(self, candidates: Sequence[Candidate], degrade: bool) -> Plan:
        """Return the plan for these loaded variants, of which the first is the default one.

        `degrade` says whether a smaller variant may stand in for one whose queue is full, unless the request says so
        itself. Raises `InvalidParameter`, `VariantNotLoaded` or `ImpossibleBudget`.
        """
        self._check_one_way()
        if self.variants is not None:
            return self._compare(candidates)
        if self.cascade is not None:
            return Cascade(self._stages(candidates), DEFAULT_THRESHOLD if self.threshold is None else self.threshold)
        return self._pick(candidates, degrade if self.degrade is None else self.degrade == "allow")

    def _check_one_way(self) -> None:
        ways = {
            "alpha and resolution": (self.alpha, self.resolution),
            "a budget": (self.max_macs, self.max_latency_ms, self.min_accuracy),
            "variants": (self.variants,),
            "cascade": (self.cascade,),
        }
        given = [name for name, values in ways.items() if any(value is not None for value in values)]
        if len(given) > 1:
            raise InvalidParameter(f"{' and '.join(given)} exclude each other; one way of choosing is allowed")
        if self.threshold is not None and self.cascade is None:
            raise InvalidParameter("threshold is allowed with cascade only")
        if self.degrade == "allow" and (several := {"variants", "cascade"}.intersection(given)):
            allowed = "with alpha and resolution, with a budget, or alone"
            raise InvalidParameter(f"degrade=allow is not possible with {several.pop()}; it is allowed {allowed}")

    def _compare(self, candidates: Sequence[Candidate]) -> SideBySide:
        known = tuple(one.variant for one in candidates)
        hint = f"; or write {ALL}, alone and in lower case"
        wanted = known if self.variants == ALL else _named("variants", self.variants or "", known, hint)
        best = ranked([one for one in candidates if one.variant in wanted])[0]
        return SideBySide(wanted, best.variant)

    def _stages(self, candidates: Sequence[Candidate]) -> tuple[Variant, ...]:
        stages = _named("cascade", self.cascade or "", [one.variant for one in candidates])
        if len(stages) < 2:
            raise InvalidParameter("cascade needs two or more different variants, the first to be asked first")
        return stages

    def _pick(self, candidates: Sequence[Candidate], degrade: bool) -> Single:
        budget = Budget(self.max_macs, self.max_latency_ms, self.min_accuracy)
        if budget == Budget():
            chosen = self._candidate(candidates)
            return Single(_chain(chosen, ranked(candidates) if degrade else ()))
        found = fitting(candidates, budget)
        return Single(
            _chain(found[0], found if degrade else ()), _reason(found, candidates, budget), found[0].expected_ms
        )

    def _candidate(self, candidates: Sequence[Candidate]) -> Candidate:
        wanted = resolve(self.alpha, self.resolution, candidates[0].variant)
        _check_loaded([one.variant for one in candidates], wanted)
        return next(one for one in candidates if one.variant == wanted)


def _chain(chosen: Candidate, others: Sequence[Candidate]) -> list[Variant]:
    return [chosen.variant, *(one.variant for one in others if one.macs < chosen.macs)]


def _reason(found: Sequence[Candidate], candidates: Sequence[Candidate], budget: Budget) -> str:
    if len(found) == 1:
        return f"1 of {len(candidates)} loaded variants fits {budget}: this one"
    by = "the most accurate" if all(one.top1 is not None for one in found) else "the one with the most MACs"
    return f"{len(found)} of {len(candidates)} loaded variants fit {budget}; this is {by} of them"


def resolve(alpha: float | None, resolution: int | None, served: Variant) -> Variant:
    """Return the variant of these numbers; one that is None is that of `served`. Raises `InvalidParameter`."""
    try:
        return Variant(
            served.alpha if alpha is None else alpha, served.resolution if resolution is None else resolution
        )
    except ValueError as exc:
        raise InvalidParameter(str(exc)) from exc


def _named(parameter: str, names: str, known: Collection[Variant], hint: str = "") -> tuple[Variant, ...]:
    """Return the variants that are named, each once. Raises `InvalidParameter`, or `VariantNotLoaded`.

    `hint` says what else is allowed.
    """
    try:
        wanted = tuple(dict.fromkeys(Variant.parse(name.strip()) for name in names.split(",")))
    except ValueError as exc:
        raise InvalidParameter(f"{parameter}: {exc}{hint}") from exc
    _check_loaded(known, *wanted)
    return wanted


def _check_loaded(known: Collection[Variant], *wanted: Variant) -> None:
    """Raise `VariantNotLoaded`, which names what is loaded, if one of the wanted variants is not."""
    for one in wanted:
        if one not in known:
            names = ", ".join(other.name for other in known)
            raise VariantNotLoaded(f"the variant {one.name} is not loaded; loaded are {names}")
