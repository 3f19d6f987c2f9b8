"""The axis of MACs in the pictures that show accuracy against cost."""

from typing import Any

from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter


def macs_axis(axes: Any, name: str) -> None:
    """Make the horizontal axis a logarithmic one of MACs, with this name."""
    axes.set(xscale="log", xlabel=name)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
