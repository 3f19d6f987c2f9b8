"""Make the files of `model_weights/`: the Keras weights of a training, their int8 model, and the manifest of all files.

The weights are calibrated on the photos that their training held out. Without `--weights` only the int8 models and the
manifest are made again.
"""

from pathlib import Path
from typing import Annotated

import typer

from app.config import MODEL_WEIGHTS
from app.engines import files
from app.engines.bundle import BUNDLED
from app.engines.files import sha256
from app.engines.keras.reader import read
from app.engines.tflite.convert import convert
from app.mobilenet.variants import ALPHAS, Variant
from app.model import calibration
from app.model.labels import load
from tools.weights import temperature
from tools.weights.evaluate import Class, find_photos

CALIBRATED_AT = 160
"""The resolution in pixels at which int8 is calibrated; the ranges that it finds are good for every resolution."""
PHOTOS = "photos of Imagenette (fast.ai) of ImageNet, for research use, and pictures that the card names"
Entry = dict[str, str | int | float]


def main(
    alpha: Annotated[float | None, typer.Option(help="Width multiplier of the weights to bundle.")] = None,
    weights: Annotated[Path | None, typer.Option(help="The average.weights.h5 of a training.")] = None,
    int8: Annotated[Path | None, typer.Option(help="The int8.weights.h5 of tools.training.quantise.")] = None,
    photos: Annotated[Path, typer.Option(help="Folder of the training photos, to calibrate with.")] = Path(
        "../shared/data/imagenette/train"
    ),
) -> None:
    """Bundle the weights of a training, or only renew the files that are made from the bundled weights.

    With `--int8`, the int8 model of this α is made from weights that were learnt for it, from those that are bundled.
    """
    if int8 and (weights or not alpha):
        raise typer.BadParameter("--int8 needs --alpha, and goes without --weights")
    if bool(alpha) != bool(weights or int8):
        raise typer.BadParameter("--weights needs --alpha, and --alpha needs --weights or --int8")
    known = files.entries(MODEL_WEIGHTS)
    temperatures = {width: known.get(BUNDLED.weights(width).name, {}).get("temperature", 1.0) for width in ALPHAS}
    if alpha and weights:
        temperatures[alpha] = calibrate(weights, alpha, photos)
    pixels = calibration.load(photos, CALIBRATED_AT, 10**8)
    entries: dict[Path, Entry] = {}
    for width in (width for width in ALPHAS if BUNDLED.weights(width).is_file()):
        source, target = BUNDLED.weights(width), BUNDLED.compiled(width, "int8")
        learnt = int8 if width == alpha else None
        if learnt or not _is_made_from(target, source):
            target.write_bytes(convert(learnt or source, Variant(width, CALIBRATED_AT), "int8", pixels))
            tool = "training/quantise.py" if learnt else "weights/bundle.py"
            made = f"made from {source.name} with tools/{tool}"
        else:
            made = known[target.name]["source"]
        classes = len(read(source, width)[-1])
        licence = f"Apache-2.0; trained on {PHOTOS}"
        trained = _entry(classes, "trained here, as the card beside it says", licence)
        entries[source] = trained | {"temperature": temperatures[width]}
        entries[target] = _entry(classes, made, licence) | {"weights_sha256": sha256(source)}
    for name, what in (("imagenet", "ImageNet (ILSVRC 2012)"), ("imagenette", "Imagenette (fast.ai)")):
        path = MODEL_WEIGHTS / f"{name}.labels.txt"
        entries[path] = _entry(len(load(path)), f"the public class list of {what}", "facts")
    files.write_manifest(MODEL_WEIGHTS, entries)


def calibrate(weights: Path, alpha: float, folder: Path) -> float:
    """Bundle weights with the temperature that fits the photos their training held out; return the temperature."""
    classes = [Class(label.wordnet_id, label.label) for label in load(MODEL_WEIGHTS / "imagenette.labels.txt")]
    photos = temperature.held_out(find_photos(folder, classes))
    found = round(temperature.measure(weights, alpha, photos), 4)
    temperature.fold(weights, alpha, found, BUNDLED.weights(alpha))
    return found


def _is_made_from(model: Path, source: Path) -> bool:
    """Whether the manifest says that this model was made from this source, so that it need not be made again."""
    if not model.is_file() or not (MODEL_WEIGHTS / files.NAME).is_file():
        return False
    entry = files.entries(MODEL_WEIGHTS).get(model.name, {})
    return entry.get("weights_sha256") == sha256(source) and entry["sha256"] == sha256(model)


def _entry(classes: int, source: str, licence: str) -> Entry:
    return {"classes": classes, "source": source, "licence": licence}


if __name__ == "__main__":
    typer.run(main)
