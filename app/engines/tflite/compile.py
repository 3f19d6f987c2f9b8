"""Compiles weights to a `.tflite` model, once, in a subprocess, so that the server never loads TensorFlow."""

import sys
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.engines.files import CACHE, reading, replacing, sha256, temporary_folder, verified
from app.engines.keras.reader import read
from app.engines.tflite.convert import ConversionReport, Photos
from app.engines.tflite.converter import Converter
from app.engines.weights import Weights
from app.errors import StartError, install
from app.mobilenet.variants import Precision, Variant, stored

REVISION = 5
"""Part of every cache key. Increase it when a change of the network or the conversion changes the answers.

2: weights that end in a sigmoid are refused; before, they were compiled with a softmax.
3: models that scale pixels otherwise, or compute something else, are refused; before, that was ignored.
4: float32 models answer with logits, and one serves every resolution.
5: the features are an output.
"""


class Compiled(NamedTuple):
    """A compiled model. `report` is None if nothing was compiled because the model was already there."""

    path: Path
    report: ConversionReport | None


def compiled(
    weights: Weights,
    variant: Variant,
    cache: Path,
    precision: Precision = "float32",
    photos: Photos | None = None,
    *,
    converter: Converter | None = None,
) -> Compiled:
    """Return the `.tflite` of these weights, variant and precision; compile it now if it is not in the cache.

    Weights that are a `.tflite` already are checked and returned as they are. bfloat16 has the model of float32.
    A folder of weights may have the model too; the bundled one has those in int8. Other int8 models are calibrated on
    most of the `photos`; the rest are used for the report. The name of a cached model has the SHA-256 of the weights,
    α, the precision, TensorFlow's version and our revision, and for int8 the resolution; a float32 model serves every
    resolution. Where TensorFlow is not installed, a model of any of its versions is used. Whoever has several compiled
    passes a `converter`, which imports TensorFlow once for all of them. Raises `StartError`, whose message is one line.
    """
    if weights.compiled:
        from app.engines.tflite import foreign  # LiteRT, which compiling does not need

        foreign.load(weights.path, variant, precision, threads=1)
        return Compiled(weights.path, None)
    precision = stored(precision)
    if weights.bundle and weights.bundle.has(path := weights.bundle.compiled(variant.alpha, precision)):
        return Compiled(verified(path), None)
    resolution = f"-{variant.resolution}" if precision == "int8" else ""
    stem = f"{weights.sha256[:16]}-{variant.alpha:g}{resolution}-{precision}-r{REVISION}"
    tensorflow = _tensorflow_version()
    if tensorflow is None:
        return Compiled(_any_version(cache, stem, f"{weights.name} for {variant}, {precision},"), None)
    path = cache / f"{stem}-tf{tensorflow}.tflite"
    with reading(CACHE):
        if path.is_file():
            return Compiled(path, None)
    if precision == "int8" and photos is None:
        raise StartError(
            f"{weights.name} is not compiled to int8 for {variant}; run `mobilenet compile --precision int8 "
            "--calibrate FOLDER` with a folder of photos like those that it will classify"
        )
    with nullcontext(converter) if converter else Converter() as running:
        return Compiled(path, _compile_to(path, weights, variant, precision, photos, by=running))


def _tensorflow_version() -> str | None:
    try:
        return version("tensorflow")
    except PackageNotFoundError:
        return None


def _any_version(cache: Path, stem: str, wanted: str) -> Path:
    with reading(CACHE):
        found = sorted(cache.glob(f"{stem}-tf*.tflite"))
    if not found:
        raise StartError(
            f"{wanted} is not compiled in {cache} and TensorFlow is not installed; run `mobilenet compile` on another "
            f"machine and copy the folder, or {install('tensorflow')}"
        )
    return found[-1]


def _compile_to(
    path: Path, weights: Weights, variant: Variant, precision: Precision, photos: Photos | None, *, by: Converter
) -> ConversionReport:
    read(weights.path, variant.alpha)  # a wrong file is refused here, before the seconds that compiling takes
    with temporary_folder() as folder:
        images = "" if photos is None else f"{folder}/photos.npy"
        if photos is not None:
            np.save(images, photos)
        return _converted(path, weights, variant, precision, images, by=by)


def _converted(
    path: Path, weights: Weights, variant: Variant, precision: Precision, images: str, *, by: Converter
) -> ConversionReport:
    with replacing(path, CACHE) as model:
        print(
            f"mobilenet: compiling {weights.name} for {variant}, {precision}; this is done once …",
            file=sys.stderr,
            flush=True,
        )
        report = by.convert(weights.path, variant.alpha, variant.resolution, precision, model, images)
        # Another file at this path is no error of whoever put it there, but it is not what the cache would call it.
        if sha256(weights.path) != weights.sha256:
            raise StartError(f"{weights.name} was replaced while it was compiled; try again")
        return report
