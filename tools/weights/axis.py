"""The axis of what a photo costs, in the pictures of accuracy against MACs."""

from typing import Any

from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter


def price(axes: Any, name: str) -> None:
    """Let the horizontal axis count MACs, on a logarithmic scale."""
    axes.set(xscale="log", xlabel=name)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
