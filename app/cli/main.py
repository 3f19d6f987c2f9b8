"""The command line: `mobilenet serve | classify | info | compile | bench`. Its settings are those of the service."""

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from app import config
from app.config import Settings
from app.errors import BAD_START, StartError
from app.mobilenet.ablations import ABLATIONS
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import Precision, Variant

if TYPE_CHECKING:
    from app.runtime.pipeline import Pipeline

# What a command needs beyond this is imported by that command: `info` is arithmetic and answers at once.

WIDE = 160
DEFAULT_TOP_K = 5

cli = typer.Typer(
    help="MobileNetV1 image classification. Settings are environment variables with the prefix MOBILENET_.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; what is wrong with settings and files is a line each and exit code 2."""
    try:
        cli()
    except StartError as exc:
        print(exc.report, file=sys.stderr)
        sys.exit(BAD_START)


@cli.command()
def serve() -> None:
    """Serve over HTTP until SIGTERM or Ctrl-C; then finish what was accepted."""
    settings = config.load()
    from app.server.serve import bind, serve_many, serve_one

    listener = bind(settings.host, settings.port)
    from app.runtime.pool import start_loading

    ready = start_loading(settings)  # it loads while this process imports what it serves with
    from app.main import create_app

    pipeline = _early(ready)
    host, port = listener.getsockname()[:2]
    print(f"mobilenet: serving on http://{host}:{port}, documentation on /docs", file=sys.stderr, flush=True)
    if settings.http_workers == 1:
        serve_one(create_app(settings, lambda _: pipeline or start_loading(settings)()), settings, listener)
        return
    if pipeline:
        import asyncio

        asyncio.run(pipeline.close())
        del pipeline  # each worker has its own
    serve_many(settings, listener)


def _early(ready: "Callable[[], Pipeline]") -> "Pipeline | None":
    """Wait for the model before anything listens, so that what is wrong is said once; None if its self-test failed."""
    from app.model.selftest import SelfTestFailed

    try:
        return ready()
    except SelfTestFailed:
        return None  # it fails again in the application, for `/readyz` to say why


@cli.command()
def classify(
    photos: Annotated[
        list[str], typer.Argument(help="files, folders, patterns such as '*.jpg'; - reads one from stdin")
    ],
    *,
    url: Annotated[str | None, typer.Option(help="address of a service to ask; default: classify here")] = None,
    api_key: Annotated[str | None, typer.Option(help="of the service; default: first of MOBILENET_API_KEYS")] = None,
    connections: Annotated[
        int | None, typer.Option(min=1, help="to the service; default: as its queue has room")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="classes to print for each; default 5")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON object a line")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print a row for each class")] = False,
) -> None:
    """Print the most probable classes of photos. Where some cannot be classified the exit code is 1."""
    from app.cli import report
    from app.cli.classify import LocalBackend, RemoteBackend, classify_photos
    from app.cli.photos import find

    if as_json and as_csv:
        raise StartError("--json and --csv are two forms of the output; take one")
    settings = config.load()
    found = find(photos)
    key = api_key or next((one.get_secret_value() for one in settings.api_keys), None)
    with closing(RemoteBackend(url, key, connections) if url else LocalBackend(settings)) as backend:
        k = _top_k(top_k, backend.classes)
        form = report.JSON if as_json else report.CSV if as_csv else report.TEXT
        with closing(classify_photos(found, backend, k)) as results:
            failed = report.write(results, form, len(found))
    if failed:
        print(f"mobilenet: {failed:,} of {len(found):,} photos failed", file=sys.stderr)
        raise typer.Exit(1)


def _top_k(wanted: int | None, classes: int) -> int:
    if wanted is not None and not 1 <= wanted <= classes:
        raise StartError(f"--top-k {wanted} is not between 1 and {classes}, the number of classes")
    return wanted or min(DEFAULT_TOP_K, classes)


@cli.command()
def info(
    alpha: Annotated[float | None, typer.Option(help="width multiplier; default MOBILENET_ALPHA")] = None,
    resolution: Annotated[int | None, typer.Option(help="pixels; default MOBILENET_RESOLUTION")] = None,
    classes: Annotated[int, typer.Option(min=1, help="classes of the classifier")] = 1000,
    layers: Annotated[bool, typer.Option("--layers", help="add the tables of layers and of ablations")] = False,
) -> None:
    """Print what a variant costs: MACs, FLOPs, parameters, activations."""
    settings = config.load()
    try:
        variant = Variant(
            settings.alpha if alpha is None else alpha, settings.resolution if resolution is None else resolution
        )
    except ValueError as exc:
        raise StartError(str(exc)) from exc
    total = cost(variant, classes)
    print(f"MobileNetV1 {variant} (ρ {variant.rho:.3g}), {classes} classes")
    print(f"  MACs        {total.macs:>13,}  multiply-accumulates for one image")
    print(f"  FLOPs       {total.flops:>13,}  2 × MACs")
    print(f"  parameters  {total.parameters:>13,}  of which {total.trainable:,} trainable")
    print(f"  activations {total.activation_bytes:>13,}  bytes in float32, all layers")
    if layers:
        _print_layers(total)
        _print_ablations(total, variant, classes)


def _print_layers(total: Cost) -> None:
    table = Table("layer", "type", "stride", box=box.SIMPLE_HEAD)
    for heading in ("input", "output", "MACs", "share", "parameters", "activations", "as standard", "ratio"):
        table.add_column(heading, justify="right")
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
    _print_table(table)
    print(
        "activations: bytes of the output in float32; as standard: MACs of the standard convolution in its place, which"
    )
    print("a depthwise and its pointwise layer replace together; ratio: MACs over those")


def _print_ablations(total: Cost, variant: Variant, classes: int) -> None:
    table = Table("compared with", box=box.SIMPLE_HEAD)
    for heading in ("MACs", "ratio", "parameters", "activations"):
        table.add_column(heading, justify="right")
    networks = [("this network", total)]
    networks += [(item.name, Cost.of(item.layers(variant.alpha, variant.resolution, classes))) for item in ABLATIONS]
    for name, other in networks:
        ratio = f"{other.macs / total.macs:.3f}"
        table.add_row(name, f"{other.macs:,}", ratio, f"{other.parameters:,}", f"{other.activation_bytes:,}")
    _print_table(table)


def _print_table(table: Table) -> None:
    console = Console()
    # A file or a pipe has no width of its own, and nothing may be cut off there.
    console.print(table) if console.is_terminal else Console(width=WIDE).print(table)


@cli.command("compile")
def compile_(
    every: Annotated[bool, typer.Option("--all", help="every variant of the weights, not the configured ones")] = False,
    precision: Annotated[Precision | None, typer.Option(help="default MOBILENET_PRECISION")] = None,
    calibrate: Annotated[Path | None, typer.Option(help="folder of photos; int8 needs it", exists=True)] = None,
) -> None:
    """Compile weights into the cache, so that serving them needs no TensorFlow; print how well that went."""
    from app.engines.weights import variants

    settings = config.load()
    precision = precision or settings.precision
    failed = False
    print(f"{'variant':14}{'precision':11}{'size':>10}{'time':>9}{'same top-1 as Keras':>21}{'largest difference':>20}")
    for variant in variants(settings) if every else settings.lineup:
        chosen = settings.serving(variant)
        try:
            print(_compile_one(chosen, precision, calibrate), flush=True)
        except StartError as exc:
            failed = True
            print(exc.report, file=sys.stderr)
    raise typer.Exit(BAD_START if failed else 0)


def _compile_one(settings: Settings, precision: Precision, folder: Path | None) -> str:
    """Compile one variant; return its line of the table."""
    from app.engines.compile import compiled
    from app.engines.weights import locate
    from app.model import calibration

    weights = locate(settings)
    photos = None
    if precision == "int8" and folder is not None:
        photos = calibration.load(folder, settings.resolution, settings.max_pixels)
    path, report = compiled(weights, settings.variant, settings.cache, precision, photos)
    start = f"{settings.variant!s:14}{precision:11}{path.stat().st_size / 1e6:>7.2f} MB"
    if report is None:
        return f"{start}   there already: {path}"
    agreement = f"{report.same_top1} of {report.images}"
    return f"{start}{report.seconds:>7.1f} s{agreement:>21}{report.largest_difference:>20.2g}"


@cli.command()
def bench(
    seconds: Annotated[float, typer.Option(min=0, max=60, help="to run each variant for")] = 1.0,
) -> None:
    """Measure how long one image takes in every variant of the weights on this machine; `/variants` shows it."""
    from app.engines.weights import variants
    from app.model import latency

    settings = config.load()
    print(f"{latency.machine()}; {settings.engine}, {settings.precision}, {settings.model_threads} threads")
    print(f"{'variant':14}{'MACs':>13}{'median':>11}{'95 %':>11}")
    failed = False
    for variant in variants(settings):
        chosen = settings.serving(variant)
        try:
            print(_bench_one(chosen, seconds), flush=True)
        except StartError as exc:
            failed = True
            print(exc.report, file=sys.stderr)
    raise typer.Exit(BAD_START if failed else 0)


def _bench_one(settings: Settings, seconds: float) -> str:
    """Measure one variant and keep that in the cache; return its line of the table."""
    from app.model import latency
    from app.model import model as models

    model = models.load(settings)
    found = latency.measure(model.engine, settings.variant, settings.model_threads, seconds)
    latency.save(settings.cache, [found])
    return f"{settings.variant!s:14}{model.cost.macs:>13,}{found.median_ms:>8.2f} ms{found.p95_ms:>8.2f} ms"
