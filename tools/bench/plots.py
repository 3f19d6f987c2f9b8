"""Pictures of a comparison: throughput by the number of connections, and latency by throughput."""

from pathlib import Path
from statistics import median

import matplotlib.figure

from tools.bench.results import LOOP, Report, Summary


def draw(report: Report, path: Path) -> None:
    """Draw answers per second by connections (a vertical tick spans the runs), and p99 by answers per second."""
    summary = Summary(report.runs)
    opened = len({run.offered for run in report.runs} - {None}) > 1  # of a single rate there is no curve
    rows, columns = 1 + opened, len(summary.photos)
    figure = matplotlib.figure.Figure(figsize=(6 * columns, 4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, photos in zip(axes[0], summary.photos, strict=True):
        _throughput(axis, summary, photos)
    for axis, photos in zip(axes[1] if opened else (), summary.photos, strict=False):
        _latency(axis, summary, photos)
    figure.suptitle(f"{report.model}; {report.machine}; {report.date}", fontsize=9)
    figure.savefig(path, dpi=110)


def _throughput(axis: "matplotlib.axes.Axes", summary: Summary, photos: str) -> None:
    for name in summary.contenders:
        if name.startswith(LOOP):
            rate = summary.loop(name.removeprefix(LOOP), photos)
            axis.axhline(rate, linestyle=":" if "int8" in name else "--", color="grey", label=name)
            continue
        rates = [summary.median(name, photos, count) for count in summary.connections]
        (line,) = axis.plot(summary.connections, rates, marker="o", label=name)
        for count in summary.connections:
            found = summary.values(name, photos, count, "requests_per_s")
            axis.vlines(count, min(found, default=0), max(found, default=0), color=line.get_color(), alpha=0.5)
    axis.set(xscale="log", xlabel="connections", ylabel="answers per second", title=f"{photos} photo, closed loop")
    axis.set_xticks(summary.connections, map(str, summary.connections))
    axis.set_xticks([], minor=True)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)


def _latency(axis: "matplotlib.axes.Axes", summary: Summary, photos: str) -> None:
    for name in summary.contenders:
        steps = summary.open(name, photos)
        if steps:
            rates = [median(run.requests_per_s for run in runs) for runs in steps.values()]
            axis.plot(rates, [median(run.p99_ms for run in runs) for runs in steps.values()], marker="o", label=name)
    axis.set(yscale="log", xlabel="answers per second", ylabel="p99, ms", title=f"{photos} photo, open loop")
    if axis.lines:
        axis.legend(fontsize=7)
    else:
        axis.set_axis_off()
