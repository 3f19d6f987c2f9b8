"""The tables that the commands print: costs, layers, ablations, and the rows of `compile` and `bench`."""

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.streams import printable
from app.config import PREFIX, SECRETS, Settings
from app.environment import source
from app.errors import without_password
from app.mobilenet.ablations import ABLATIONS
from app.mobilenet.cost import Cost
from app.mobilenet.variants import Precision, Variant

if TYPE_CHECKING:
    from app.engines.tflite.compile import Compiled
    from app.model.recommendation import Measured


def show(table: Table) -> None:
    """Print a table on standard output. On a terminal it is fitted to the width, unless no column may be broken.

    Nothing is cut off: the terminal breaks lines that are too long for it, and a file or a pipe has no width.
    """
    console = Console()
    if not sys.stdout.isatty() or all(column.no_wrap for column in table.columns):
        console.width = console.measure(table, options=console.options.update_width(sys.maxsize)).maximum
    console.print(table, crop=False)


def settings(found: Settings) -> Table:
    """Return the effective settings, and where each comes from; of keys only how many there are."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("setting", "value", "from"):
        table.add_column(title, overflow="fold")
    for name in Settings.model_fields:
        value = getattr(found, name)
        shown = _counted(len(value)) if name in SECRETS else without_password(_shown(value))
        table.add_row(f"{PREFIX}{name.upper()}", escape(printable(shown)), source(found, name))
    return table


def _counted(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys} keys"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(one.name if isinstance(one, Variant) else str(one) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def costs(total: Cost, variant: Variant, classes: int) -> str:
    """Return what a variant costs, one figure on each line."""
    return "\n".join(
        [
            f"MobileNetV1 {variant} (ρ {variant.rho:.3g}), {classes} classes",
            f"  MACs        {total.macs:>13,}  multiply-accumulates for one image",
            f"  FLOPs       {total.flops:>13,}  2 × MACs",
            f"  parameters  {total.parameters:>13,}  of which {total.trainable:,} are trainable",
            f"  activations {total.activation_bytes:>13,}  bytes of the outputs of all layers in float32",
        ]
    )


LAYERS_LEGEND = """\
activations: bytes of the layer's output in float32; as standard: MACs of the standard convolution in its place, which
a depthwise layer and the pointwise layer after it replace together; ratio: the layer's MACs divided by these"""


def layers(total: Cost) -> Table:
    """Return a table with a row for each layer."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("layer", "type", "stride"):
        table.add_column(heading, no_wrap=True)
    for heading in ("input", "output", "MACs", "share", "parameters", "activations", "as standard", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in total.layers:
        layer = item.layer
        table.add_row(
            layer.name,
            layer.kind,
            str(layer.stride),
            f"{layer.in_size}² × {layer.in_channels}",
            f"{layer.out_size}² × {layer.out_channels}",
            f"{item.macs:,}",
            f"{item.macs / total.macs:.1%}",
            f"{item.parameters:,}",
            f"{item.activation_bytes:,}",
            f"{item.standard_macs:,}",
            f"{item.ratio:.4f}",
        )
    return table


def ablations(total: Cost, variant: Variant, classes: int) -> Table:
    """Return a table of the networks to compare a variant with. The ratio is of their MACs to those of the variant."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("compared with", no_wrap=True)
    for heading in ("MACs", "ratio", "parameters", "activations"):
        table.add_column(heading, justify="right", no_wrap=True)
    networks = [("this network", total)]
    networks += [(item.name, Cost.of(item.layers(variant.alpha, variant.resolution, classes))) for item in ABLATIONS]
    for name, other in networks:
        ratio = f"{other.macs / total.macs:.3f}"
        table.add_row(name, f"{other.macs:,}", ratio, f"{other.parameters:,}", f"{other.activation_bytes:,}")
    return table


# The rows of the following two tables appear one by one as soon as they are known, so they are plain text.

COMPILE_HEADER = (
    f"{'variant':14}{'precision':11}{'size':>10}{'time':>9}{'same top-1 as Keras':>21}{'largest difference':>20}"
)


def compile_row(variant: Variant, precision: Precision, model: "Compiled") -> str:
    """Return the row of a compiled variant."""
    start = f"{variant!s:14}{precision:11}{model.path.stat().st_size / 1e6:>7.2f} MB"
    report = model.report
    if report is None:
        return f"{start}   there already: {model.path}"
    agreement = f"{report.same_top1} of {report.images}"
    return f"{start}{report.seconds:>7.1f} s{agreement:>21}{report.largest_difference:>20.2g}"


BENCH_HEADER = (
    f"{'variant':14}{'engine':12}{'precision':10}{'top-1':>8}{'median':>12}{'95 %':>12}{'medians of turns':>22}"
)


def bench_row(measured: "Measured") -> str:
    """Return the row of a variant in one engine and precision."""
    latency = measured.latency
    top1 = "" if measured.top1 is None else f"{measured.top1:.4f}"
    spread = f"{min(latency.turns_ms):.2f} to {max(latency.turns_ms):.2f} ms"
    return (
        f"{measured.variant!s:14}{latency.engine:12}{latency.precision:10}{top1:>8}"
        f"{latency.median_ms:>9.2f} ms{latency.p95_ms:>9.2f} ms{spread:>22}"
    )
