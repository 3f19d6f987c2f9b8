"""The serving engine: LiteRT (TensorFlow Lite's runtime) with XNNPACK on the CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.engines.base import Pixels, Probabilities
from app.errors import StartError
from app.mobilenet.variants import Precision


class LiteRTEngine:
    """One interpreter over a compiled model, which runs one image after the other.

    On a CPU it takes as long for eight images at once as for eight in turn, and eight times the memory; for another
    number of images it would have to allocate anew. A model in int8 gives logits, and the softmax is made here in
    float32: in int8 it would know probabilities to 1/256 only. It takes images of any resolution, as all its layers do.
    """

    name = "litert"

    def __init__(self, model: Path, threads: int, precision: Precision = "float32") -> None:
        """Load the model. Raises `StartError` for a file that is none."""
        self.precision = precision
        self._model = model
        try:
            self._interpreter = Interpreter(str(model), num_threads=threads)
        except (ValueError, RuntimeError) as exc:
            raise StartError(f"{model} is no compiled model; delete it and start again") from exc
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self._shape: tuple[int, ...] = ()  # nothing is allocated yet, for an int8 model takes any resolution
        self.classes = int(self._output["shape"][-1])

    def with_threads(self, threads: int) -> "LiteRTEngine":
        """Return another engine over the same model."""
        return LiteRTEngine(self._model, threads, self.precision)

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Return `[n, classes]` probabilities. Not to be called from two threads at once."""
        answers: Probabilities = np.stack([self._run(image) for image in images])
        return softmax(answers) if self.precision == "int8" else answers

    def _run(self, image: Pixels) -> NDArray[np.float32]:
        if image.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input["index"], (1, *image.shape))
            self._interpreter.allocate_tensors()
            self._shape = image.shape
        self._interpreter.set_tensor(self._input["index"], image[np.newaxis])
        self._interpreter.invoke()
        output: NDArray[np.float32] = self._interpreter.get_tensor(self._output["index"])[0]
        return output


def softmax(logits: NDArray[np.float32]) -> Probabilities:
    """Return the probabilities that logits `[n, classes]` stand for."""
    shares: Probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares
