"""`mobilenet bench`: how long an image takes in every engine and precision, and which of them to serve with."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol

import typer

from app.cli import choice
from app.cli.streams import say, tell
from app.config import ENGINES_OF, WORKING, Settings
from app.errors import BAD_START, StartError
from app.mobilenet.variants import Precision, Variant
from app.model import recommendation
from app.model.recommendation import Measured

if TYPE_CHECKING:
    from app.cli.contender import Loaded

TURNS: Final = 5
"""Every engine has so many turns with a variant, so that a machine which becomes slower meanwhile is fair to all."""
TENSORFLOW: Final = "tensorflow"

Engine = Literal["litert", "openvino", "tensorflow"]


class Contender(Protocol):
    """An engine in one precision; see `app.cli.contender`."""

    engine: str
    precision: Precision

    def load(self, settings: Settings) -> "Loaded":
        """Load the default variant of the settings. Raises `StartError` if this engine does not start."""
        ...

    def turn(self, seconds: float, least: int) -> list[float]:
        """Return the milliseconds of each run. Raises `StartError` if the engine fails."""
        ...


Refusals = dict[str, list[str]]
"""The engines and precisions that were not measured, by the reason why."""


def bench(
    *,
    seconds: Annotated[
        float, typer.Option(min=0, max=60, help="How long to run each engine and precision of a variant.")
    ] = 1.0,
    alpha: Annotated[str | None, typer.Option(metavar="NUMBER", help="Only variants of this width multiplier.")] = None,
    resolution: Annotated[str | None, typer.Option(metavar="NUMBER", help="Only variants of this resolution.")] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="Only this engine. TensorFlow is measured only if it is named or set.")
    ] = None,
    precision: Annotated[Precision | None, typer.Option(help="Only this precision.")] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="Also recommend the most accurate setting whose median is at most so many milliseconds.",
        ),
    ] = None,
) -> None:
    """Measure every engine and precision on this machine, save it for `/variants`, and say which to serve with.

    Without `--alpha` and `--resolution`, these are all variants of the weights.

    What is not installed, or not made for this processor, is named with the reason.
    """
    from app.cli import tables
    from app.cli.contender import Contender
    from app.model import latency

    choice.check_latency(max_latency_ms)
    settings = choice.settings_with(alpha, resolution, None)
    print(f"{latency.machine()}; threads of one run: {settings.model_threads}")
    print(tables.BENCH_HEADER)
    with ExitStack() as processes:
        contenders = [
            processes.enter_context(closing(Contender(*one))) for one in entrants(settings.engine, engine, precision)
        ]
        raise typer.Exit(report(contenders, settings, _chosen(settings, alpha, resolution), seconds, max_latency_ms))


def entrants(configured: str, engine: str | None, precision: Precision | None) -> list[tuple[str, Precision]]:
    """Return each engine and precision to measure. Raises `StartError` if the flags exclude each other."""
    usual = (*WORKING, TENSORFLOW) if configured == TENSORFLOW else WORKING
    found = [
        (name, computed)
        for name in ((engine,) if engine else usual)
        for computed, able in ENGINES_OF.items()
        if name in able and precision in (None, computed)
    ]
    if not found and precision is not None:
        able = " or ".join(ENGINES_OF[precision])
        raise StartError(f"--precision {precision} needs --engine {able}, and not {engine}")
    return found


def _chosen(settings: Settings, alpha: str | None, resolution: str | None) -> list[Variant]:
    from app.engines.weights import variants

    chosen = [
        one
        for one in variants(settings)
        if (not alpha or one.alpha == settings.alpha) and (not resolution or one.resolution == settings.resolution)
    ]
    return chosen or [settings.variant]


def report(
    contenders: Sequence[Contender],
    settings: Settings,
    variants: Sequence[Variant],
    seconds: float,
    max_latency_ms: float | None = None,
) -> int:
    """Print and save what is measured of each variant, then what to serve with. Return the exit code.

    A variant that no engine runs does not keep the others from theirs. Raises `StartError` for a budget that nothing
    fits.
    """
    found: list[list[Measured]] = []
    told: set[str] = set()
    failed = False
    for variant in variants:
        measured, refusals = contest(contenders, settings.serving(variant), seconds)
        failed |= not (_print(measured, refusals, told) and _save(settings, measured))
        found += [measured] if measured else []
    for line in _advice(found, max_latency_ms):
        say(line)
    return BAD_START if failed else 0


def contest(contenders: Sequence[Contender], settings: Settings, seconds: float) -> tuple[list[Measured], Refusals]:
    """Measure the default variant of the settings in every engine, by turns; also return why others did not run."""
    from app.model import latency

    refusals: Refusals = {}
    began = latency.now()
    least = -(-latency.MIN_RUNS // TURNS)
    ready: list[tuple[Contender, Loaded, list[list[float]]]] = []
    for one in contenders:
        try:
            ready.append((one, one.load(settings), []))
        except StartError as exc:
            _refuse(refusals, one, exc)
    for _ in range(TURNS):
        for entry in list(ready):
            try:
                entry[2].append(entry[0].turn(seconds / TURNS, least))
            except StartError as exc:
                ready.remove(entry)
                _refuse(refusals, entry[0], exc)
    return [_measured(*entry, settings, began) for entry in ready], refusals


def _refuse(refusals: Refusals, contender: Contender, why: StartError) -> None:
    refusals.setdefault(str(why), []).append(f"{contender.engine} {contender.precision}")


def _measured(
    contender: Contender, loaded: "Loaded", turns: list[list[float]], settings: Settings, began: str
) -> Measured:
    from app.model import latency

    found = latency.summary(
        turns,
        settings.variant,
        engine=contender.engine,
        precision=contender.precision,
        classes=loaded.classes,
        threads=settings.model_threads,
        weights=loaded.weights,
        contest=began,
    )
    return Measured(found, loaded.top1, loaded.published)


def _print(measured: Sequence[Measured], refusals: Refusals, told: set[str]) -> bool:
    """Print a variant's rows, and why others are missing, unless that was told before. Return whether any ran."""
    from app.cli import tables

    for one in measured:
        print(tables.bench_row(one))
    for reason, names in refusals.items():
        if not measured:
            tell(StartError(reason))
        elif reason not in told:
            say(f"not measured: {', '.join(names)}: {reason}")
            told.add(reason)
    sys.stdout.flush()
    return bool(measured)


def _save(settings: Settings, measured: Sequence[Measured]) -> bool:
    """Save what was measured. A cache that cannot be written is reported; the figures are of use without it."""
    from app.model import latency

    try:
        latency.save(settings.cache, [one.latency for one in measured])
    except StartError as exc:
        tell(exc)
        return False
    return True


def _advice(found: Sequence[Sequence[Measured]], max_latency_ms: float | None) -> Iterator[str]:
    if not found:
        return
    yield ""
    for measured in found:
        yield from recommendation.advice(measured)
    if max_latency_ms is not None:
        yield from recommendation.advice_within([one for each in found for one in each], max_latency_ms)
