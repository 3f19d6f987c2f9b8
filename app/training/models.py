"""Writes what the service loads: the weights, the models that are compiled of them, the labels and the manifest."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from app.engines.base import Pixels
from app.engines.bundle import Bundle
from app.engines.files import write_manifest
from app.engines.keras.reader import read
from app.engines.litert import LiteRTEngine
from app.engines.tflite.convert import convert
from app.engines.tflite.interface import Interface
from app.mobilenet.network import logits as logits_of
from app.mobilenet.variants import RESOLUTIONS, Precision
from app.model.calibration import COUNT
from app.training import network, temperature
from app.training.network import Floats
from app.training.state import State
from app.training.task import Bar, Task, parts

PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def write(task: Task, classes: Sequence[str], state: State, bundle: Bundle, bar: Bar) -> tuple[float, list[Precision]]:
    """Write all that the service loads from the best weights, and return the temperature and the precisions."""
    bar.begin("choosing the temperature", len(RESOLUTIONS) * len(task.held_out))
    scale = _write_weights(task, state, bundle, bar)
    bundle.labels.write_text("\n".join(classes) + "\n", encoding="utf-8")
    bar.begin("compiling the models", len(PRECISIONS))
    precisions = _compile(task, bundle, bar)
    _write_manifest(bundle, task, precisions)
    return scale, precisions


def _write_weights(task: Task, state: State, bundle: Bundle, bar: Bar) -> float:
    """Write the best weights with the temperature that suits the held-out photos; return the temperature."""
    alpha = task.recipe.alpha
    *features, kernel, bias = read(state.best, alpha)
    model = network.empty(alpha, task.classes)
    model.set_weights([*features, kernel, bias])
    answer = network.answering(logits_of(model))
    logits = np.concatenate([_logits(answer, task, resolution, bar) for resolution in RESOLUTIONS])
    truths = np.tile(task.labels(task.held_out), len(RESOLUTIONS))
    scale = temperature.fit(logits, truths, len(task.held_out))
    model.set_weights([*features, kernel / scale, bias / scale])
    model.save_weights(bundle.weights(alpha))
    keras.backend.clear_session()
    return scale


def _logits(answer: Callable[[Floats], tf.Tensor], task: Task, resolution: int, bar: Bar) -> Floats:
    found = []
    for part in parts(task.held_out):
        found.append(np.asarray(answer(task.views.plain(part, resolution).astype(np.float32))))
        bar.advance(len(part))
    return np.concatenate(found)


def _compile(task: Task, bundle: Bundle, bar: Bar) -> list[Precision]:
    """Compile the weights, and return the precisions of the models that can be run; others are not written."""
    recipe = task.recipe
    chosen = np.random.default_rng(recipe.seed).permutation(task.learnt)[:COUNT]
    calibration = task.views.plain(chosen.tolist(), recipe.resolution)
    written = []
    for precision in PRECISIONS:
        content = convert(bundle.weights(recipe.alpha), recipe.variant, precision, calibration)
        if _runs(content, precision, calibration[0]):
            bundle.compiled(recipe.alpha, precision).write_bytes(content)
            written.append(precision)
        bar.advance(1)
    return written


def _runs(model: bytes, precision: Precision, photo: Pixels) -> bool:
    """Whether LiteRT runs a compiled model. Its int8 kernels refuse steps that are too different in size."""
    try:
        LiteRTEngine.of(model, 1, precision, Interface()).predict([photo])
    except RuntimeError:
        return False
    return True


def _write_manifest(bundle: Bundle, task: Task, precisions: Sequence[Precision]) -> None:
    alpha = task.recipe.alpha
    files = [bundle.weights(alpha), *(bundle.compiled(alpha, precision) for precision in precisions), bundle.labels]
    write_manifest(bundle.folder, {path: {"classes": task.classes} for path in files})
