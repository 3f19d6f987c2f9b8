"""What `mobilenet batch` says while it runs and at its end."""

import io
import json
import time
from array import array
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app.batch import job
from app.batch.sink import Sink
from app.batch.tally import Tally
from app.batch.work import Wanted, Work
from app.cli import batch, progress
from app.errors import StartError

TOTAL = Tally(
    photos=1_500_000,
    already=500_000,
    macs=76_017_920,
    cpu_s=4321.5,
    errors=Counter(undecodable_image=7, unreadable=1200),
    classes=Counter({f"class [b{number}]": 1 + number for number in range(30)}),
)


def printed(table: Table) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_summary_has_photos_errors_by_kind_time_and_cost() -> None:
    lines = [line.split() for line in printed(progress.summary(TOTAL, 7_500)).splitlines() if line.strip()]
    assert lines == [
        ["photos", "1,500,000"],
        ["written", "before", "500,000"],
        ["error", "unreadable", "1,200"],
        ["error", "undecodable_image", "7"],
        ["time", "2", "h", "05", "min"],
        ["photos", "per", "second", "133.3"],
        ["MACs", "76,017,920"],
        ["CPU", "time", "4,321.5", "s"],
    ]


def test_the_chart_has_the_most_frequent_classes_and_the_others_together() -> None:
    text = printed(progress.chart(TOTAL))
    assert [line.split()[:3] for line in text.splitlines() if "class [" in line][:2] == [
        ["class", "[b29]", "30"],
        ["class", "[b28]", "29"],
    ]
    assert text.count("class [") == progress.MOST_CLASSES
    assert text.split("10 others")[1].split()[0] == "55"
    bars = [line.count("█") for line in text.splitlines() if "class [" in line]
    assert bars[0] == progress.BAR_WIDTH
    assert bars == sorted(bars, reverse=True)


def test_a_job_without_a_single_class_has_an_empty_chart() -> None:
    assert "others" not in printed(progress.chart(Tally(photos=1, errors=Counter(unreadable=1))))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (192, "3 min 12 s"),
        (7_500, "2 h 05 min"),
    ],
)
def test_times_are_said_as_people_read_them(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_where_there_is_no_terminal_a_line_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for hidden in (True, False):
        with Progress(disable=hidden, console=Console(file=io.StringIO())) as bar:
            track = progress.Track(bar, bar.add_task(""), pieces=10, photos=2000)
            for seconds in (10, 30, 10):
                now[0] += seconds
                track.add(Tally(photos=200, already=50))
    assert capsys.readouterr().err == "mobilenet: 400 of 2,000 photos, 8/s, 2 min 40 s left\n"


def test_without_ray_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "find_spec", lambda name: None if name == "ray" else name)
    with pytest.raises(StartError, match=r"^batches need ray; install the extra `ray`: .*--editable '\.\[ray\]'$"):
        batch.batch([str(tmp_path)], output=str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_photos_that_failed_are_in_the_exit_code_unless_they_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work(cast("Wanted", None), Sink(str(tmp_path), "parquet"), array("Q", [0, 1]), 2)

    def run(*_: Any) -> Generator[Tally]:
        yield Tally(photos=2, errors=Counter(unreadable=1), classes=Counter(dog=1))

    monkeypatch.setattr(job, "prepare", lambda *_: work)
    monkeypatch.setattr(job, "run", run)
    with pytest.raises(typer.Exit) as ended:
        batch.batch(["photos"], output="out")
    assert ended.value.exit_code == 1
    batch.batch(["photos"], output="out", accept_errors=True)
    assert capsys.readouterr().out.count("error unreadable") == 2


def test_counts_survive_the_way_from_an_actor_and_add_up() -> None:
    twice = Tally.unpack(json.dumps(json.loads(TOTAL.pack())))
    assert twice == TOTAL
    twice.add(TOTAL)
    assert (twice.photos, twice.already, twice.macs, twice.cpu_s) == (3_000_000, 1_000_000, 2 * TOTAL.macs, 8643)
    assert (twice.failed, twice.classes["class [b29]"]) == (2414, 60)
