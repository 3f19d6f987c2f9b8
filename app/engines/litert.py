"""The engine that serves: LiteRT (formerly TensorFlow Lite) with its XNNPACK kernels on the CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.engines.base import Pixels, Probabilities
from app.errors import StartError
from app.mobilenet.variants import Precision


class LiteRTEngine:
    """One LiteRT interpreter for a compiled model, which runs the images of a batch one after the other.

    On a CPU, eight images at once take as long as eight in turn, but need eight times the memory, and a batch of
    another size has to allocate it again (docs/batching.md). An int8 model answers with logits, and the softmax is
    computed here in float32, because in int8 a probability would be a multiple of 1/256. An int8 model takes images of
    any resolution.
    """

    name = "litert"

    def __init__(self, model: Path, threads: int, precision: Precision = "float32") -> None:
        """Load the model. Raises `StartError` if the file is not a compiled model."""
        try:
            self._load(model.read_bytes(), threads, precision)
        except (OSError, ValueError, RuntimeError) as exc:
            raise StartError(f"{model} is not a compiled model; delete it and start again") from exc

    def _load(self, model: bytes, threads: int, precision: Precision) -> None:
        self.precision = precision
        self._model = model  # what was tested is what runs, whatever becomes of the file
        self._interpreter = Interpreter(model_content=model, num_threads=threads)
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self._shape: tuple[int, ...] = ()  # of the allocated input; the first image decides, as int8 takes any size
        self.classes = int(self._output["shape"][-1])

    def with_threads(self, threads: int) -> "LiteRTEngine":
        """Return another engine for the same model, with another number of threads."""
        other = object.__new__(LiteRTEngine)
        other._load(self._model, threads, self.precision)
        return other

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Return probabilities `[n, classes]`, float32. Must not be called from two threads at once."""
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
    """Return the probabilities of logits `[n, classes]`."""
    shares: Probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares
