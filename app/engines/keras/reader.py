"""Reads the arrays of a MobileNetV1 from a file of Keras, whatever model the network was put into."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from app.engines import activation
from app.engines.keras import config, structure
from app.engines.keras.config import ConfiguredLayer, UnsuitableModelError
from app.engines.keras.file import Array, KerasFile, Shape, StoredLayer, opened
from app.engines.keras.order import Slot, configured, features, guided_by_names, guided_by_shapes
from app.errors import StartError, first_line
from app.mobilenet.architecture import CLASSIFIER, STEM_FILTERS
from app.mobilenet.variants import ALPHAS


def read(path: Path, alpha: float, setting: str = "MOBILENET_ALPHA") -> list[Array]:
    """Return the float32 arrays of a MobileNetV1 of this α, in the order in which `set_weights` takes them.

    The last array is the bias of the classifier, so its length is the number of classes. The file is HDF5 in Keras'
    legacy or current layout, or a `.keras` archive. The network may be inside other models; its classifier is a
    convolution or a dense layer, whose kernel `[channels, classes]` becomes `[1, 1, channels, classes]`; a missing bias
    is zeros. Every array has the shape that the table of layers gives it, so that no layer can keep its random initial
    weights. Where the file has the whole model, every layer of it must be one that the service's own network has too;
    that of weights alone cannot say how pixels are scaled or what the model ends in. Needs h5py but not TensorFlow.
    Raises `StartError` that says what is wrong: not a weight file, damaged, another network, another α than the one
    that `setting` has, another scaling of pixels, or another activation at the end.
    """
    try:
        with opened(path) as file:
            return _arrays(file, alpha, setting)
    except UnsuitableModelError as exc:
        raise StartError(f"{path.name} {exc}") from exc
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, ValueError, RuntimeError) as exc:
        raise StartError(f"{path.name} is not a Keras weight file, or it is damaged: {first_line(exc)}") from exc
    except (AttributeError, LookupError, TypeError) as exc:
        raise StartError(f"{path.name} does not have the layers of a MobileNetV1: {first_line(exc)}") from exc


def _arrays(file: KerasFile, alpha: float, setting: str) -> list[Array]:
    if not file.layers:
        raise UnsuitableModelError("has no layers with weights")
    chain = None if file.config is None else config.layers(file.config)
    if chain is not None:
        structure.check_scaling(chain)
    ordered = _ordered(file, chain, alpha)
    body = features(alpha)
    _check_width(ordered, alpha, setting)
    _check_body(ordered, body)
    if chain is not None and sum(layer.has_arrays for layer in chain) > len(ordered):
        raise _incomplete(ordered, body)
    _check_top(ordered[len(body) :], body[-1])
    if chain is not None:
        _check_end(structure.check(chain, alpha))
    return [array for layer in ordered[:-1] for array in layer.arrays()] + _classifier(ordered[-1])


def _ordered(file: KerasFile, chain: list[ConfiguredLayer] | None, alpha: float) -> list[StoredLayer]:
    if chain is not None:
        return configured(file, chain)
    return guided_by_names(file, alpha) or guided_by_shapes(file, alpha)


def _check_width(found: list[StoredLayer], alpha: float, setting: str) -> None:
    stem = next((layer.shapes[0][-1] for layer in found if layer.shapes[0][:3] == (3, 3, 3)), 0)
    if stem != int(alpha * STEM_FILTERS) and stem / STEM_FILTERS in ALPHAS:
        raise UnsuitableModelError(f"has weights of α {stem / STEM_FILTERS:g}, but {setting} is {alpha:g}")


def _check_body(found: list[StoredLayer], body: list[Slot]) -> None:
    for layer, (name, shapes) in zip(found, body, strict=False):
        if layer.shapes != shapes:
            raise _mismatch(name, layer, _listed(shapes))
    if len(found) < len(body):
        raise _incomplete(found, body)


def _mismatch(name: str, layer: StoredLayer, expected: str) -> UnsuitableModelError:
    found = _listed(layer.shapes)
    return UnsuitableModelError(
        f"is not a MobileNetV1: at {name} it has {found} (its layer {layer}), expected {expected}"
    )


def _listed(shapes: tuple[Shape, ...]) -> str:
    return f"{len(shapes)} × {shapes[0]}" if len(shapes) > 2 else " and ".join(map(str, shapes))


def _incomplete(found: list[StoredLayer], body: list[Slot]) -> UnsuitableModelError:
    arrays, expected = sum(len(layer.shapes) for layer in found), sum(len(shapes) for _, shapes in body) + 2
    return UnsuitableModelError(f"is not a MobileNetV1: it has {arrays} arrays, expected {expected}")


def _check_top(top: list[StoredLayer], last: Slot) -> None:
    """Check that one layer follows the body, which turns `channels` numbers into one for each class."""
    channels = last[1][0][0]
    if not top:
        raise UnsuitableModelError("has no classifier layer; it was saved with include_top=False")
    if len(top) > 1:
        several = ", ".join(f"{layer} {layer.shapes[0]}" for layer in top)
        raise UnsuitableModelError(
            f"has {len(top)} layers with weights behind its last convolution, {several}; expected one, the classifier"
        )
    (kernel, *biases), expected = top[0].shapes, f"({channels}, classes) or (1, 1, {channels}, classes), and (classes,)"
    if kernel[:-1] not in {(channels,), (1, 1, channels)} or biases not in ([], [kernel[-1:]]):
        raise _mismatch(CLASSIFIER, top[0], expected)


def _check_end(name: str) -> None:
    try:
        activation.check(name)
    except ValueError as exc:
        raise UnsuitableModelError(str(exc)) from exc


def _classifier(layer: StoredLayer) -> list[Array]:
    kernel, *biases = layer.arrays()
    bias = biases[0] if biases else np.zeros(kernel.shape[-1], np.float32)
    return [kernel.reshape(1, 1, *kernel.shape[-2:]), bias]
