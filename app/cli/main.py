"""The commands of `mobilenet`, which use the settings of the service."""

import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app import control, environment
from app.cli import batch, embedding, streams
from app.cli.bench import bench
from app.cli.classify import classify
from app.cli.flags import with_settings
from app.cli.signals import end_in_order
from app.cli.usage import Commands
from app.config import Settings
from app.errors import BAD_START, StartError
from app.mobilenet.variants import Precision, Variant
from app.version import __version__

if TYPE_CHECKING:
    from app.engines.tflite.converter import Converter

# Whatever only one command needs is imported in that command, tables included: `serve` is ready sooner without them.

cli = typer.Typer(
    cls=Commands,
    help="MobileNetV1 image classification. Settings are environment variables with the prefix MOBILENET_, lines of "
    "the file .env, and flags of `serve`; `settings` prints the effective values.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mobilenet {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. Wrong settings and files are reported on a line each, and the exit code is 2."""
    streams.open_all()
    end_in_order(signal.SIGTERM, 128 + signal.SIGTERM)  # as shells say it; Ctrl-C is 130 already
    with streams.written():
        try:
            cli()
        except StartError as exc:
            streams.tell(exc)
            sys.exit(BAD_START)


@cli.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


@cli.command()
@with_settings
def serve() -> None:
    """Serve over HTTP until SIGTERM or Ctrl-C, then finish the requests that were accepted.

    Every setting but MOBILENET_API_KEYS is a flag. Flags override the environment, which overrides the file .env.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        end_in_order(number, 0)  # until it serves; there are no requests to finish yet
    control.remember_hangup()
    settings = environment.load()
    from app.cli import serving
    from app.server.connections import most_connections
    from app.server.garbage import collect_none
    from app.server.grpc_port import kept
    from app.server.listener import listener

    collect_none()
    most_connections(settings)  # refused here, if the limit of open files allows too few, and raised for all processes
    with listener(settings.host, settings.port) as found, kept(settings, found):
        if settings.http_workers == 1:
            serving.alone(settings, found)
        else:
            sys.exit(serving.in_several(settings, found))


@cli.command("settings")
@with_settings
def settings_() -> None:
    """Print the effective settings, and where each comes from. Keys are counted and not shown."""
    from app.cli import tables

    tables.show(tables.settings(environment.load()))


@cli.command()
def reload(
    pid: Annotated[
        int | None, typer.Argument(help="Process of the service, if several of this user run.", show_default=False)
    ] = None,
) -> None:
    """Have the running service load its weights, labels and keys again, and swap them in without a pause.

    If they are damaged or fail the self-test, the old ones keep serving, and the exit code is 1.
    """
    outcome = control.ask(pid)
    if not outcome.swapped:
        streams.say(f"mobilenet: not reloaded: {outcome.said}", sys.stderr)
        raise typer.Exit(1)
    streams.say(f"reloaded: {outcome.said}")


for command in (classify, embedding.embed, embedding.similar, embedding.duplicates, batch.batch):
    cli.command()(command)


@cli.command()
def info(
    alpha: Annotated[float | None, typer.Option(help="Width multiplier. Default: MOBILENET_ALPHA.")] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Side of the input in pixels. Default: MOBILENET_RESOLUTION.")
    ] = None,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 1000,
    layers: Annotated[bool, typer.Option("--layers", help="Add tables of the layers and of similar networks.")] = False,
) -> None:
    """Print what a variant costs: MACs, FLOPs, parameters and activations. No model is loaded."""
    from app.cli import tables
    from app.mobilenet.cost import cost

    settings = environment.load()
    try:
        variant = Variant(
            settings.alpha if alpha is None else alpha, settings.resolution if resolution is None else resolution
        )
    except ValueError as exc:
        raise StartError(str(exc)) from exc
    total = cost(variant, classes)
    print(tables.costs(total, variant, classes))
    if layers:
        tables.show(tables.layers(total))
        print(tables.LAYERS_LEGEND)
        tables.show(tables.ablations(total, variant, classes))


@cli.command("compile")
def compile_(
    every: Annotated[
        bool, typer.Option("--all", help="Every variant of the weights, not only the served ones.")
    ] = False,
    precision: Annotated[Precision | None, typer.Option(help="Default: MOBILENET_PRECISION.")] = None,
    calibrate: Annotated[Path | None, typer.Option(help="Folder of photos, which int8 needs.", exists=True)] = None,
) -> None:
    """Compile weights into the cache, so that serving them needs no TensorFlow, and compare the result with Keras."""
    from app.cli import tables
    from app.engines.tflite.converter import Converter
    from app.engines.weights import variants

    settings = environment.load()
    precision = precision or settings.precision
    if calibrate is not None and precision != "int8":
        raise StartError(f"--calibrate is for int8, and {precision} needs no photos; add --precision int8")
    print(tables.COMPILE_HEADER)
    chosen = variants(settings) if every else settings.lineup
    with Converter() as converter:
        row = partial(_compile, precision=precision, folder=calibrate, converter=converter)
        raise typer.Exit(_print_rows(settings, chosen, row))


def _compile(settings: Settings, precision: Precision, folder: Path | None, converter: "Converter") -> str:
    from app.cli import tables
    from app.engines.tflite.compile import compiled
    from app.engines.weights import locate
    from app.model import calibration

    weights = locate(settings)
    photos = None
    if precision == "int8" and folder is not None:
        photos = calibration.load(folder, settings.resolution, settings.max_pixels)
    model = compiled(weights, settings.variant, settings.cache, precision, photos, converter=converter)
    return tables.compile_row(settings.variant, precision, model)


cli.command()(bench)


@cli.command()
def train(
    photos: Annotated[Path, typer.Argument(help="Folder of photos, with a folder for each class.")],
    *,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write, for MOBILENET_WEIGHTS. Default: NAME-weights.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Width multiplier: 1, 0.75, 0.5 or 0.25.")] = 0.5,
    resolution: Annotated[int, typer.Option(help="Side of the input in pixels; the others are served, too.")] = 160,
    start: Annotated[
        str,
        typer.Option(
            "--from", help="What to begin with: imagenette, imagenet, random, a weight file, or a folder of train's."
        ),
    ] = "imagenette",
    epochs: Annotated[int, typer.Option(min=1, help="How often each photo is learnt from, at most.")] = 12,
    validation: Annotated[
        str, typer.Option(help="Folder of photos that are only measured on, or the share to hold out. Default: 0.15.")
    ] = "",
    head_only: Annotated[
        bool, typer.Option("--head-only", help="Fit the classifier alone: a minute, and less accurate.")
    ] = False,
    mirror: Annotated[
        bool, typer.Option(help="Whether mirrored photos are learnt from too. Not for signs and letters.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
    unfamiliar: Annotated[
        Path | None, typer.Option(help="Folder of photos of other things, to measure how well they are told apart.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what TensorFlow and LiteRT say, too.")] = False,
) -> None:
    """Train on your own photos, and write a folder that the service serves, with a card that says how good it is."""
    from app.cli import train as training
    from app.training.recipe import Recipe

    try:
        variant = Variant(alpha, resolution)
    except ValueError as exc:
        raise StartError(str(exc)) from exc
    recipe = Recipe(
        alpha=variant.alpha,
        resolution=variant.resolution,
        start=start,
        epochs=epochs,
        head_only=head_only,
        mirror=mirror,
        validation=validation,
        seed=seed,
    )
    raise typer.Exit(training.train(training.Order(photos, output, recipe, unfamiliar, resume, verbose)))


def _print_rows(settings: Settings, variants: Sequence[Variant], row: Callable[[Settings], str]) -> int:
    """Print the row of each variant; one that fails does not keep the others from theirs. Return the exit code."""
    failed = False
    for variant in variants:
        try:
            print(streams.printable(row(settings.serving(variant))), flush=True)
        except StartError as exc:
            failed = True
            streams.tell(exc)
    return BAD_START if failed else 0
