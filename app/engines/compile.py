"""Compiles weights to a `.tflite` model, once, in a subprocess, so that the server never holds TensorFlow.

Run as a module this is the subprocess; `compiled` is what the server calls.
"""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.engines.files import replacing
from app.engines.weights import Weights, read
from app.errors import StartError
from app.mobilenet.variants import Variant

REVISION = 1
"""Part of every cache key: raise it when the network or the conversion changes what they answer."""

TIMEOUT_S = 600


def compiled(weights: Weights, variant: Variant, cache: Path) -> Path:
    """Return the `.tflite` of these weights and this variant, compiled now unless the cache has it.

    The key is the SHA-256 of the weights, α, the resolution, the precision, TensorFlow's version and our revision.
    Without TensorFlow any version's will do. Raises `StartError` in one line.
    """
    stem = f"{weights.sha256[:16]}-{variant.alpha:g}-{variant.resolution}-float32-r{REVISION}"
    tensorflow = _tensorflow_version()
    if tensorflow is None:
        return _any_version(cache, stem, weights)
    path = cache / f"{stem}-tf{tensorflow}.tflite"
    if not path.is_file():
        _compile_to(path, weights, variant)
    return path


def _tensorflow_version() -> str | None:
    try:
        return version("tensorflow")
    except PackageNotFoundError:
        return None


def _any_version(cache: Path, stem: str, weights: Weights) -> Path:
    found = sorted(cache.glob(f"{stem}-tf*.tflite"))
    if not found:
        raise StartError(
            f"{weights.name} is not compiled in {cache} and TensorFlow is not installed; install the extra "
            "'tensorflow', or compile elsewhere with `mobilenet compile` and bring the folder"
        )
    return found[-1]


def _compile_to(path: Path, weights: Weights, variant: Variant) -> None:
    read(weights.path, variant.alpha)  # what is wrong is said before anything that takes time
    with replacing(path) as temporary:
        print(f"mobilenet: compiling {weights.name} for {variant}, once, about 15 s …", file=sys.stderr, flush=True)
        _run_subprocess(weights.path, variant, temporary)


def _run_subprocess(source: Path, variant: Variant, target: Path) -> None:
    command = [sys.executable, "-m", __name__, str(source), f"{variant.alpha}", f"{variant.resolution}", str(target)]
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


def convert(source: Path, variant: Variant) -> bytes:
    """Return the flat buffer of the network: uint8 `[n, r, r, 3]` in, float32 `[n, classes]` out, variables frozen.

    Imports TensorFlow. Goes through `keras.Model.export`, which folds batch normalisation; a `tf.function` over the
    model leaves its variables in, and runs 4.5 × slower. Raises `StartError` for a wrong weight file.
    """
    arrays = read(source, variant.alpha)
    import tensorflow as tf

    from app.mobilenet.network import build

    network = build(variant.alpha, variant.resolution, classes=len(arrays[-1]))
    network.set_weights(arrays)
    with tempfile.TemporaryDirectory() as folder:
        network.export(folder, verbose=False)
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def _main(source: str, alpha: str, resolution: str, target: str) -> None:
    try:
        Path(target).write_bytes(convert(Path(source), Variant(float(alpha), int(resolution))))
    except StartError as exc:
        sys.exit(str(exc))
    except Exception as exc:
        sys.exit(f"compiling {Path(source).name} failed: {type(exc).__name__}: {str(exc).splitlines()[0]}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
