"""The tables of a comparison, in Markdown."""

from collections.abc import Sequence
from math import isnan
from statistics import median

from tools.bench.goals import LOOP_FLOAT32, goals
from tools.bench.results import ALONE, DEFAULT, FASTIFY, INLINE, LOOP, PILLOW, Report, Summary, middle, spread
from tools.load.report import format_number

ABOUT = (
    "This report has every figure of one comparison of this service with other servers. "
    "`docs/performance.md` says what the figures mean and how they are measured."
)
GOALS = (
    "Each ratio is the median of the ratios in the single rounds, whose range is beside it. The last column is the "
    "same ratio of the bare loop, which decodes and classifies without HTTP."
)
LEADING = (DEFAULT, INLINE, "mosec", PILLOW, FASTIFY, LOOP_FLOAT32)
"""The contenders of the table that the documents begin with, and its kinds of photos."""
LEADING_PHOTOS = ("mix", "small")


def overview(report: Report) -> str:
    """Return the most important figures as a table, and a sentence that says when and where they were measured."""
    summary = Summary(report.runs)
    kinds = [photos for photos in LEADING_PHOTOS if photos in summary.photos]
    head = ("", *(f"{photos} photos: {what}" for photos in kinds for what in ("answers/s", "p50 alone, ms")))
    rows = []
    for name in LEADING:
        if name in summary.contenders:
            figures = [middle(list(one.values())) for photos in kinds for one in summary.figures(name, photos)]
            rows.append([name, *(format_number(one, 2 if at % 2 else 0) for at, one in enumerate(figures))])
    return f"{_table(head, rows)}\n\n{_measured(report)}"


def _measured(report: Report) -> str:
    rounds = len({run.round for run in report.runs})
    return f"Medians of {rounds} round{'s' * (rounds > 1)}, {report.date}, {report.model}, {report.machine}."


def markdown(report: Report) -> str:
    """Return the whole report in Markdown."""
    summary = Summary(report.runs)
    parts = [*(_closed(summary, photos) for photos in summary.photos), _loops(summary)]
    if any(run.offered is not None for run in report.runs):
        parts.append(_open(summary))
    goal_part = ["## Goals", GOALS, goal_table(report)]
    return "\n\n".join([_head(report), overview(report), *goal_part, "## All figures", *parts]) + "\n"


def goal_table(report: Report) -> str:
    """Return a table of the goals, with what was measured."""
    rows = []
    for goal in goals(Summary(report.runs)):
        wanted = f"≥ {goal.least:g}" if goal.least is not None else f"≤ {goal.most:g}"
        range_ = f"{min(goal.values):.2f} to {max(goal.values):.2f}" if goal.values else "–"
        rows.append(
            (goal.name, format_number(goal.value, 2), range_, wanted, goal.status, format_number(middle(goal.bound), 2))
        )
    return _table(("goal", "measured", "single rounds", "wanted", "", "bare loop"), rows)


def _head(report: Report) -> str:
    photos = ", ".join(f"{name} {size / 1000:.0f} KB" for name, size in report.photo_bytes.items())
    versions = "; ".join(f"{name}: {', '.join(each)}" for name, each in report.versions.items())
    commands = report.command.splitlines()
    facts = (
        f"Measured on {report.date}. Machine: {report.machine}. Model: {report.model}. Photos: {photos}. "
        f"Versions: {versions}. {'The commands were' if len(commands) > 1 else 'The command was'}:"
    )
    return "\n    ".join([f"# Report of a comparison\n\n{ABOUT}\n\n{facts}\n", *commands])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _closed(summary: Summary, photos: str) -> str:
    rates = [f"{count} conn." for count in summary.connections]
    head = (
        f"{photos} photo, answers/s",
        *rates,
        f"spread at {summary.busy}",
        "p50 ms alone",
        f"p99 ms at {summary.busy}",
    )
    names = (name for name in summary.contenders if not name.startswith(LOOP))
    return _table(head, [_row(summary, name, photos) for name in names])


def _row(summary: Summary, name: str, photos: str) -> list[str]:
    rates = (format_number(summary.median(name, photos, count), 0) for count in summary.connections)
    repeated = spread(list(summary.rounds(name, photos, summary.busy).values()))
    p50, p99 = summary.median(name, photos, ALONE, "p50_ms"), summary.median(name, photos, summary.busy, "p99_ms")
    shown = "–" if isnan(repeated) else f"{repeated:.0%}"
    return [name, *rates, shown, format_number(p50, 2), format_number(p99, 1)]


def _loops(summary: Summary) -> str:
    rows = []
    for precision in (name.removeprefix(LOOP) for name in summary.contenders if name.startswith(LOOP)):
        for photos in summary.photos:
            rate, p50 = summary.figures(f"{LOOP}{precision}", photos)
            one = summary.loop(precision, photos, alone=True)
            figures = [middle(list(rounds.values())) for rounds in (one, rate, p50)]
            shown = (format_number(figure, digits) for figure, digits in zip(figures, (0, 0, 2), strict=True))
            rows.append((f"{precision}, {photos}", *shown))
    return _table(("bare loop, images/s", "one process", "one a CPU", "p50 ms of one process"), rows)


def _open(summary: Summary) -> str:
    head = ("open loop", "offered", "offered/s", "answers/s", "p50 ms", "p95 ms", "p99 ms", "success")
    rows = []
    for name in summary.contenders:
        for photos in summary.photos:
            for part, runs in summary.open(name, photos).items():
                columns = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")
                measured = ([getattr(run, column) for run in runs] for column in columns)
                rate, *times = (middle([one for one in values if not isnan(one)]) for values in measured)
                success = median(run.success for run in runs)
                offered = median(run.offered_per_s for run in runs)
                shown = (format_number(offered, 0), format_number(rate, 0), *map(format_number, times))
                rows.append((f"{name}, {photos}", f"{part:.0%}", *shown, f"{success:.1%}"))
    return _table(head, rows)
