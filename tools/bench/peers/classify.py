"""What every peer in Python does with a photo: it decodes it, and runs the same model."""

import math
import os
from io import BytesIO
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from app.imaging import memory
from app.imaging.resize import Box, scaled

MODEL, RESOLUTION, CPUS, PORT = "BENCH_MODEL", "BENCH_RESOLUTION", "BENCH_CPUS", "BENCH_PORT"
"""The environment variables that tell a peer which model to serve, on how many CPUs and on which port."""
DECODER = "BENCH_DECODER"
"""The environment variable that tells a peer what to decode with, one of `DECODERS`; by default as the service does."""
CENTRAL, MARGIN, TOP = 0.875, 2, 5

Answer = dict[str, Any]

memory.keep()  # as the service does: page faults are half of the time for a large photo


def decode(data: bytes, resolution: int) -> NDArray[np.uint8]:
    """Return the central square of a JPEG photo as RGB `[1, resolution, resolution, 3]`, uint8.

    This is how the service decodes ordinary photos, with the same libraries, but without its checks, without turning
    photos upright, and without converting their colours to sRGB.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    needed = math.ceil(MARGIN * resolution / CENTRAL)
    factor = next((each for each in (8, 4, 2) if min(height, width) >= each * needed), 1)
    height, width = height / factor, width / factor
    pixels = simplejpeg.decode_jpeg(data, min_height=math.ceil(height), min_width=math.ceil(width))
    return scaled(pixels, _square(width, height), resolution)[None]


def decode_with_pillow(data: bytes, resolution: int) -> NDArray[np.uint8]:
    """Return what `decode` returns, decoded and scaled as most programs do it with Pillow: all of the photo first."""
    image = Image.open(BytesIO(data)).convert("RGB")
    small = image.resize((resolution, resolution), Image.Resampling.BILINEAR, _square(*image.size))
    return np.asarray(small)[None]


def _square(width: float, height: float) -> Box:
    side = CENTRAL * min(width, height)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


DECODERS = {"service": decode, "pillow": decode_with_pillow}


def answer(probabilities: NDArray[np.float32]) -> Answer:
    """Return the five most probable classes, in the form of the service's answers."""
    best = probabilities.argsort()[: -TOP - 1 : -1]
    predictions = [{"class_id": int(index), "probability": float(probabilities[index])} for index in best]
    return {"results": [{"predictions": predictions}]}


class PeerModel:
    """The model of `BENCH_MODEL`, run on one thread."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._decode = DECODERS[os.environ.get(DECODER, "service")]
        self._resolution = int(os.environ[RESOLUTION])
        self._interpreter: Any = Interpreter(os.environ[MODEL], num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._interpreter.resize_tensor_input(self._input, [1, self._resolution, self._resolution, 3])
        self._interpreter.allocate_tensors()
        outputs = self._interpreter.get_output_details()
        self._output = min(outputs, key=lambda one: len(one["shape"]))["index"]  # the other output is the features

    def __call__(self, data: bytes) -> Answer:
        """Classify one photo."""
        self._interpreter.set_tensor(self._input, self._decode(data, self._resolution))
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._output)[0]
        exponentials = np.exp(logits - logits.max())
        return answer(exponentials / exponentials.sum())
