"""Measure how often the photos whose embeddings are nearest to that of a photo show the same class.

Of Imagenette, each validation photo is compared with all others. Of the photos of hands, each validation photo is
compared with the training photos: classes that the network was not trained on. Prints the table of the card.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from app.config import Settings
from app.engines.base import FeatureEngine, Pixels
from app.engines.bundle import BUNDLED
from app.imaging import decode
from app.mobilenet.variants import Precision
from app.model import loading
from app.model.evidence import embedding
from tools.weights.evaluate import PRECISIONS
from tools.weights.temperature import MAX_PIXELS

NEAREST = (1, 10)
"""How many nearest photos are looked at."""

Matrix = NDArray[np.float32]


class Photos(NamedTuple):
    """Photos, and the number of the class that each shows."""

    pixels: list[Pixels]
    classes: NDArray[np.int_]


class Measured(NamedTuple):
    """A model, and for each collection the precision at each of `NEAREST`, in per cent."""

    alpha: float
    precision: Precision
    imagenette: list[float]
    hands: list[float]


def read(folder: Path, resolution: int) -> Photos:
    """Decode the photos of a folder that has a folder for each class."""
    paths = sorted(folder.glob("*/*"))
    names = sorted({path.parent.name for path in paths})
    pixels = [
        decode.decode(path.read_bytes(), resolution=resolution, max_pixels=MAX_PIXELS)
        for path in track(paths, description=folder.name)
    ]
    return Photos(pixels, np.array([names.index(path.parent.name) for path in paths]))


def embedded(engine: FeatureEngine, pixels: Sequence[Pixels]) -> Matrix:
    """Return the embeddings of images, each of length 1."""
    rows = np.stack([embedding(engine.observe([image])[1][0]) for image in pixels])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def precision(cosines: Matrix, asked: NDArray[np.int_], found: NDArray[np.int_]) -> list[float]:
    """Return, at each of `NEAREST`, the share of the nearest photos with the class of the photo asked for, in per cent.

    `cosines` is `[asked, found]`; the classes are those of its rows and its columns.
    """
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : max(NEAREST)]
    same = found[order] == asked[:, None]
    return [100 * float(same[:, :count].mean()) for count in NEAREST]


def measure_all(data: Path, resolution: int) -> Iterator[Measured]:
    """Measure each bundled α in both precisions."""
    imagenette, *hands = (read(data / folder, resolution) for folder in ("imagenette/val", "signs/val", "signs/train"))
    for alpha, kind in product(BUNDLED.alphas, PRECISIONS):
        model = loading.load(Settings(alpha=alpha, resolution=resolution, precision=kind))
        engine = cast("FeatureEngine", model.engine)
        all_ = embedded(engine, imagenette.pixels)
        others = all_ @ all_.T
        np.fill_diagonal(others, -2)  # a photo is not its own neighbour
        asked, found = (embedded(engine, photos.pixels) for photos in hands)
        yield Measured(
            alpha,
            kind,
            precision(others, imagenette.classes, imagenette.classes),
            precision(asked @ found.T, hands[0].classes, hands[1].classes),
        )


def main(
    data: Annotated[Path, typer.Argument(help="The folder with imagenette and signs.")] = Path("../shared/data"),
    resolution: Annotated[int, typer.Option(help="Resolution in pixels.")] = 160,
) -> None:
    """Print the precision of retrieval by the embeddings of the bundled weights."""
    print("| α | precision | Imagenette: nearest | of 10 | hands: nearest | of 10 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for one in measure_all(data, resolution):
        figures = " | ".join(f"{value:.1f}" for value in (*one.imagenette, *one.hands))
        print(f"| {one.alpha:g} | {one.precision} | {figures} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
