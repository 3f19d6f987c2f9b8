"""`mobilenet train`: from a folder of photos to a folder of weights, with progress on standard error."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.chatter import silenced
from app.cli.photos import find
from app.cli.streams import printable
from app.config import Settings, expanded
from app.engines.bundle import BUNDLED
from app.engines.tflite.converter import QUIET
from app.engines.weights import PUBLISHED
from app.errors import CannotWrite, StartError, Unreadable, first_line, install
from app.training import output, start
from app.training.holdout import hold_out
from app.training.names import part, shown
from app.training.recipe import Recipe
from app.training.state import Row, State
from app.training.survey import Look, Survey, checked, measured_on, readable, survey
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
        """Begin a part of the work, which goes through `total` photos."""
        self.progress.reset(self._task, total=total, description=title)

    def advance(self, count: int) -> None:
        """Count so many more photos as done."""
        self.progress.advance(self._task, count)

    def looks(self, looks: Iterable[Look], total: int) -> Iterator[Look]:
        """Yield what is found of each photo, and show how far it is."""
        self.begin("looking at the photos", total)
        for look in looks:
            yield look
            self.advance(1)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(printable(f"mobilenet: {text}"), markup=False, highlight=False, soft_wrap=True)


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
        return expanded(self.output or Path(f"{_name(self.photos)}-weights"))

    @property
    def state(self) -> State:
        """The folder beside it in which the training keeps its state."""
        target = self.target.resolve()
        return State(target.with_name(f"{target.name}.training"))

    @property
    def name(self) -> str:
        """The name of the weights, with which the names of their files begin: that of the folder, in plain letters."""
        folder = self.target.resolve().name.removesuffix("-weights")
        name = "".join(sign if sign.isalnum() else "-" for sign in folder).strip("-") or "own"
        return f"own-{name}" if name in RESERVED else name


def train(order: Order) -> int:
    """Train as it is asked for, and write the folder. Return the exit code: 130 if it was interrupted, else 0.

    Raises `StartError` for what is wrong with the photos, the weights to begin with or the folder to write, if another
    training with this folder is running, and if the training cannot go on, for example because the disk is full.
    """
    began = time.monotonic()
    output.check(order.target, expanded(order.photos))
    with order.state.alone(), nullcontext() if order.verbose else silenced():
        bar = Bar()
        with bar.progress:
            return _train(order, bar, began)


def _train(order: Order, bar: Bar, began: float) -> int:
    with _extra():
        started_from = start.checked(order.recipe)
    task, photos = _looked_at(order, bar)
    bar.begin("loading TensorFlow", 1)
    os.environ |= QUIET  # before TensorFlow is imported
    with _extra():
        from app.training import network, result
    state, resumed = _begun(order, photos.found, started_from, bar)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    network.prepare(order.recipe.seed)
    if resumed:
        began -= state.spent_s
    with _stopping():
        rows, interrupted = _fitted(task, state, resumed, began, bar)
        card = result.write(result.Training(task, photos, rows, began), state, order.name, bar, bar.say)
    bar.say(f"right on {card.right}; {card.seconds:.0f} s")
    return _ended(order, state, interrupted, bar.say)


@contextmanager
def _stopping() -> Iterator[None]:
    """Say how a training goes on that cannot: the disk is full, or a photo is gone or cannot be decoded any more."""
    try:
        yield
    except (OSError, CannotWrite, Unreadable) as exc:
        why = first_line(exc)
        raise StartError(
            f"the training was stopped: {why}; mend that, and the same command goes on with --resume"
        ) from exc


def _begun(order: Order, found: Survey, started_from: str, bar: Bar) -> tuple[State, bool]:
    """Return the folder in which the training keeps its state, and whether it goes on from there."""
    state = order.state
    digests = {"photos or classes": found.digest, "weights to start from": started_from}
    resumed = state.begin(order.recipe, digests, order.resume)
    if order.resume and not resumed:
        bar.say(f"--resume: there is nothing in {state.folder} to go on with, so a new training begins")
    return state, resumed


def _ended(order: Order, state: State, interrupted: bool, say: Callable[[str], None]) -> int:
    """Put the folder where it shall be, and say where it is. Return the exit code."""
    target = order.target.resolve()
    place = output.publish(state, target, expanded(order.photos), finished=not interrupted)
    shown_place, older = (order.target, "") if place == target else (place, f", and {order.target} is as it was")
    say(f"serve it with: mobilenet serve --weights {shown_place}")
    if interrupted:
        say(f"interrupted: the best so far is in {shown_place}{older}; the same command with --resume goes on")
        return INTERRUPTED
    state.remove()
    return 0


@contextmanager
def _extra() -> Iterator[None]:
    """Say what to install if an import fails."""
    try:
        yield
    except ImportError as exc:
        raise StartError(f"training needs TensorFlow ({exc}); {install('tensorflow')}") from exc


def _looked_at(order: Order, bar: Bar) -> tuple[Task, Photos]:
    """Look at all photos, say what is wrong with them, and hold some out."""
    recipe = order.recipe
    folder, share = _validation(recipe.validation)
    strangers = _strangers(order.unfamiliar) if order.unfamiliar else []
    found = survey(expanded(order.photos), MAX_PIXELS, bar.looks)
    validation = measured_on(folder, survey(folder, MAX_PIXELS, bar.looks, found.classes)) if folder else None
    found = checked(order.photos, found.without(validation) if validation else found)
    for remark in (*found.remarks, *(validation.remarks if validation else ())):
        bar.say(remark)
    learnt, held_out = hold_out(found.labels, share, recipe.seed)
    bar.say(f"{len(found.classes)} classes, {len(learnt):,} photos to learn from and {len(held_out):,} held out")
    views = Views(found.photos, recipe.seed, recipe.mirror, MAX_PIXELS)
    others = Views(readable(strangers, MAX_PIXELS, bar.looks), 0, False, MAX_PIXELS) if strangers else None
    photos = Photos(
        shown(order.photos), found, validation, others, shown(order.unfamiliar) if order.unfamiliar else None
    )
    return Task(recipe, len(found.classes), views, learnt, held_out), photos


def _fitted(task: Task, state: State, resumed: bool, began: float, bar: Bar) -> tuple[list[Row], bool]:
    """Train; return the table of epochs, and whether Ctrl-C ended it before its time."""
    from app.training import fit

    if task.recipe.head_only:
        return fit.fit_head_only(task, state, bar), False
    begun = None if resumed else fit.begin(task, bar)
    try:
        return fit.fit(task, state, begun, bar, bar.say, began=began), False
    except KeyboardInterrupt:
        rows = state.rows()
        if not rows:
            raise
        return rows, True


def _validation(wanted: str) -> tuple[Path | None, float]:
    """Return the folder to validate with, if one is given, and the share of the other photos that is held out."""
    if not wanted:
        return None, SHARE
    folder = expanded(Path(wanted))
    if folder.is_dir():  # whose name may be a number, such as a year
        return folder, SHARE_BESIDE_VALIDATION
    try:
        share = float(wanted)
    except ValueError as exc:
        raise StartError(
            f"--validation {wanted}: there is no such folder; a share is a number between 0 and 1, such as 0.2"
        ) from exc
    if not 0 < share < 1:
        raise StartError(f"--validation {wanted}: a share is between 0 and 1, such as 0.2; otherwise give a folder")
    return None, share


def _strangers(folder: Path) -> list[Path]:
    """Return the photos of none of the classes. Raises `StartError` if there are none."""
    found = [Path(file.name) for file in find([str(expanded(folder))])]
    if not os.path.exists(found[0]):
        raise StartError(f"--unfamiliar {folder}: there is no such folder")
    return found


def _name(photos: Path) -> str:
    """Return the name of the folder, or if it is a part of a data set, such as `train`, of the one that it is in."""
    resolved = photos.resolve()
    return next(path.name for path in (resolved, *resolved.parents) if not part(path.name))
