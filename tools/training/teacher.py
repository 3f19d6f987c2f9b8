"""A teacher: a network that knows the 1,000 classes of ImageNet, and its answers to crops of photos."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tqdm import tqdm

from app.machine import available_cpus
from app.mobilenet import network
from tools.training.photos import Floats, Indices, Pixels, crop


@dataclass(frozen=True, slots=True)
class Teacher:
    """A file of ImageNet weights. `labels.json` beside it has the `index` and the `wnid` of each class."""

    weights: Path
    alpha: float
    resolution: int

    @property
    def labels(self) -> Path:
        """The file with the classes."""
        return self.weights.with_name("labels.json")

    def interpreter(self, batch: int) -> Interpreter:
        """Compile the teacher for batches of this size. LiteRT is twice as fast as TensorFlow on a CPU."""
        model = network.build(self.alpha, self.resolution, input_dtype="float32")
        model.load_weights(self.weights)
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, format="tf_saved_model", verbose=False)
            content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        interpreter = Interpreter(model_content=content, num_threads=available_cpus())
        shape = [batch, self.resolution, self.resolution, 3]
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape)
        interpreter.allocate_tensors()
        return interpreter

    def logits(self, photos: Pixels, indices: Indices, boxes: Floats, columns: list[int]) -> Floats:
        """Return log probabilities, float32 `[n, c, classes]`, of the classes `columns` in the boxes `[n, c, 4]`."""
        interpreter = self.interpreter(boxes.shape[1])
        source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        logits = np.empty((*boxes.shape[:2], len(columns)), np.float32)
        for row, index in enumerate(tqdm(indices, desc="teacher", unit=" photos", mininterval=2)):
            crops = [crop(photos[index], box, self.resolution) for box in boxes[row]]
            interpreter.set_tensor(source, np.stack(crops).astype(np.float32))
            interpreter.invoke()
            logits[row] = np.log(interpreter.get_tensor(sink)[:, columns] + 1e-9)
        return logits
