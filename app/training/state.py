"""The folder in which a training keeps what it needs to go on after it was interrupted."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from app.engines.files import replacing
from app.errors import CannotWrite, StartError
from app.training.recipe import Recipe
from app.training.schedule import Learner

Row = dict[str, float]
"""What is known of an epoch, by name; shares are 0 to 1, and `seconds` are those of the training until its end."""
ROWS = TypeAdapter(list[Row])


def best_epoch(rows: Sequence[Row]) -> int:
    """Return the number of the epoch with the lowest loss on the photos that are held out."""
    return min(range(len(rows)), key=lambda number: rows[number]["loss"])


def epoch_name(number: int) -> str:
    """Return an epoch for people. Number 0 is what there is before the first epoch."""
    return f"{number}" if number else "0 (the classifier alone)"


@dataclass(frozen=True, slots=True)
class State:
    """The folder: the recipe, a table of the finished epochs, the weights of the best one, and a checkpoint."""

    folder: Path

    @property
    def best(self) -> Path:
        """The averaged weights of the best epoch so far."""
        return self.folder / "best.weights.h5"

    @property
    def result(self) -> Path:
        """Where the finished folder is put together."""
        return self.folder / "result"

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.npz"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other training out of the folder until the block ends, or the process, in whatever way.

        The lock is a file beside the folder, which is removed and made anew meanwhile. Raises `StartError` if another
        training has it, and `CannotWrite` if it cannot be made. A file system without locks keeps nobody out.
        """
        lock = self.folder.with_name(f"{self.folder.name}.lock")
        with _opened(lock) as file:
            if not _locked(file, lock):
                raise StartError(
                    f"a training for this --output is running already, in {self.folder}; wait until it has ended, or "
                    "choose another --output"
                )
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()

    def begin(self, recipe: Recipe, digests: Mapping[str, str], resume: bool) -> bool:
        """Prepare the folder; return whether there is a training to go on with. Without `resume` it is removed.

        `digests` stand for what a training works on, such as the photos, by what that is called. Raises `StartError` if
        the training to go on with was of another recipe or of anything else, or if there is something else than a
        training in the folder, which is never removed.
        """
        plan = {**recipe.model_dump(), **digests}
        known = self._plan()
        if not resume or known is None:
            self.remove()
            with replacing(self.folder / "recipe.json") as path:
                path.write_text(json.dumps(plan), encoding="utf-8")
            return False
        if differing := [name for name in plan if plan[name] != known.get(name)]:
            first = differing[0]
            raise StartError(
                f"the training in {self.folder} had other {first}"
                if first in digests
                else f"the training in {self.folder} had {first} {known.get(first)}, and not {plan[first]}"
            )
        return self._checkpoint.is_file()

    def _plan(self) -> dict[str, Any] | None:
        """Return what the training in the folder was asked for, and what it works on; None if the folder is empty."""
        if not any(self.folder.glob("*")):
            return None
        try:
            known = json.loads((self.folder / "recipe.json").read_bytes())
        except (OSError, ValueError):
            known = None
        if isinstance(known, dict) and known.keys() >= Recipe.model_fields.keys():
            return known
        raise StartError(
            f"{self.folder} is where the training would be kept until it ends, and there is something else in it; move "
            "that away, or choose another --output"
        )

    def remove(self) -> None:
        """Remove the folder, once the training has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def rows(self) -> list[Row]:
        """Return the table of the finished epochs."""
        try:
            return ROWS.validate_json((self.folder / "epochs.json").read_bytes())
        except (OSError, ValidationError):
            return []

    @property
    def spent_s(self) -> float:
        """The seconds that the training had taken when its last epoch ended, without those between interruptions."""
        return next((row.get("seconds", 0.0) for row in reversed(self.rows())), 0.0)

    def restore(self, learner: Learner) -> list[Row]:
        """Load the checkpoint; return the table of the epochs until then. Raises `StartError` if it lacks some."""
        with self._checkpoint.open("rb") as file:
            finished = learner.read(file)
        rows = self.rows()[:finished]
        if len(rows) < finished:
            raise StartError(
                f"the training in {self.folder} cannot be continued, since its epochs.json has {len(rows)} of "
                f"{finished} epochs; begin anew, without --resume"
            )
        return rows

    def keep(self, save: Callable[[Path], None]) -> None:
        """Have the best weights so far written by `save`."""
        with replacing(self.best) as path:
            save(path)

    def save(self, learner: Learner, rows: list[Row], best: bool) -> None:
        """Write the averaged weights if this epoch was the best, then the table, and last the checkpoint.

        Written in this order, an interruption at any point leaves a consistent state.
        """
        if best:
            self.keep(learner.save)
        with replacing(self.folder / "epochs.json") as path:
            path.write_bytes(ROWS.dump_json(rows))
        with replacing(self._checkpoint) as path, path.open("wb") as file:
            learner.write(file, len(rows))


def _opened(lock: Path) -> IO[bytes]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("ab")
    except OSError as exc:
        raise CannotWrite(f"{lock.parent}: cannot write there: {exc.strerror}") from exc


def _locked(file: IO[bytes], lock: Path) -> bool:
    """Lock a file; return whether nobody else has it, and it is not one that somebody has removed meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), lock.stat())
    except (BlockingIOError, PermissionError, FileNotFoundError):  # file systems differ in what they say
        return False
    except OSError:  # this file system has no locks
        return True
