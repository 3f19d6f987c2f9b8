"""The folder that a training is for: whether it may be written, and how it takes the place of an older one."""

import shutil
from pathlib import Path

from app.config import CARD
from app.engines.files import NAME as MANIFEST
from app.engines.files import entries
from app.errors import StartError
from app.model import familiarity, scores
from app.training.state import State
from app.training.survey import NO_PHOTOS

BESIDE = frozenset(
    {CARD, "card.md", "confusion.png", "mistakes.png", "golden", MANIFEST, scores.NAME, familiarity.NAME}
)
"""What a training writes beside the files that the manifest names."""
LEFT_BEHIND = NO_PHOTOS | {".ds_store"}
"""What an operating system leaves in a folder that somebody looks into."""


def check(output: Path, photos: Path) -> None:
    """Raise `StartError` unless the folder may be written: in place of nothing, or of one that a training has written.

    An older one is removed in the end, so there may be nothing else in it. Among the photos it would be taken for a
    class the next time.
    """
    if output.resolve().is_relative_to(photos.resolve()):
        raise StartError(f"--output {output}: this is among the photos in {photos}; choose a folder elsewhere")
    try:
        others = _others(output)
    except OSError as exc:
        raise StartError(f"--output {output}: cannot be read: {exc.strerror}") from exc
    if others:
        more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
        raise StartError(
            f"--output {output}: there is something else already; choose another folder, or move {others[0]}{more} away"
        )


def _others(output: Path) -> list[str]:
    """Return the names of what no training has written there."""
    if not output.is_dir():
        return [output.name] if output.exists() else []
    made = BESIDE | entries(output).keys() if (output / CARD).is_file() else frozenset[str]()
    names = sorted(path.name for path in output.iterdir())
    return [name for name in names if name not in made and name.casefold() not in LEFT_BEHIND]


def publish(state: State, output: Path, photos: Path, *, finished: bool = True) -> Path:
    """Put the folder of a training where it shall be, and return where it is.

    An older one is moved into the folder of the training, and removed. That of a training that is not finished takes
    only a place that is empty; otherwise it stays in the folder of the training.

    Raises `StartError`, which says where the folder is, if something else is there by now, or if it cannot be moved; an
    older one is there again then.
    """
    if not finished and (output / CARD).is_file():
        return state.result
    old = state.folder / "old"
    try:
        check(output, photos)
        shutil.rmtree(old, ignore_errors=True)
        if output.exists():
            output.rename(old)
        _move(state.result, output, old)
    except (OSError, StartError) as exc:
        raise StartError(f"{exc}; the finished folder is {state.result}") from exc
    shutil.rmtree(old, ignore_errors=True)
    return output


def _move(new: Path, output: Path, old: Path) -> None:
    """Move a folder into an empty place, or put back the one that was there before."""
    try:
        new.rename(output)
    except BaseException:
        if old.exists() and not output.exists():
            old.rename(output)
        raise
