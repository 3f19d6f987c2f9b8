"""Compiles weights to a `.tflite` model, once, in a subprocess, so that the server never holds TensorFlow."""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.engines import convert
from app.engines.convert import Photos, Report
from app.engines.files import replacing, verified
from app.engines.weights import BUNDLED, Weights, bundled_int8_name, read
from app.errors import StartError
from app.mobilenet.variants import Precision, Variant

REVISION = 1
"""Part of every cache key: raise it when the network or the conversion changes what they answer."""

TIMEOUT_S = 1800


class Compiled(NamedTuple):
    """A compiled model; without a report it was there already, compiled or bundled."""

    path: Path
    report: Report | None


def compiled(
    weights: Weights, variant: Variant, cache: Path, precision: Precision = "float32", photos: Photos | None = None
) -> Compiled:
    """Return the `.tflite` of these weights, variant and precision, compiled now unless it is there.

    In int8 the bundled weights have theirs beside them; other int8 is calibrated on `photos`, but for some that are
    kept for the report. A model in the cache is known by the SHA-256 of the weights, α, the resolution, the
    precision, TensorFlow's version and our revision; without TensorFlow any version's will do. Raises `StartError`
    in one line.
    """
    if precision == "int8" and weights.name == BUNDLED:
        return Compiled(verified(weights.path.with_name(bundled_int8_name(variant.alpha))), None)
    stem = f"{weights.sha256[:16]}-{variant.alpha:g}-{variant.resolution}-{precision}-r{REVISION}"
    tensorflow = _tensorflow_version()
    if tensorflow is None:
        return Compiled(_any_version(cache, stem, f"{weights.name} for {variant}, {precision},"), None)
    path = cache / f"{stem}-tf{tensorflow}.tflite"
    if path.is_file():
        return Compiled(path, None)
    if precision == "int8" and photos is None:
        raise StartError(
            f"{weights.name} is not compiled to int8 for {variant}; `mobilenet compile --precision int8 --calibrate "
            "FOLDER` does it, with a folder of photos like those that will come"
        )
    return Compiled(path, _compile_to(path, weights, variant, precision, photos))


def _tensorflow_version() -> str | None:
    try:
        return version("tensorflow")
    except PackageNotFoundError:
        return None


def _any_version(cache: Path, stem: str, wanted: str) -> Path:
    found = sorted(cache.glob(f"{stem}-tf*.tflite"))
    if not found:
        raise StartError(
            f"{wanted} is not compiled in {cache} and TensorFlow is not installed; install the extra "
            "'tensorflow', or compile elsewhere with `mobilenet compile` and bring the folder"
        )
    return found[-1]


def _compile_to(path: Path, weights: Weights, variant: Variant, precision: Precision, photos: Photos | None) -> Report:
    read(weights.path, variant.alpha)  # what is wrong is said before anything that takes time
    with replacing(path) as model, tempfile.TemporaryDirectory() as folder:
        print(f"mobilenet: compiling {weights.name} for {variant}, {precision}, once …", file=sys.stderr, flush=True)
        images = "" if photos is None else f"{folder}/photos.npy"
        if photos is not None:
            np.save(images, photos)
        return _in_subprocess(weights.path, variant.alpha, variant.resolution, precision, model, images)


def _in_subprocess(source: Path, *arguments: object) -> Report:
    command = [sys.executable, "-m", convert.__name__, str(source), *map(str, arguments)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        done = subprocess.run(
            command, env=os.environ | quiet, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise StartError(f"compiling {source.name} took more than {TIMEOUT_S} s") from exc
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise StartError(lines[-1])
    return Report(**json.loads(done.stdout.splitlines()[-1]))
