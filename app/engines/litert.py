"""The engine that serves: LiteRT (formerly TensorFlow Lite) with its XNNPACK kernels on the CPU."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.engines.base import Features, Head, Pixels, Predictions
from app.engines.chatter import hush_litert
from app.engines.files import content
from app.engines.tflite.interface import Interface, answer_first
from app.errors import StartError
from app.mobilenet.variants import Precision


class LiteRTEngine:
    """One LiteRT interpreter for a compiled model, which runs the images of a batch one after the other.

    On a CPU, eight images at once take as long as eight in turn, but need eight times the memory, and a batch of
    another size has to allocate it again (docs/batching.md). A model of ours answers with logits, and the softmax is
    computed here in float32: the logits also say how familiar an image is, and in int8 a probability would be a
    multiple of 1/256. It takes images of any resolution.
    """

    name = "litert"

    def __init__(self, model: Path, threads: int, precision: Precision = "float32") -> None:
        """Load a model that this project compiled.

        Raises `StartError` if the file cannot be read or is not a compiled model.
        """
        found = content(model)
        try:
            self._load(found, threads, precision, Interface())
        except (ValueError, RuntimeError) as exc:
            raise StartError(f"{model} is not a compiled model; delete it and start again") from exc

    @classmethod
    def of(cls, model: bytes, threads: int, precision: Precision, interface: Interface) -> "LiteRTEngine":
        """Load any model whose interface is known. Raises `ValueError` or `RuntimeError` if it cannot be loaded."""
        engine = object.__new__(cls)
        engine._load(model, threads, precision, interface)
        return engine

    def _load(self, model: bytes, threads: int, precision: Precision, interface: Interface) -> None:
        self.precision = precision
        self._interface = interface
        self._model = model  # what was tested is what runs, whatever becomes of the file
        hush_litert()
        self._interpreter = Interpreter(model_content=model, num_threads=threads)
        (self._input,) = self._interpreter.get_input_details()
        self._output, *others = answer_first(self._interpreter.get_output_details())
        self._features = others[0] if others else None
        self.channels = int(self._features["shape"][-1]) if self._features else 0
        self._shape: tuple[int, ...] = ()  # of the allocated input; the first image decides, as models take any size
        self.classes = int(self._output["shape"][-1])

    def with_threads(self, threads: int) -> "LiteRTEngine":
        """Return another engine for the same model, with another number of threads."""
        return LiteRTEngine.of(self._model, threads, self.precision, self._interface)

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for n images. Must not be called from two threads at once."""
        return self._interface.decode(np.stack([self._run(image) for image in images]))

    def observe(self, images: Sequence[Pixels]) -> tuple[Predictions, Features]:
        """Return the predictions for n images, and their features. Must not be called from two threads at once.

        Raises `ValueError` if the model gives no features (`channels` is 0): others compiled it.
        """
        if self._features is None:
            raise ValueError("this model gives no features")
        outputs, features = [], []
        for image in images:
            outputs.append(self._run(image))
            features.append(self._interpreter.get_tensor(self._features["index"]))
        return self._interface.decode(np.stack(outputs)), np.concatenate(features)

    @cached_property
    def head(self) -> Head:
        """The classifier, read from the model when it is first asked for."""
        from app.engines.tflite.graph import Graph  # only who explains an answer needs it

        return Graph(self._model).head()

    def _run(self, image: Pixels) -> NDArray[Any]:
        if image.shape != self._shape:
            self._shape = ()  # until it is allocated: an image that does not fit must not harm the next
            self._interpreter.resize_tensor_input(self._input["index"], (1, *image.shape))
            self._interpreter.allocate_tensors()
            self._shape = image.shape
        self._interpreter.set_tensor(self._input["index"], self._interface.encode(image))
        self._interpreter.invoke()
        output: NDArray[Any] = self._interpreter.get_tensor(self._output["index"])
        return output.reshape(-1)  # some models answer with [1, 1, 1, classes]
