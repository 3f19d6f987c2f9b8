"""`mobilenet classify`: the most probable classes of photos, here or by a service."""

import sys
from contextlib import closing
from typing import Annotated

import typer

from app.cli import choice
from app.cli.embedding import Key, Url, end
from app.config import Settings
from app.errors import StartError
from app.prediction.budget import Budget


def classify(
    photos: Annotated[
        list[str],
        typer.Argument(help="Files, folders, or quoted patterns such as '*.jpg'; - reads a photo from stdin."),
    ],
    *,
    url: Url = None,
    api_key: Key = None,
    connections: Annotated[
        int | None, typer.Option(min=1, help="Connections to the service. Default: enough for a quarter of its queue.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="How many classes to print for each photo. Default: 5.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per photo, each on a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a row for each class of each photo.")] = False,
    alpha: choice.Alpha = None,
    resolution: choice.Resolution = None,
    precision: choice.Precision = None,
    max_macs: choice.MaxMacs = None,
    max_latency_ms: choice.MaxLatencyMs = None,
    min_accuracy: choice.MinAccuracy = None,
) -> None:
    """Print the most probable classes of photos. The exit code is 1 if some could not be classified."""
    from app.cli import report
    from app.cli.album import classify_photos
    from app.cli.backend import RemoteBackend
    from app.cli.photos import find
    from app.prediction.blocking import LocalBackend, top_k_or_default

    if as_json and as_csv:
        raise StartError("--json and --csv cannot be used together; choose one")
    budget = Budget(max_macs, max_latency_ms, min_accuracy)
    choice.check_place(url, api_key=api_key, connections=connections, precision=precision)
    settings = choice.settings_with(alpha, resolution, precision, budget=budget)
    found = find(photos)
    key = api_key or next((one.get_secret_value() for one in settings.api_keys), None)
    if budget != choice.FREE and url is None:
        settings = _within(budget, settings)
    wanted = choice.options(settings, alpha, resolution, budget)
    with closing(LocalBackend(settings) if url is None else RemoteBackend(url, key, connections, wanted)) as backend:
        k = top_k_or_default(top_k, backend.classes)
        form = report.JSON if as_json else report.CSV if as_csv else report.TEXT
        with closing(classify_photos(found, backend, k)) as results:
            failed = report.write(results, form, len(found))
    end(failed, len(found))


def _within(budget: Budget, settings: Settings) -> Settings:
    from app.cli.budget import within

    best = within(budget, settings)
    print(f"mobilenet: {best.variant} answers", file=sys.stderr)
    return best
