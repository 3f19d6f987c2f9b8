"""`mobilenet train`: from a folder of photos to a folder of weights, with progress on standard error."""

import logging
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.chatter import silenced
from app.cli.photos import find
from app.config import Settings
from app.engines.bundle import BUNDLED
from app.engines.tflite.converter import QUIET
from app.engines.weights import PUBLISHED
from app.errors import StartError, first_line
from app.training import output
from app.training.recipe import Recipe
from app.training.state import Row, State
from app.training.survey import SPLITS, Look, Photo, checked, hold_out, measured_on, readable, survey
from app.training.task import Photos, Task
from app.training.views import Views

SHARE = 0.15
"""The share of the photos that is held out where no folder to validate with is given; with one it is a little less."""
SHARE_BESIDE_VALIDATION = 0.1
MAX_PIXELS: int = Settings.model_fields["max_pixels"].default
"""The largest photo, as the service has it by default."""
RESERVED = (BUNDLED.name, PUBLISHED)
"""Names that a setting has for other weights."""
INTERRUPTED = 128 + signal.SIGINT


class Bar:
    """A progress bar with the time left, if standard error is a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self.progress.add_task("", total=None)

    def begin(self, title: str, total: int) -> None:
        """Begin with a part of the work, which has so many photos to go through."""
        self.progress.reset(self._task, total=total, description=title)

    def advance(self, count: int) -> None:
        """Hear that so many more photos are done."""
        self.progress.advance(self._task, count)

    def looks(self, looks: Iterable[Look], total: int) -> Iterator[Look]:
        """Pass on what is found of each photo."""
        self.begin("looking at the photos", total)
        for look in looks:
            yield look
            self.advance(1)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(f"mobilenet: {text}", markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for."""

    photos: Path
    output: Path | None
    recipe: Recipe
    unfamiliar: Path | None
    resume: bool
    verbose: bool = False

    @property
    def target(self) -> Path:
        """The folder to write: the one asked for, or one in this folder that is named after the photos."""
        return (self.output or Path(f"{_name(self.photos)}-weights")).expanduser()

    @property
    def name(self) -> str:
        """The name of the weights, with which the names of their files begin: that of the folder, in plain letters."""
        folder = self.target.resolve().name.removesuffix("-weights")
        name = "".join(sign if sign.isalnum() else "-" for sign in folder).strip("-") or "own"
        return f"own-{name}" if name in RESERVED else name


def train(order: Order) -> int:
    """Train as it is asked for, and write the folder. Return the exit code: 130 if it was interrupted, else 0.

    Raises `StartError` for what is wrong with the photos, the weights to begin with or the folder to write, and if the
    training cannot go on, for example because the disk is full.
    """
    began = time.monotonic()
    with nullcontext() if order.verbose else silenced():
        bar = Bar()
        with bar.progress:
            return _train(order, bar, began)


def _train(order: Order, bar: Bar, began: float) -> int:
    output.check(order.target, order.photos.expanduser())
    task, photos = _looked_at(order, bar)
    os.environ |= QUIET  # before TensorFlow is imported
    try:
        from app.training import network, result
    except ImportError as exc:
        raise StartError(f"training needs the extra 'tensorflow': {exc}") from exc
    target = order.target.resolve()
    state = State(target.with_name(f"{target.name}.training"))
    resumed = state.begin(order.recipe, sha256(b"".join(photos.found.digests)).hexdigest(), order.resume)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    network.prepare(order.recipe.seed)
    try:
        rows, interrupted = _fitted(task, state, resumed, bar)
        card = result.write(result.Training(task, photos, rows, began), state, order.name, bar)
    except OSError as exc:  # a full disk, or a photo that is gone
        why = first_line(exc)
        raise StartError(
            f"the training was stopped: {why}; mend that, and the same command goes on with --resume"
        ) from exc
    output.publish(state, target, order.photos.expanduser())
    best = card.scores[0]
    bar.say(f"{best.top1:.1%} of {best.images:,} photos that it had not learnt are right; {card.seconds:.0f} s")
    bar.say(f"serve it with: mobilenet serve --weights {order.target}")
    if interrupted:
        bar.say("interrupted: the best so far is written, and the same command with --resume goes on")
        return INTERRUPTED
    state.remove()
    return 0


def _looked_at(order: Order, bar: Bar) -> tuple[Task, Photos]:
    """Look at all photos, say what is wrong with them, and hold some out."""
    recipe = order.recipe
    found = survey(order.photos.expanduser(), MAX_PIXELS, bar.looks)
    folder, share = _validation(recipe.validation)
    validation = measured_on(folder, survey(folder, MAX_PIXELS, bar.looks, found.classes)) if folder else None
    found = checked(order.photos, found.without(validation) if validation else found)
    for remark in (*found.remarks, *(validation.remarks if validation else ())):
        bar.say(remark)
    learnt, held_out = hold_out(found.labels, share, recipe.seed)
    bar.say(f"{len(found.classes)} classes, {len(learnt):,} photos to learn from and {len(held_out):,} held out")
    views = Views(found.photos, recipe.seed, recipe.mirror, MAX_PIXELS)
    others = Views(_others(order.unfamiliar, bar), 0, False, MAX_PIXELS) if order.unfamiliar else None
    photos = Photos(str(order.photos), found, validation, others, str(order.unfamiliar) if order.unfamiliar else None)
    return Task(recipe, len(found.classes), views, learnt, held_out), photos


def _fitted(task: Task, state: State, resumed: bool, bar: Bar) -> tuple[list[Row], bool]:
    """Train; return the table of epochs, and whether Ctrl-C ended it before its time."""
    from app.training import fit

    if task.recipe.head_only:
        return fit.fit_head_only(task, state, bar), False
    begun = None if resumed else fit.begin(task, bar)
    try:
        return fit.fit(task, state, begun, bar, bar.say), False
    except KeyboardInterrupt:
        rows = state.rows()
        if not rows:
            raise
        return rows, True


def _validation(wanted: str) -> tuple[Path | None, float]:
    """Return the folder to validate with, if one is given, and the share of the other photos that is held out."""
    if not wanted:
        return None, SHARE
    try:
        share = float(wanted)
    except ValueError:
        return Path(wanted).expanduser(), SHARE_BESIDE_VALIDATION
    if not 0 < share < 1:
        raise StartError(f"--validation {wanted}: a share is between 0 and 1, such as 0.2; otherwise give a folder")
    return None, share


def _others(folder: Path, bar: Bar) -> list[Photo]:
    return readable([Path(file.name) for file in find([str(folder)])], MAX_PIXELS, bar.looks)


def _name(photos: Path) -> str:
    resolved = photos.resolve()
    return resolved.parent.name if resolved.name.casefold() in SPLITS else resolved.name
