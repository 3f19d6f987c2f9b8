"""`mobilenet bench`: every engine and precision by turns, those that do not start by name, and what to serve with."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import environment
from app.cli import contender as contenders
from app.cli.bench import TURNS, contest, entrants, report
from app.cli.contender import Contender, Loaded
from app.cli.main import cli
from app.config import Settings
from app.errors import BAD_START, StartError
from app.mobilenet.variants import Precision, Variant
from app.model import latency, scores
from app.runtime import local
from tests.support.fakes import colour_model

VARIANTS = (Variant(0.25, 128), Variant(0.5, 160))


class Fake:
    """An engine that takes so many milliseconds, or says why it does not start, or fails in a turn."""

    def __init__(
        self,
        engine: str,
        precision: Precision,
        time_ms: float = 1.0,
        top1: float | None = 0.9,
        *,
        refuses: str = "",
        fails_in_turn: int = 0,
        diary: list[str] | None = None,
    ) -> None:
        self.engine, self.precision = engine, precision
        self._time_ms, self._top1, self._refuses, self._fails_in_turn = time_ms, top1, refuses, fails_in_turn
        self._diary = [] if diary is None else diary
        self._turns = 0

    def load(self, settings: Settings) -> Loaded:
        if self._refuses:
            raise StartError(self._refuses)
        self._turns = 0
        return Loaded("imagenette", 10, self._top1, published=False)

    def turn(self, seconds: float, least: int) -> list[float]:
        self._turns += 1
        self._diary.append(f"{self.engine} {self.precision}")
        if self._turns == self._fails_in_turn:
            raise StartError("it broke")
        return [self._time_ms] * least


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path, model_workers=1)


def run(
    contenders: Sequence[Fake], settings: Settings, capsys: pytest.CaptureFixture[str], budget: float | None = None
) -> tuple[int, list[str], str]:
    """Return the exit code, the lines on standard output, and what standard error says."""
    code = report(contenders, settings, VARIANTS, 0, budget)
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_engines_are_measured_by_turns(settings: Settings) -> None:
    diary: list[str] = []
    contest([Fake("litert", "float32", diary=diary), Fake("openvino", "float32", diary=diary)], settings, 0)
    assert diary == ["litert float32", "openvino float32"] * TURNS


def test_a_median_is_over_all_turns_which_have_twenty_runs_together(settings: Settings) -> None:
    (found,), refusals = contest([Fake("litert", "int8", 2.5)], settings.serving(VARIANTS[0]), 0)
    assert (found.latency.median_ms, found.latency.runs, found.latency.turns_ms) == (2.5, 20, (2.5,) * TURNS)
    assert (found.variant, found.name, refusals) == (VARIANTS[0], "litert int8", {})


def test_what_does_not_start_is_named_once_with_its_reason_and_is_no_error(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = [Fake("openvino", one, refuses="it is not installed") for one in ("float32", "int8")]
    code, lines, err = run([Fake("litert", "float32"), *lacking], settings, capsys)
    assert (code, err) == (0, "")
    named = [line for line in lines if "not installed" in line]
    assert named == ["not measured: openvino float32, openvino int8: it is not installed"]


def test_an_engine_that_fails_later_does_not_keep_the_others_from_being_measured(settings: Settings) -> None:
    measured, refusals = contest([Fake("openvino", "int8", fails_in_turn=3), Fake("litert", "int8")], settings, 0)
    assert [one.name for one in measured] == ["litert int8"]
    assert refusals == {"it broke": ["openvino int8"]}


def test_it_ends_with_a_command_for_each_variant_and_one_for_the_budget(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, _ = run([Fake("litert", "float32", 2.0), Fake("openvino", "int8", 1.0)], settings, capsys, 1.5)
    assert code == 0
    serve = "    mobilenet serve --engine openvino --precision int8"
    assert [line for line in lines if line.startswith("    ")] == [
        f"{serve} --alpha 0.25 --resolution 128",
        f"{serve} --alpha 0.5 --resolution 160",
        f"{serve} --alpha 0.25 --resolution 128",
    ]
    assert lines[-2].startswith("The most accurate within 1.5 ms, by the median, is α 0.25 @ 128 (openvino int8, 1 ms")


def test_an_impossible_budget_leaves_what_was_measured(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StartError, match=r"^--max-latency-ms 0\.5: nothing that was measured is as fast"):
        run([Fake("litert", "float32")], settings, capsys, 0.5)
    assert "    mobilenet serve --engine litert" in capsys.readouterr().out
    assert len(latency.read(settings.cache)) == len(VARIANTS)


def test_all_measurements_are_saved_beside_older_ones(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for one in (Fake("litert", "float32", 9.0), Fake("openvino", "float32", 3.0), Fake("litert", "float32", 2.0)):
        run([one], settings, capsys)
    found = {(one.engine, one.alpha): one.median_ms for one in latency.read(settings.cache)}
    assert found == {("litert", 0.25): 2.0, ("litert", 0.5): 2.0, ("openvino", 0.25): 3.0, ("openvino", 0.5): 3.0}


def test_a_cache_that_cannot_be_written_is_reported_and_the_advice_is_still_given(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    full = settings.model_copy(update={"cache": tmp_path / "file"})
    code, lines, err = run([Fake("litert", "float32")], full, capsys)
    assert code == BAD_START
    assert lines[-1].startswith("    mobilenet serve")
    assert err.startswith("mobilenet: ")


def test_what_no_engine_runs_is_an_error(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = run([Fake("openvino", "int8", refuses="no instructions for it")], settings, capsys)
    assert (code, lines) == (BAD_START, [])
    assert err == "mobilenet: no instructions for it\n" * len(VARIANTS)


WORKING = [("litert", "float32"), ("litert", "int8"), ("openvino", "float32"), ("openvino", "int8")]


def test_tensorflow_is_measured_only_if_it_is_asked_for() -> None:
    assert entrants("litert", None, None) == [*WORKING, ("openvino", "bfloat16")]
    assert entrants("litert", "tensorflow", None) == [("tensorflow", "float32")]
    assert entrants("tensorflow", None, None) == [*WORKING, ("openvino", "bfloat16"), ("tensorflow", "float32")]
    assert entrants("litert", None, "int8") == [("litert", "int8"), ("openvino", "int8")]
    with pytest.raises(StartError, match=r"^--precision int8 needs --engine litert or openvino, and not tensorflow$"):
        entrants("litert", "tensorflow", "int8")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "sources", {})
    for name in ("CACHE", "ALPHA", "RESOLUTION"):  # which flags set, too
        monkeypatch.setenv(f"MOBILENET_{name}", {"CACHE": str(tmp_path), "ALPHA": "0.25"}.get(name, "128"))
    return tmp_path


FLAGS = ["--seconds", "0", "--engine", "litert", "--precision", "int8", "--alpha", "0.25", "--resolution"]


@pytest.mark.e2e
@pytest.mark.parametrize("resolution", ["128", "96"])
def test_it_measures_the_variant_that_the_flags_name_in_a_process_of_its_own(cache: Path, resolution: str) -> None:
    done = CliRunner().invoke(cli, ["bench", *FLAGS, resolution])
    assert done.exit_code == 0, done.output
    assert done.stdout.count(f"\nα 0.25 @ {resolution}") == done.stdout.count("\nα") == 1
    assert done.stdout.endswith(
        f"    mobilenet serve --engine litert --precision int8 --alpha 0.25 --resolution {resolution}\n"
    )
    assert [one.engine for one in latency.read(cache)] == ["litert"]


def test_a_budget_that_is_no_time_is_refused_before_anything_is_measured(cache: Path) -> None:
    done = CliRunner().invoke(cli, ["bench", *FLAGS, "128", "--max-latency-ms", "0"])
    assert str(done.exception) == "--max-latency-ms 0 must be a finite number above 0"


@pytest.mark.e2e
def test_a_process_that_ends_in_the_middle_is_one_line_and_another_takes_its_place(settings: Settings) -> None:
    contender = Contender("litert", "int8")
    with pytest.raises(StartError, match=r"^its process ended before it was done"):
        contender._run(os._exit, 1)
    for variant in VARIANTS:
        known = scores.find(scores.read(), variant, "int8")
        assert contender.load(settings.serving(variant)) == Loaded(
            "imagenette", 10, known.top1 if known else None, published=False
        )
    assert len(contender.turn(0, 4)) == 4
    contender.close()


def test_a_file_of_others_is_measured_in_its_own_precision_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = replace(colour_model(), weights="theirs.tflite")
    monkeypatch.setattr(local, "in_process", partial(local.in_process, load=lambda _: file))
    assert contenders._load(settings.model_copy(update={"precision": "float32"})) == Loaded(
        "theirs.tflite", 6, None, published=False
    )
    with pytest.raises(StartError, match=r"^theirs\.tflite is in float32$"):
        contenders._load(settings.model_copy(update={"precision": "int8"}))


class Published(Fake):
    """An engine that runs the published weights."""

    def load(self, settings: Settings) -> Loaded:
        return super().load(settings)._replace(weights="imagenet", published=True)


def test_whether_weights_are_the_published_ones_the_loaded_model_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,), _ = contest([Published("litert", "float32")], settings, 0)
    assert found.published
    model = replace(colour_model(), weights="imagenet", published=True)
    monkeypatch.setattr(local, "in_process", partial(local.in_process, load=lambda _: model))
    assert contenders._load(settings).published


@pytest.mark.e2e
def test_closing_does_not_wait_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    contender = Contender("litert", "int8")
    contender._ready.result()
    contender._process.submit(time.sleep, 100)
    kill = os.kill
    signals: list[int] = []

    def lose_the_first(process: int, number: int) -> None:
        """Do what the system does if a signal comes just before a wait, which it does not end then."""
        if signals:
            kill(process, number)
        signals.append(number)

    monkeypatch.setattr(os, "kill", lose_the_first)
    began = time.monotonic()
    contender.close()
    assert time.monotonic() - began < 50, "it waited"
    assert len(signals) == 2


@pytest.mark.e2e
def test_ctrl_c_is_for_the_command_alone_from_the_start_of_its_processes() -> None:
    contender = Contender("litert", "int8")
    assert signal.SIGINT in contender._process.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    contender.close()


@pytest.mark.e2e
def test_closing_does_not_wait_for_what_is_still_imported() -> None:
    contender = Contender("litert", "int8")
    assert contender._child.pid
    os.kill(contender._child.pid, signal.SIGSTOP)  # which makes sure that it never is ready
    contender.close()
    assert not contender._child.is_alive()
