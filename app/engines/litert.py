"""The serving engine: LiteRT (TensorFlow Lite's runtime) with XNNPACK on the CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from app.engines.engine import Pixels, Probabilities
from app.errors import StartError


class LiteRTEngine:
    """One interpreter over a compiled model. Resizes its input only when the batch size changes."""

    name = "litert"

    def __init__(self, model: Path, threads: int) -> None:
        """Load the model. Raises `StartError` for a file that is none."""
        try:
            self._interpreter = Interpreter(str(model), num_threads=threads)
        except (ValueError, RuntimeError) as exc:
            raise StartError(f"{model} is no compiled model; delete it and start again") from exc
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()
        self._batch_size = 0  # nothing is allocated yet
        self.classes = int(self._output["shape"][-1])

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Return `[n, classes]` probabilities. Not to be called from two threads at once."""
        batch = np.stack(images)
        if len(batch) != self._batch_size:
            self._interpreter.resize_tensor_input(self._input["index"], batch.shape, strict=True)
            self._interpreter.allocate_tensors()
            self._batch_size = len(batch)
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        probabilities: Probabilities = self._interpreter.get_tensor(self._output["index"])
        return probabilities
