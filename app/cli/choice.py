"""The flags of commands for which variant answers: one by its numbers, or the best one within a budget."""

from math import inf
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app import environment
from app.cli.flags import override
from app.config import Settings
from app.errors import StartError
from app.prediction.budget import Budget

if TYPE_CHECKING:
    from app.client.calls import PredictOptions

PANEL: Final = "Variant"
FREE: Final = Budget()
"""No budget at all."""

Alpha = Annotated[
    str | None,
    typer.Option(metavar="NUMBER", help="Width multiplier. Default: MOBILENET_ALPHA.", rich_help_panel=PANEL),
]
Resolution = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER", help="Side of the input in pixels. Default: MOBILENET_RESOLUTION.", rich_help_panel=PANEL
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Of a model that runs here. Default: MOBILENET_PRECISION.", rich_help_panel=PANEL
    ),
]
MaxMacs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="NUMBER",
        help="Have the most accurate variant answer that has at most so many multiply-accumulates.",
        rich_help_panel=PANEL,
    ),
]
MaxLatencyMs = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="Have the most accurate variant answer that takes at most so many milliseconds: as a service expects, or "
        "here as `mobilenet bench` measured.",
        rich_help_panel=PANEL,
    ),
]
MinAccuracy = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="NUMBER",
        help="Have a variant answer whose top-1 accuracy is at least this, 0 to 1.",
        rich_help_panel=PANEL,
    ),
]


def settings_with(
    alpha: str | None, resolution: str | None, precision: str | None, *, budget: Budget = FREE
) -> Settings:
    """Return the settings with these flags. Raises `StartError` for flags that are wrong or exclude each other."""
    if budget != FREE and (alpha or resolution):
        raise StartError("--alpha or --resolution and a budget exclude each other; choose one")
    check_latency(budget.max_latency_ms)
    override(alpha=alpha, resolution=resolution, precision=precision)
    return environment.load()


def check_place(
    url: str | None, *, api_key: str | None = None, connections: int | None = None, precision: str | None = None
) -> None:
    """Raise `StartError` for a flag that would be ignored: a model's if a service is asked, a service's if none is."""
    if url is not None and precision:
        raise StartError("--precision is for a model that runs here; a service has the one that it was started with")
    remote = {"--api-key": api_key, "--connections": connections}
    if url is None and (given := [flag for flag, value in remote.items() if value is not None]):
        needs = "need" if len(given) > 1 else "needs"
        raise StartError(f"{' and '.join(given)} {needs} --url: without it, the model runs here")


def check_latency(max_latency_ms: float | None) -> None:
    """Raise `StartError` for a budget of milliseconds that is no positive number; None is no budget."""
    if max_latency_ms is not None and not 0 < max_latency_ms < inf:
        raise StartError(f"--max-latency-ms {max_latency_ms:g} must be a finite number above 0")


def options(settings: Settings, alpha: str | None, resolution: str | None, budget: Budget = FREE) -> "PredictOptions":
    """Return what to ask a service for. A number that is not given is that of its own default variant.

    No smaller variant may answer in its place, as the output would not show which photos that concerns.
    """
    return {
        "alpha": settings.alpha if alpha else None,
        "resolution": settings.resolution if resolution else None,
        "max_macs": budget.max_macs,
        "max_latency_ms": budget.max_latency_ms,
        "min_accuracy": budget.min_accuracy,
        "degrade": "never",
    }
