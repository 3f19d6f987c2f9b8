"""The flags for which variant answers: the best within a budget, one by its numbers, here or by a service."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import environment
from app.api.predict import PredictQuery
from app.cli import budget as budgets
from app.cli import choice
from app.cli.backend import RemoteBackend
from app.cli.main import cli
from app.config import Settings
from app.errors import StartError, Unauthorized, UnsupportedImage
from app.measurements import Latency
from app.mobilenet.variants import Variant
from app.model import latency
from app.prediction.budget import Budget, Candidate
from app.prediction.selection import Single
from tests.support.client import launching
from tests.support.script import Answer, playing, refused


@pytest.fixture(autouse=True)
def unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what flags put into the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "sources", {})
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_flags_are_settings_and_a_wrong_one_is_named_as_it_was_given() -> None:
    settings = choice.settings_with("0.25", "128", "int8")
    assert (settings.variant, settings.precision) == (Variant(0.25, 128), "int8")
    with pytest.raises(StartError, match=r"--alpha=0\.3: alpha 0\.3 is not one of 1, 0\.75, 0\.5, 0\.25"):
        choice.settings_with("0.3", None, None)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"alpha": "0.5", "budget": Budget(max_macs=9)}, "--alpha or --resolution and a budget exclude each other"),
        ({"resolution": "160", "budget": Budget(min_accuracy=0.5)}, "--alpha or --resolution and a budget exclude"),
        ({"budget": Budget(max_latency_ms=0)}, "--max-latency-ms 0 must be a finite number above 0"),
        ({"budget": Budget(max_latency_ms=float("inf"))}, "--max-latency-ms inf must be a finite number above 0"),
        ({"budget": Budget(max_latency_ms=float("nan"))}, "--max-latency-ms nan must be a finite number above 0"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(given: Any, says: str) -> None:
    with pytest.raises(StartError, match=says):
        choice.settings_with(**{"alpha": None, "resolution": None, "precision": None} | given)


@pytest.mark.parametrize(
    ("url", "given", "says"),
    [
        ("http://service", {"precision": "int8"}, "^--precision is for a model that runs here"),
        (None, {"api_key": "secret"}, "^--api-key needs --url: without it, the model runs here$"),
        (None, {"api_key": "secret", "connections": 3}, "^--api-key and --connections need --url: "),
    ],
)
def test_a_flag_that_would_be_ignored_where_the_model_runs_is_refused(url: Any, given: Any, says: str) -> None:
    with pytest.raises(StartError, match=says):
        choice.check_place(url, **given)


def test_a_service_is_asked_for_what_was_given_and_nothing_else() -> None:
    settings = choice.settings_with("0.25", None, None)
    given = {name: value for name, value in choice.options(settings, "0.25", None).items() if value is not None}
    assert given == {"alpha": 0.25, "degrade": "never"}
    budget = Budget(max_macs=5, max_latency_ms=2.5, min_accuracy=0.9)
    given = {name: value for name, value in choice.options(settings, None, None, budget).items() if value is not None}
    assert given == {"max_macs": 5, "max_latency_ms": 2.5, "min_accuracy": 0.9, "degrade": "never"}


BUNDLED = Settings(precision="int8", alpha=0.25, resolution=128, model_workers=1)


@pytest.mark.parametrize(
    ("alpha", "resolution", "budget"),
    [(None, None, Budget()), ("0.5", "160", Budget()), (None, "160", Budget()), (None, None, Budget(max_macs=50))],
)
def test_no_smaller_variant_of_a_service_answers_without_a_word(
    alpha: str | None, resolution: str | None, budget: Budget
) -> None:
    """A queue that is full is waited for, also with `MOBILENET_DEGRADE=true`."""
    large, small = Candidate(Variant(0.5, 160), 50, 0.9, 5.0), Candidate(Variant(0.25, 128), 10, 0.8, 1.0)
    wanted = choice.options(Settings(alpha=0.5, resolution=160), alpha, resolution, budget)
    plan = PredictQuery.model_validate(wanted).plan([large, small], degrade=True)
    assert isinstance(plan, Single)
    assert plan.variants == [large.variant]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return BUNDLED.model_copy(update={"cache": tmp_path})


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(max_macs=14_000_000), Variant(0.25, 128)),
        (Budget(max_macs=80_000_000), Variant(0.5, 160)),
        (Budget(max_macs=80_000_000, min_accuracy=0.8), Variant(0.5, 160)),
    ],
)
def test_the_most_accurate_variant_of_the_weights_answers_that_fits(
    budget: Budget, expected: Variant, settings: Settings
) -> None:
    assert budgets.within(budget, settings).variant == expected


def test_what_no_variant_fits_is_one_line_with_the_nearest(settings: Settings) -> None:
    with pytest.raises(StartError, match=r"no variant fits max_macs=3; the nearest is 0\.25/128, with 13,316,608 MACs"):
        budgets.within(Budget(max_macs=3), settings)


def test_a_budget_of_time_needs_what_was_measured_here(settings: Settings) -> None:
    with pytest.raises(StartError, match="is not known yet; run `mobilenet bench` first"):
        budgets.within(Budget(max_latency_ms=5), settings)
    for variant, milliseconds in ((Variant(1, 224), 9.0), (Variant(0.75, 224), 4.0), (Variant(0.25, 128), 1.0)):
        one = Latency(
            alpha=variant.alpha,
            resolution=variant.resolution,
            classes=10,
            precision="int8",
            engine="litert",
            threads=settings.model_threads,
            machine=latency.machine(),
            measured="2026-11-29",
            runs=9,
            median_ms=milliseconds,
            p95_ms=milliseconds,
        )
        latency.save(settings.cache, [one])
    assert budgets.within(Budget(max_latency_ms=5), settings).variant == Variant(0.75, 224)


def served(variant: str) -> tuple[Answer, Answer]:
    """Return what a service with one variant says of another, and of all."""
    with launching() as launch:
        app = launch()
        alpha, resolution = variant.split("/")
        return Answer(app.get(f"/model-info?alpha={alpha}&resolution={resolution}").text), Answer(
            app.get("/variants").text
        )


def test_a_variant_that_a_service_has_not_loaded_is_one_line_with_those_that_it_has() -> None:
    info, variants = served("1/224")
    with playing(info, variants) as script, pytest.raises(StartError) as caught:
        RemoteBackend(script.url, None, None, {"alpha": 1, "resolution": 224})
    loaded = [one for one in json.loads(variants.body)["variants"] if one["served"]]
    assert str(caught.value) == (
        f"the service has not loaded 1/224; loaded are {loaded[0]['alpha']:g}/{loaded[0]['resolution']}"
    )


def test_each_request_asks_a_service_for_the_budget_and_for_the_variant() -> None:
    with launching() as launch:
        info = Answer(launch().get("/model-info").text)
    no = refused(UnsupportedImage("no"))
    with playing(info, no, no, info, no) as script:
        for wanted in (choice.options(BUNDLED, None, None, Budget(5)), choice.options(BUNDLED, "0.25", "128")):
            backend = RemoteBackend(script.url, None, None, wanted)
            backend.classify([b"photo"], 2)
            backend.embed([b"photo"])
            backend.close()
    asked = [one.line.split()[1] for one in script.asked]
    assert asked == [
        "/model-info",
        "/predict?max_macs=5&degrade=never&top_k=2",
        "/embed",
        "/model-info?alpha=0.25&resolution=128",
        "/predict?alpha=0.25&resolution=128&degrade=never&top_k=2",
        "/embed?alpha=0.25&resolution=128",
    ]


def test_a_service_that_needs_a_key_says_where_to_give_it() -> None:
    with playing(refused(Unauthorized("a key is needed"))) as script, pytest.raises(StartError) as caught:
        RemoteBackend(script.url, None, None)
    assert str(caught.value) == "a key is needed: set MOBILENET_API_KEYS, or pass --api-key"


@pytest.mark.parametrize("command", ["classify", "embed", "similar", "duplicates", "bench"])
def test_every_command_that_runs_a_model_takes_a_variant(command: str) -> None:
    shown = CliRunner().invoke(cli, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert all(flag in shown for flag in ("--alpha", "--resolution", "--precision"))
