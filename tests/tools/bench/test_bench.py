"""The figures of a comparison: ratios of each round, goals, tables and the picture."""

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from queue import Queue
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.patches
import pytest
import uvloop
from PIL import Image

from app.config import Settings
from tools.bench import loop as bare_loop
from tools.bench.__main__ import ATTEMPTS, BenchPlan, _attempts, _report
from tools.bench.contenders import ContenderFailed
from tools.bench.goals import Goal, goals
from tools.bench.plots import _rates, draw
from tools.bench.results import DEFAULT, FASTIFY, INLINE, PILLOW, Report, Run, Summary, knee, ratios, read, save, spread
from tools.bench.tables import goal_table, markdown, overview
from tools.bench.wrk import Load

LOOP = "bare loop, float32"


def run(
    contender: str,
    requests_per_s: float,
    *,
    number: int = 1,
    connections: int | None = 32,
    p50: float = 10,
    photos: str = "small",
) -> Run:
    return Run(number, contender, photos, connections, None, 0, requests_per_s, p50, p50 * 2, p50 * 3, 1)


def rounds(contender: str, rates: tuple[float, ...], p50s: tuple[float, ...], photos: str = "small") -> Iterator[Run]:
    for number, (rate, p50) in enumerate(zip(rates, p50s, strict=True), start=1):
        yield run(contender, rate, number=number, photos=photos)
        yield run(contender, rate / 2, number=number, connections=1, p50=p50, photos=photos)


RUNS = [
    *rounds(DEFAULT, (900, 1000, 600), (2, 2, 3)),
    *rounds("mosec", (600, 625, 500), (4, 5, 4)),
    *rounds("LitServe", (500, 500, 500), (3.5, 3.5, 3.5)),
    *rounds(PILLOW, (700, 700, 700), (1, 1, 1)),
    *(run(LOOP, 800, number=number, connections=1, p50=1) for number in (1, 2, 3)),
    *(run(LOOP, 1500, number=number, connections=2) for number in (1, 2, 3)),
]


def found(runs: list[Run]) -> dict[str, Goal]:
    return {goal.name: goal for goal in goals(Summary(runs))}


def test_repeated_runs_count_as_their_median_and_their_spread() -> None:
    assert Summary(RUNS).median(DEFAULT, "small", 32) == 900
    assert isnan(Summary(RUNS).median(DEFAULT, "large", 32))
    assert spread([900, 1000, 980]) == pytest.approx(100 / 980)
    assert isnan(spread([900]))


def test_a_ratio_is_taken_in_each_round_in_which_both_were_measured() -> None:
    assert ratios({1: 10, 2: 30, 4: 1}, {1: 20, 2: 10, 3: 7}) == [0.5, 3]


def test_the_service_is_held_against_the_fastest_peer_of_the_same_decoder_round_by_round() -> None:
    goal = found(RUNS)["default, small photos: answers/s ÷ those of mosec"]
    assert goal.values == [1.5, 1.6, 1.2]
    assert (goal.value, goal.least, goal.status) == (1.5, 1.5, "met")
    assert goal.bound == [2.5, 2.4, 3]


def test_the_latency_is_held_against_the_peer_that_is_the_quickest_alone() -> None:
    goal = found(RUNS)["default, small photos: p50 alone ÷ that of LitServe"]
    assert goal.value == pytest.approx(2 / 3.5)
    assert (goal.most, goal.status) == (0.7, "met")
    assert goal.bound == pytest.approx([1 / 3.5] * 3)


def test_a_peer_without_an_answer_is_not_the_quickest() -> None:
    silent = list(rounds("FastAPI + Keras", (0, 0, 0), (nan, nan, nan)))
    assert found([*RUNS, *silent]) == found(RUNS)
    assert found([*silent, *RUNS]) == found(RUNS)


def test_each_way_of_running_the_service_has_its_goals() -> None:
    inline = list(rounds(INLINE, (950, 1200, 900), (1.5, 1.9, 2)))
    both = found([*RUNS, *inline])
    assert both["inline, small photos: answers/s ÷ those of mosec"].least == 1.6
    assert both["inline, small photos: p50 alone ÷ that of LitServe"].most == 0.65
    best = both["default, small photos: answers/s ÷ those of the best of our settings"]
    assert best.values == pytest.approx([900 / 950, 1000 / 1200, 600 / 900])
    assert (best.least, best.status) == (0.9, "**missed**")
    alone = both["default, small photos: p50 alone ÷ that of the best of our settings"]
    assert alone.values == pytest.approx([2 / 1.5, 2 / 1.9, 3 / 2])
    assert (alone.most, alone.status) == (1.1, "**missed**")


def test_goals_are_about_the_mix_first_and_not_about_int8() -> None:
    more = [
        *rounds(DEFAULT, (700,), (3,), "mix"),
        *rounds("mosec", (500,), (5,), "mix"),
        *rounds("this service, int8", (9999,), (1,)),
    ]
    names = list(found([*RUNS, *more]))
    assert names[0] == "default, mix photos: answers/s ÷ those of mosec"
    assert not any("int8" in name for name in names)
    assert found([*RUNS, *more])[names[0]].least == 1.3
    assert not any("best of our settings" in name for name in names)  # with one setting there is nothing to compare


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert Goal("p50", [], most=1).status == "not measured"
    assert found([run("this service, int8", 100)]) == {}
    assert found([run("mosec", 100)]) == {}
    assert found([run(DEFAULT, 100)]) == {}
    assert {goal.status for goal in found([run(DEFAULT, 100), run("mosec", 100, number=2)]).values()} == {
        "not measured"
    }


def test_what_others_disturbed_counts_only_if_there_is_nothing_else() -> None:
    disturbed = replace(RUNS[0], requests_per_s=10, others=0.5)
    assert Summary([*RUNS, disturbed, disturbed]).median(DEFAULT, "small", 32) == 900
    assert Summary([disturbed]).median(DEFAULT, "small", 32) == 10
    spoilt = replace(RUNS[0], requests_per_s=10, others=0.5, round=4)
    assert list(Summary([*RUNS, spoilt]).rounds(DEFAULT, "small", 32)) == [1, 2, 3]


def test_what_others_disturb_is_measured_again_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [0.5, 0.05, 0.5, 0.5, 0.5, 0.5]
    monkeypatch.setattr("tools.bench.__main__.Others.share", lambda *_: shares.pop(0))

    async def measure() -> Load:
        return Load(1, 1, 1, 1, 1)

    async def seen() -> list[float]:
        return [share async for _, share in _attempts(measure, 2)]

    assert uvloop.run(seen()) == [0.5, 0.05]
    assert uvloop.run(seen()) == [0.5] * ATTEMPTS


def test_a_rate_is_too_much_once_answers_fail_or_come_late() -> None:
    assert not knee(1.0, 99, 100)
    assert knee(0.98, 99, 100)
    assert knee(1.0, 90, 100)


def test_an_open_loop_without_an_answer_in_a_round_has_the_median_of_the_others() -> None:
    offered = replace(RUNS[0], connections=None, offered=0.7, offered_per_s=686, requests_per_s=681)
    times = [replace(offered, p50_ms=p50) for p50 in (5, nan, 1, 3, 2)]
    assert "| this service, float32, small | 70% | 686 | 681 | 2.5 | 20.0 | 30.0 | 100.0% |" in markdown(report(*times))
    silent = replace(offered, p50_ms=nan, p95_ms=nan, p99_ms=nan)
    assert "| this service, float32, small | 70% | 686 | 681 | – | – | – | 100.0% |" in markdown(report(silent))


def test_rounds_are_added_only_to_a_report_of_the_same_model_on_the_same_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tools.bench.__main__.machine", lambda: "one machine")
    monkeypatch.setattr("sys.argv", ["bench", "--only", "bare loop, float32"])
    plan = BenchPlan({"small": [b"photo"]}, [1], [], 1, 2)
    settings = Settings(alpha=0.25, resolution=128, weights="imagenette")
    earlier = replace(_report([], settings, plan, None), date="2026-01-01", command="the first one", runs=RUNS)
    added = _report([], settings, plan, earlier)
    assert added.date.startswith("2026-01-01 and ")
    assert added.runs == RUNS
    assert "    the first one\n    python -m tools.bench --only 'bare loop, float32'\n" in markdown(added)
    with pytest.raises(ContenderFailed, match=r"α 0\.25 @ 128 on one .*, and not of \S+, α 0\.5 @ 128 on one "):
        _report([], settings.model_copy(update={"alpha": 0.5}), plan, earlier)
    monkeypatch.setattr("tools.bench.__main__.machine", lambda: "another machine")
    with pytest.raises(ContenderFailed, match=r"^--add: .* on one machine, .*, and not of .* on another machine, "):
        _report([], settings, plan, earlier)


def test_the_command_of_a_report_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--only", "bare loop, float32"])
    made = _report([], Settings(), BenchPlan({}, [1], [], 1, 2), None)
    assert made.command == "python -m tools.bench --only 'bare loop, float32'"


def test_a_bare_loop_that_fails_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError("no model")

    monkeypatch.setattr(bare_loop, "in_process", failing)
    told = Queue[Any]()
    with pytest.raises(OSError, match="no model"):
        bare_loop._loop(Settings(), [b"photo"], 1, threading.Barrier(1), told)
    with pytest.raises(ContenderFailed, match=r"^a process of the bare loop failed: OSError: no model$"):
        bare_loop.collected(told, 1, 1)


def report(*more: Run) -> Report:
    return Report("2026-01-01", "a machine", "a command", "a model", {"small": 13_000}, {}, [*RUNS, *more])


def test_the_tables_have_every_contender_and_every_rate() -> None:
    offered = replace(RUNS[0], connections=None, offered=0.7, offered_per_s=686, requests_per_s=681)
    text = markdown(report(offered))
    assert "| this service, float32 | 450 | 900 | 44% | 2.00 | 30.0 |" in text
    assert "| LitServe | 250 | 500 | 0% | 3.50 | 30.0 |" in text
    assert "| float32, small | 800 | 1,500 | 1.00 |" in text
    assert "| this service, float32, small | 70% | 686 | 681 | 10.0 | 20.0 | 30.0 | 100.0% |" in text
    assert goal_table(report(offered)) in text
    assert overview(report(offered)) in text


def test_the_first_table_has_few_contenders_and_the_mix_first() -> None:
    text = overview(report(run(DEFAULT, 300, photos="mix"), run(DEFAULT, 300, photos="large")))
    assert "|  | mix photos: answers/s | mix photos: p50 alone, ms | small photos: answers/s |" in text
    assert "| this service, float32 | 300 | – | 900 | 2.00 |" in text
    assert f"| {PILLOW} | – | – | 700 | 1.00 |" in text
    assert f"| {LOOP} | – | – | 1,500 | 1.00 |" in text
    assert "LitServe" not in text
    assert FASTIFY not in text
    assert "large" not in text
    assert text.endswith("Medians of 3 rounds, 2026-01-01, a model, a machine.")


def test_the_table_of_goals_has_the_range_of_the_rounds_and_the_bare_loop() -> None:
    row = "| default, small photos: answers/s ÷ those of mosec | 1.50 | 1.20 to 1.60 | ≥ 1.5 | met | 2.50 |"
    assert row in goal_table(report())


def test_a_report_is_read_as_it_was_saved_and_drawn(tmp_path: Path) -> None:
    silent = run("FastAPI + Keras", 0, p50=nan)
    save(report(silent), tmp_path)
    assert isnan(read(tmp_path).runs[-1].p50_ms)
    assert read(tmp_path).runs[:-1] == report().runs
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    draw(report(), tmp_path / "report.png")
    assert min(Image.open(io.BytesIO((tmp_path / "report.png").read_bytes())).size) > 300


def test_a_report_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(report(), tmp_path)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(report(run("mosec", 1, number=9)), tmp_path)
    assert read(tmp_path).runs == report().runs


def width_of_first_bar(axis: matplotlib.axes.Axes) -> float:
    bar = axis.patches[0]
    assert isinstance(bar, matplotlib.patches.Rectangle)
    return bar.get_width()


@pytest.mark.parametrize(("loops", "unit", "width"), [(True, "% of the bare loop", 60), (False, "answers/s", 900)])
def test_bars_are_parts_of_the_bare_loop_where_it_was_measured_and_else_answers(
    loops: bool, unit: str, width: float
) -> None:
    runs = [one for one in RUNS if loops or one.contender != LOOP]
    axis = matplotlib.figure.Figure().subplots()
    _rates(axis, Summary(runs), [DEFAULT, *([LOOP] if loops else [])], "small")
    assert width_of_first_bar(axis) == pytest.approx(width)
    assert unit in axis.get_xlabel()
    assert ("%" in axis.get_xlabel()) == loops


def test_bars_of_photos_that_the_bare_loop_lacks_are_answers() -> None:
    axis = matplotlib.figure.Figure().subplots()
    _rates(axis, Summary([*RUNS, *rounds(DEFAULT, (300,), (3,), "mix")]), [DEFAULT, LOOP], "mix")
    assert width_of_first_bar(axis) == 300
    assert "%" not in axis.get_xlabel()
