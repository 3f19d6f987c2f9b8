"""The weights that a training starts from: the file that they are in, which is looked at before anything else."""

from pathlib import Path

from app import environment
from app.config import expanded
from app.engines.bundle import BUNDLED, Bundle
from app.engines.files import NAME as MANIFEST
from app.engines.files import sha256, verified
from app.engines.keras.reader import read
from app.engines.weights import PUBLISHED, locate
from app.errors import StartError
from app.training.recipe import RANDOM, Recipe


def checked(recipe: Recipe) -> str:
    """Return the SHA-256 of the file with the weights of a recipe, or nothing if it starts from random ones.

    Raises `StartError` if there is no such file, if its weights have another α, or if a setting is wrong that says
    where published weights are.
    """
    path = file(recipe)
    if path is None:
        return ""
    read(path, recipe.alpha, "--alpha")
    return sha256(path)


def file(recipe: Recipe) -> Path | None:
    """Return the file with the weights that a recipe names, or None for random ones. Raises `StartError`."""
    if recipe.start == RANDOM:
        return None
    if recipe.start == BUNDLED.name:
        return BUNDLED.weights(recipe.alpha)
    if recipe.start == PUBLISHED:
        wanted = {"weights": PUBLISHED, "alpha": recipe.alpha, "resolution": recipe.resolution}
        return locate(environment.load().model_copy(update=wanted)).path
    path = expanded(Path(recipe.start))
    allowed = (
        f"allowed are {BUNDLED.name}, {PUBLISHED}, {RANDOM}, a weight file, or a folder that `mobilenet train` has "
        "written"
    )
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise StartError(f"--from {recipe.start}: this folder has no weights; {allowed}")
        return _in_folder(path, recipe)
    if not path.is_file():
        raise StartError(f"--from {recipe.start}: no such file; {allowed}")
    return path


def _in_folder(folder: Path, recipe: Recipe) -> Path:
    bundle = Bundle.open(folder)
    if recipe.alpha not in bundle.alphas:
        known = ", ".join(f"{alpha:g}" for alpha in bundle.alphas)
        raise StartError(f"--from {recipe.start}: its weights have α {known}, but --alpha is {recipe.alpha:g}")
    return verified(bundle.weights(recipe.alpha))
