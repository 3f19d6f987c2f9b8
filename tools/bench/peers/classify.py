"""What every peer does with a photo: it decodes it like `app.imaging`, without the checks, and runs the same model."""

import math
import os
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MODEL, RESOLUTION, CPUS, PORT = "BENCH_MODEL", "BENCH_RESOLUTION", "BENCH_CPUS", "BENCH_PORT"
"""The environment variables that tell a peer which model to serve, on how many CPUs and on which port."""
CENTRAL, MARGIN, TOP = 0.875, 2, 5

Answer = dict[str, Any]


def decode(data: bytes, resolution: int) -> NDArray[np.uint8]:
    """Return the central square of a photo as RGB `[1, resolution, resolution, 3]`, uint8."""
    image = Image.open(BytesIO(data))
    needed = math.ceil(MARGIN * resolution / CENTRAL)
    draft = image.draft("RGB", (needed, needed))
    width, height = draft[1][2:] if draft else image.size
    side = CENTRAL * min(width, height)
    box = (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
    square = image.convert("RGB").resize((resolution, resolution), Image.Resampling.BILINEAR, box)
    return np.asarray(square)[None]


def answer(probabilities: NDArray[np.float32]) -> Answer:
    """Return the five most probable classes, in the form of the service's answers."""
    best = probabilities.argsort()[: -TOP - 1 : -1]
    predictions = [{"class_id": int(index), "probability": float(probabilities[index])} for index in best]
    return {"results": [{"predictions": predictions}]}


class PeerModel:
    """The model of `BENCH_MODEL`, run on one thread."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._resolution = int(os.environ[RESOLUTION])
        self._interpreter: Any = Interpreter(os.environ[MODEL], num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, data: bytes) -> Answer:
        """Classify one photo."""
        self._interpreter.set_tensor(self._input, decode(data, self._resolution))
        self._interpreter.invoke()
        return answer(self._interpreter.get_tensor(self._output)[0])
