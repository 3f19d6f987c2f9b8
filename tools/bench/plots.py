"""The picture of a comparison: answers per second beside the bare loop, and the latency of a request that is alone."""

from math import isnan
from pathlib import Path

import matplotlib.figure
import matplotlib.patches

from tools.bench.goals import LOOP_FLOAT32
from tools.bench.results import EARLIER, LOOP, OTHER_DECODERS, OURS, Report, Rounds, Summary, middle
from tools.bench.tables import LEADING, LEADING_PHOTOS

SERVICE, SAME, OTHER, BARE = "this service", "other server, same decoder", "other server, other decoder", "bare loop"
COLOURS = {SERVICE: "#1b6ca8", SAME: "#7d8590", OTHER: "#c9ccd1", BARE: "#2f2f2f"}
PERCENT = 100


def draw(report: Report, path: Path) -> None:
    """Draw a bar for each contender of the leading table, or for all if it has none; a line at its end spans rounds."""
    summary = Summary(report.runs)
    kinds = [photos for photos in LEADING_PHOTOS if photos in summary.photos] or summary.photos[:2]
    leading = [name for name in LEADING if name in summary.contenders]
    names = (leading or summary.contenders)[::-1]
    figure = matplotlib.figure.Figure(figsize=(max(9, 6 * len(kinds)), 2 + 0.62 * len(names)), layout="constrained")
    axes = figure.subplots(2, len(kinds), squeeze=False, sharey=True)
    for column, photos in enumerate(kinds):
        _rates(axes[0][column], summary, names, photos)
        _latencies(axes[1][column], summary, names, photos)
    patches = [matplotlib.patches.Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8, frameon=False)
    figure.suptitle(f"{report.model}; {report.date}\n{report.machine}", fontsize=9)
    figure.savefig(path, dpi=110)


def _rates(axis: "matplotlib.axes.Axes", summary: Summary, names: list[str], photos: str) -> None:
    bound = middle(list(summary.loop("float32", photos).values()))
    relative = LOOP_FLOAT32 in names and not isnan(bound)
    rates = {name: summary.figures(name, photos)[0] for name in names}
    _bars(axis, rates, PERCENT / bound if relative else 1.0, "{:,.0f}")
    what = "answers/s, % of the bare loop (labels: answers/s)" if relative else "answers/s"
    axis.set(title=f"{photos} photos, {summary.busy} connections", xlabel=what)


def _latencies(axis: "matplotlib.axes.Axes", summary: Summary, names: list[str], photos: str) -> None:
    _bars(axis, {name: summary.figures(name, photos)[1] for name in names}, 1.0, "{:.1f}")
    axis.set(title=f"{photos} photos, 1 connection", xlabel="p50, ms")


def _bars(axis: "matplotlib.axes.Axes", found: dict[str, Rounds], factor: float, form: str) -> None:
    for place, (name, rounds) in enumerate(found.items()):
        if rounds:
            values = list(rounds.values())
            axis.barh(place, middle(values) * factor, color=_colour(name), height=0.7)
            axis.hlines(place, min(values) * factor, max(values) * factor, color="black", linewidth=1)
            axis.annotate(
                form.format(middle(values)),
                (max(values) * factor, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axis.set_yticks(range(len(found)), list(found), fontsize=8)
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    if name.startswith((OURS, EARLIER)):
        return COLOURS[SERVICE]
    if name.startswith(LOOP):
        return COLOURS[BARE]
    return COLOURS[OTHER if name in OTHER_DECODERS else SAME]
