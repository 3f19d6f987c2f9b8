"""Measure what energies the photos of the classes have, for `model_weights/familiarity.json`, and how well that works.

The energies are those of the training photos that the training held out. How well they tell other photos from those of
the classes is measured on the validation photos, against photos of ImageNet's other classes and photos of hands. Images
that show nothing are measured, too.
"""

import random
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from app.config import Settings
from app.engines.base import Pixels
from app.engines.bundle import BUNDLED
from app.imaging import decode
from app.measurements import UNFAMILIAR
from app.mobilenet.variants import RESOLUTIONS
from app.model import loading
from app.model.familiarity import NAME, Familiarity, auroc, measure
from app.model.labels import load
from app.model.model import Model
from tools.weights.evaluate import BATCH, PRECISIONS, Class, find_photos
from tools.weights.others import gradient, noise, plain, shapes, stripes
from tools.weights.temperature import MAX_PIXELS, held_out

KINDS = ("held out", "validation", "ImageNet", "hands")
NOTHING = {"plain colours": plain, "noise": noise, "shapes": shapes, "gradients": gradient, "stripes": stripes}
"""What makes up an image that shows nothing, by the name of the kind."""
MADE = 100
"""How many images of each kind are made up."""

Photos = dict[str, list[Path]]
Energies = dict[str, NDArray[np.float32]]


class Measured(NamedTuple):
    """What was found of a model: the energies to keep, and figures, by name, of how well it tells photos apart."""

    familiarity: Familiarity
    figures: dict[str, float]


def photos(data: Path) -> Photos:
    """Return the photos of each of `KINDS`; those of ImageNet without the classes of the model."""
    classes = [Class(label.wordnet_id, label.label) for label in load(BUNDLED.labels)]
    known = {names.wordnet_id for names in classes}
    others = [path for path in sorted((data / "imagenet/samples").iterdir()) if path.name.split("_")[0] not in known]
    inside = (held_out(find_photos(data / "imagenette/train", classes)), find_photos(data / "imagenette/val", classes))
    ours, validation = ([photo.path for photo in found] for found in inside)
    return dict(zip(KINDS, (ours, validation, others, sorted((data / "signs/val").glob("*/*"))), strict=True))


def nothing(count: int) -> dict[str, list[bytes]]:
    """Return so many images of each kind of `NOTHING`, as PNG files."""
    return {
        name: [_png(make(random.Random(f"{make.__name__} {number}"))) for number in range(count)]
        for name, make in NOTHING.items()
    }


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def energies(model: Model, pixels: Sequence[Pixels]) -> NDArray[np.float32]:
    """Return the energies `[n]` that the model gives n images."""
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    return np.concatenate([model.engine.predict(batch).energies for batch in batches])


def measured(model: Model, found: Energies) -> Measured:
    """Return what the energies of each kind of photo say of a model; the figures are in per cent."""
    known = Familiarity(
        alpha=model.variant.alpha,
        resolution=model.variant.resolution,
        precision=model.engine.precision,
        images=len(found["held out"]),
        energies=measure(found["held out"].tolist()),
    )
    others = {kind: of.tolist() for kind, of in found.items() if kind != "held out"}
    figures = {f"{kind}: AUROC": 100 * auroc(others["validation"], others[kind]) for kind in ("ImageNet", "hands")}
    for kind, of in others.items():
        figures[f"{kind}: unfamiliar"] = 100 * float(np.mean([known.share(one) < UNFAMILIAR for one in of]))
    return Measured(known, figures)


def measure_all(paths: Photos) -> Iterator[Measured]:
    """Measure every bundled α in both precisions, with the photos decoded once for each resolution."""
    images = nothing(MADE)
    for resolution in RESOLUTIONS:
        pixels = {kind: [_decoded(path.read_bytes(), resolution) for path in of] for kind, of in paths.items()}
        pixels |= {kind: [_decoded(image, resolution) for image in of] for kind, of in images.items()}
        for alpha, precision in product(BUNDLED.alphas, PRECISIONS):
            model = loading.load(Settings(alpha=alpha, resolution=resolution, precision=precision))
            yield measured(model, {kind: energies(model, of) for kind, of in pixels.items()})


def _decoded(image: bytes, resolution: int) -> Pixels:
    return decode.decode(image, resolution=resolution, max_pixels=MAX_PIXELS)


def tables(found: Sequence[Measured]) -> Iterator[str]:
    """Yield the lines of a table in Markdown for each figure: α and precision down, and the resolutions across."""
    by_model = {(one.alpha, one.precision, one.resolution): figures for one, figures in found}
    sides = sorted({resolution for _, _, resolution in by_model})
    for name in (name for name in found[0].figures if name.split(":")[0] not in NOTHING):
        yield f"{name}, %\n"
        yield f"| α | precision | {' | '.join(map(str, sides))} |"
        yield f"| --- | --- |{' ---: |' * len(sides)}"
        for alpha, precision in sorted({key[:2] for key in by_model}):
            cells = (f"{by_model[alpha, precision, side][name]:.1f}" for side in sides)
            yield f"| {alpha:g} | {precision} | {' | '.join(cells)} |"
        yield ""


def nothing_table(found: Sequence[Measured]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: in float32, how many images of nothing are called unfamiliar, in %."""
    yield f"| α | {' | '.join(NOTHING)} |"
    yield f"| --- |{' ---: |' * len(NOTHING)}"
    for one, figures in found:
        if one.precision == "float32":
            cells = (f"{figures[f'{kind}: unfamiliar']:.0f}" for kind in NOTHING)
            yield f"| {one.alpha:g} @ {one.resolution} | {' | '.join(cells)} |"


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the reference data.")] = Path("../shared/data"),
) -> None:
    """Write `familiarity.json` beside the bundled weights, and print the tables of their card."""
    paths = photos(data)
    count = len(BUNDLED.alphas) * len(PRECISIONS) * len(RESOLUTIONS)
    found = list(track(measure_all(paths), "measuring", count, console=Console(stderr=True)))
    found.sort(key=lambda one: (one.familiarity.alpha, one.familiarity.resolution, one.familiarity.precision))
    kept = (one.familiarity.model_dump_json() for one in found)
    (BUNDLED.folder / NAME).write_text("[" + ",\n".join(kept) + "]\n", encoding="utf-8")
    for line in (*tables(found), *nothing_table(found)):
        print(line)


if __name__ == "__main__":
    typer.run(main)
