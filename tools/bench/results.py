"""Summarises a comparison: medians and spread of repeated runs, tables, and which goals are met."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from tools.load.report import format_number

FILE = "report.json"
ABOUT = (
    "This report has every figure of one comparison of this service with other servers. "
    "`docs/performance.md` says what the figures mean and how they are measured."
)
OURS, LOOP = "this service, ", "bare loop, "
BUSY, ALONE = 32, 1
"""The numbers of connections that the goals are about."""
GOAL_LOAD = 0.7
DISTURBED = 0.1
"""A measurement is spoilt if other processes took more than this share of the CPUs."""
KNEE_SUCCESS, KNEE_ANSWERED = 0.99, 0.95
"""A rate is too high if fewer requests succeed, or fewer are answered in time, than these shares."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one contender.

    `connections` is None for an open loop; for the bare loop it is the number of processes. `offered` is the rate of an
    open loop as a part of the contender's capacity, and None for other loads. Percentiles are of answers with status
    200, nan if there were none. `success` is the share of requests that were answered with 200, and `others` the share
    of the CPUs that other processes took meanwhile.
    """

    round: int
    contender: str
    photos: str
    connections: int | None
    offered: float | None
    offered_per_s: float
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    success: float
    others: float = 0


@dataclass(frozen=True, slots=True)
class Report:
    """A comparison: its date, machine and command, and every run. `versions` are those of the contenders' packages."""

    date: str
    machine: str
    command: str
    model: str
    photo_bytes: dict[str, int]
    versions: dict[str, list[str]]
    runs: list[Run]


def read(folder: Path) -> Report:
    """Return the report that was saved in this folder."""
    return TypeAdapter(Report).validate_json((folder / FILE).read_bytes())


def save(report: Report, folder: Path) -> None:
    """Save the report in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(TypeAdapter(Report).dump_json(report, indent=1) + b"\n")


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its goal, at least or at most so much. The figure is nan if it was not measured."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def status(self) -> str:
        """Whether the goal is met, in words."""
        if isnan(self.value):
            return "not measured"
        enough = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        return "met" if enough else "**missed**"


def knee(success: float, requests_per_s: float, offered_per_s: float) -> bool:
    """Whether a rate is too high for a contender: some requests fail, or answers come more slowly than requests."""
    return success < KNEE_SUCCESS or requests_per_s < KNEE_ANSWERED * offered_per_s


class Summary:
    """Finds the runs of a report by contender, photos and load."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.contenders = list(dict.fromkeys(run.contender for run in runs))
        self.photos = list(dict.fromkeys(run.photos for run in runs))
        self.connections = sorted(
            {run.connections for run in runs if run.connections and not run.contender.startswith(LOOP)}
        )

    def values(self, contender: str, photos: str, connections: int | None, field: str) -> list[float]:
        """Return a field of each repetition of a closed loop, or of the bare loop."""
        wanted = (contender, photos, connections)
        found = [run for run in self.runs if (run.contender, run.photos, run.connections) == wanted]
        return [getattr(run, field) for run in _quiet(found)]

    def median(self, contender: str, photos: str, connections: int | None, field: str = "requests_per_s") -> float:
        """Return the median of the repeated runs; nan without any."""
        found = self.values(contender, photos, connections, field)
        return median(found) if found else nan

    def open(self, contender: str, photos: str) -> dict[float, list[Run]]:
        """Return the runs of open loops by their rate, as a part of the capacity."""
        found: dict[float, list[Run]] = {}
        for run in self.runs:
            if (run.contender, run.photos) == (contender, photos) and run.offered is not None:
                found.setdefault(run.offered, []).append(run)
        return {part: _quiet(runs) for part, runs in sorted(found.items())}

    def loop(self, precision: str, photos: str, field: str = "requests_per_s", *, alone: bool = False) -> float:
        """Return the median of the bare loop in one process, or in the largest number of processes."""
        name = f"{LOOP}{precision}"
        processes = [run.connections or 0 for run in self.runs if run.contender == name]
        return self.median(name, photos, 1 if alone else max(processes, default=0), field)

    def fastest_peer(self, photos: str) -> str | None:
        """Return the name of the other server with the most answers per second at 32 connections."""
        peers = [name for name in self.contenders if not name.startswith((OURS, LOOP))]
        return max(peers, key=lambda name: self.median(name, photos, BUSY), default=None)


def _quiet(runs: list[Run]) -> list[Run]:
    """Return the runs that other processes did not disturb, or all runs if there is no such run."""
    return [run for run in runs if run.others <= DISTURBED] or runs


def spread(values: Sequence[float]) -> float:
    """Return the difference of the largest and the smallest value, divided by the median; nan for a single value."""
    return (max(values) - min(values)) / median(values) if len(values) > 1 else nan


FASTER = {("float32", "small"): 1.5, ("float32", "large"): 1.35, ("int8", "small"): 1.8, ("int8", "large"): 1.5}
OF_LOOP, OF_PEER_P50, SPREAD, P99_OF_P50 = 0.75, 0.65, 0.1, 5.0


def goals(summary: Summary) -> Iterator[Goal]:
    """Yield the goals of the service beside the fastest peer, the bare loop and its own other figures."""
    for (precision, photos), least in FASTER.items():
        for name in summary.contenders:
            if f"{name}, ".startswith(f"{OURS}{precision}, "):
                yield from _of(summary, name, precision, photos, least)


def _of(summary: Summary, name: str, precision: str, photos: str, least: float) -> Iterator[Goal]:
    ours = summary.median(name, photos, BUSY)
    if isnan(ours):
        return
    peer = summary.fastest_peer(photos)
    where = f"{name.removeprefix(OURS)}, {photos} photo"
    if peer is not None:
        yield Goal(f"{where}: answers/s ÷ those of {peer}", ours / summary.median(peer, photos, BUSY), least=least)
        alone = summary.median(name, photos, ALONE, "p50_ms") / summary.median(peer, photos, ALONE, "p50_ms")
        yield Goal(f"{where}: p50 alone ÷ that of {peer}", alone, most=OF_PEER_P50)
    yield Goal(f"{where}: answers/s ÷ images/s of the bare loop", ours / summary.loop(precision, photos), least=OF_LOOP)
    repeated = summary.values(name, photos, BUSY, "requests_per_s")
    yield Goal(f"{where}: spread of {len(repeated)} runs", spread(repeated), most=SPREAD)
    at_load = summary.open(name, photos).get(GOAL_LOAD, [])
    if at_load:
        ratio = median(run.p99_ms / run.p50_ms for run in at_load)
        yield Goal(f"{where}: p99 ÷ p50 at {GOAL_LOAD:.0%} load", ratio, most=P99_OF_P50)


def overview(report: Report) -> str:
    """Return a table in Markdown with the most important figures: one row for each contender and bare loop."""
    summary = Summary(report.runs)
    busy = _busy(summary)
    head = ("", *(f"{photos} photo: {what}" for photos in summary.photos for what in ("answers/s", "p50 alone, ms")))
    rows = []
    for name in summary.contenders:
        row = [name]
        for photos in summary.photos:
            if name.startswith(LOOP):
                precision = name.removeprefix(LOOP)
                figures = summary.loop(precision, photos), summary.loop(precision, photos, "p50_ms", alone=True)
            else:
                figures = summary.median(name, photos, busy), summary.median(name, photos, ALONE, "p50_ms")
            row += [format_number(figures[0], 0), format_number(figures[1], 2)]
        rows.append(row)
    return _table(head, rows)


def markdown(report: Report) -> str:
    """Return the whole report in Markdown."""
    summary = Summary(report.runs)
    parts = [*(_closed(summary, photos) for photos in summary.photos), _loops(summary)]
    if any(run.offered is not None for run in report.runs):
        parts.append(_open(summary))
    return "\n\n".join([_head(report), *parts, goal_table(report)]) + "\n"


def _head(report: Report) -> str:
    photos = ", ".join(f"{name} {size / 1000:.0f} KB" for name, size in report.photo_bytes.items())
    versions = "; ".join(f"{name}: {', '.join(each)}" for name, each in report.versions.items())
    facts = (
        f"Measured on {report.date}. Machine: {report.machine}. Model: {report.model}. Photos: {photos}. "
        f"Versions: {versions}. The command was:"
    )
    return f"# Report of a comparison\n\n{ABOUT}\n\n{facts}\n\n    {report.command}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _closed(summary: Summary, photos: str) -> str:
    busy = _busy(summary)
    rates = [f"{count} conn." for count in summary.connections]
    head = (f"{photos} photo, answers/s", *rates, f"spread at {busy}", "p50 ms alone", f"p99 ms at {busy}")
    names = (name for name in summary.contenders if not name.startswith(LOOP))
    return _table(head, [_row(summary, name, photos) for name in names])


def _busy(summary: Summary) -> int:
    return BUSY if BUSY in summary.connections else max(summary.connections, default=BUSY)


def _row(summary: Summary, name: str, photos: str) -> list[str]:
    busy = _busy(summary)
    rates = (format_number(summary.median(name, photos, count), 0) for count in summary.connections)
    repeated = spread(summary.values(name, photos, busy, "requests_per_s"))
    p50, p99 = summary.median(name, photos, ALONE, "p50_ms"), summary.median(name, photos, busy, "p99_ms")
    shown = "–" if isnan(repeated) else f"{repeated:.0%}"
    return [name, *rates, shown, format_number(p50, 2), format_number(p99, 1)]


def _loops(summary: Summary) -> str:
    rows = []
    for precision in (name.removeprefix(LOOP) for name in summary.contenders if name.startswith(LOOP)):
        for photos in summary.photos:
            one, all_ = (summary.loop(precision, photos, alone=alone) for alone in (True, False))
            p50 = summary.loop(precision, photos, "p50_ms", alone=True)
            shown = (format_number(one, 0), format_number(all_, 0), format_number(p50, 2))
            rows.append((f"{precision}, {photos}", *shown))
    return _table(("bare loop, images/s", "one process", "one a CPU", "p50 ms of one process"), rows)


def _open(summary: Summary) -> str:
    head = ("open loop", "offered", "offered/s", "answers/s", "p50 ms", "p95 ms", "p99 ms", "success")
    rows = []
    for name in summary.contenders:
        for photos in summary.photos:
            for part, runs in summary.open(name, photos).items():
                columns = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")
                rate, *times = (median(getattr(run, column) for run in runs) for column in columns)
                success = median(run.success for run in runs)
                offered = median(run.offered_per_s for run in runs)
                shown = (format_number(offered, 0), format_number(rate, 0), *map(format_number, times))
                rows.append((f"{name}, {photos}", f"{part:.0%}", *shown, f"{success:.1%}"))
    return _table(head, rows)


def goal_table(report: Report) -> str:
    """Return a table in Markdown of the goals, with what was measured."""
    rows = []
    for goal in goals(Summary(report.runs)):
        wanted = f"≥ {goal.least:g}" if goal.least is not None else f"≤ {goal.most:g}"
        rows.append((goal.name, format_number(goal.value, 2), wanted, goal.status))
    return _table(("goal", "measured", "wanted", ""), rows)
