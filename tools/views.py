"""What a network learns from: photos, fixed random crops of them, and a target for each crop."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import keras
import numpy as np
import tensorflow as tf
import typer
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from app.mobilenet import network

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Box = Sequence[float]
"""Left, top, right and bottom, in pixels."""

SIDE = 224
CENTRAL_CROP: Box = (SIDE / 16, SIDE / 16, SIDE * 15 / 16, SIDE * 15 / 16)
"""The service's view of a photo: the central 87.5 % of each side."""

VIEWS = 64
AREA = (0.25, 1.0)
"""Lighter than the usual 8 to 100 %: a small network underfits."""
ASPECT = (0.8, 1.25)
LABEL_SMOOTHING = 0.1
FEATURES = "global_average_pooling"
"""The layer whose outputs the classifier takes."""
TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True)
class Photos:
    """All photos, uint8 `[n, 224, 224, 3]`, their class indices `[n]` and the classes' WordNet ids, sorted."""

    pixels: Pixels
    labels: Indices
    wnids: list[str]

    @classmethod
    def load(cls, folder: Path, cache: Path) -> "Photos":
        """Read `folder/<WordNet id>/*`, decoded once into a memory-mapped file in the folder `cache`."""
        wnids = sorted(path.name for path in folder.iterdir() if path.is_dir())
        files = [path for wnid in wnids for path in sorted((folder / wnid).iterdir())]
        names = "\n".join(f"{path.parent.name}/{path.name}" for path in files)
        path = cache / f"photos-{crc32(names.encode()):08x}.npy"
        if not path.exists():
            write_whole(path, lambda file: np.save(file, decode_all(files)))
        return cls(np.load(path, mmap_mode="r"), np.array([wnids.index(file.parent.name) for file in files]), wnids)


@dataclass(frozen=True, slots=True)
class Teacher:
    """A weight file of ImageNet's 1,000 classes, with `labels.json` (their `index` and `wnid`) beside it."""

    weights: Path
    alpha: float
    resolution: int

    def columns(self, wnids: list[str]) -> list[int]:
        """Return the teacher's class index of each WordNet id."""
        entries = json.loads(self.weights.with_name("labels.json").read_text(encoding="utf-8"))
        index = {entry["wnid"]: entry["index"] for entry in entries}
        return [index[wnid] for wnid in wnids]

    def interpreter(self, batch: int) -> Interpreter:
        """Compile the teacher for so many images at once: on a CPU, LiteRT is twice as fast as TensorFlow."""
        model = network.build(self.alpha, self.resolution, input_dtype="float32")
        model.load_weights(self.weights)
        both = keras.Model(model.input, [model.get_layer(FEATURES).output, model.output])
        with tempfile.TemporaryDirectory() as folder:
            both.export(folder, format="tf_saved_model", verbose=False)
            content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
        shape = [batch, self.resolution, self.resolution, 3]
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape)
        interpreter.allocate_tensors()
        return interpreter

    def ask(self, interpreter: Interpreter, pixels: Floats, columns: list[int]) -> tuple[Floats, Floats]:
        """Return log probabilities of these classes, float32 `[n, classes]`, and the pooled features `[n, f]`.

        `pixels` are float32 `[n, r, r, 3]` at the teacher's resolution, as many as the interpreter was made for.
        """
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
        interpreter.invoke()
        outputs = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
        probabilities, features = sorted(outputs, key=np.ndim)  # the features are [n, 1, 1, f]
        return np.log(probabilities[:, columns] + 1e-9), features.reshape(len(features), -1)

    def logits(self, photos: Pixels, indices: Indices, boxes: Floats, columns: list[int]) -> Floats:
        """Return log probabilities, float32 `[n, v, classes]`, of these classes in the boxes `[n, v, 4]`."""
        interpreter = self.interpreter(boxes.shape[1])
        logits = np.empty((*boxes.shape[:2], len(columns)), np.float32)
        for row, index in enumerate(tqdm(indices, desc="teacher", unit=" photos", mininterval=2)):
            crops = [crop(photos[index], box, self.resolution) for box in boxes[row]]
            logits[row], _ = self.ask(interpreter, np.stack(crops).astype(np.float32), columns)
        return logits


@dataclass(frozen=True, slots=True)
class Views:
    """v fixed crops of each photo to train on: boxes `[n, v, 4]` and targets `[n, v, classes]`.

    Row i belongs to photo `indices[i]`. Fixed crops let a teacher look, once, at what the network will see;
    `temperature` is what the targets were softened by.
    """

    photos: Pixels
    indices: Indices
    boxes: Floats
    targets: Floats
    temperature: float

    @classmethod
    def draw(
        cls, photos: Photos, indices: Indices, teacher: Teacher | None, seed: int, cache: Path, count: int = VIEWS
    ) -> "Views":
        """Draw so many crops of each photo; a target is the smoothed label or the teacher's answer, kept in `cache`."""
        labels, boxes = photos.labels[indices], random_boxes(len(indices), count, seed)
        if teacher is None:
            targets = np.repeat(smooth(labels, len(photos.wnids))[:, None], count, axis=1)
            return cls(photos.pixels, indices, boxes, targets, 1.0)
        path = cache / f"{teacher.weights.stem}-{crc32(boxes.tobytes() + indices.tobytes()):08x}.npy"
        if not path.exists():
            logits = teacher.logits(photos.pixels, indices, boxes, teacher.columns(photos.wnids))
            write_whole(path, lambda file: np.save(file, logits))
        return cls(photos.pixels, indices, boxes, soften(np.load(path), labels), TEMPERATURE)

    def batch(
        self, rows: Indices, columns: Indices, mirror: NDArray[np.bool_], resolution: int
    ) -> tuple[Pixels, Floats]:
        """Return one view of each row's photo, uint8 `[n, r, r, 3]`, mirrored where `mirror` says, and its target."""
        boxes = self.boxes[rows, columns]
        return cut(self.photos, self.indices[rows], boxes, mirror, resolution), self.targets[rows, columns]


def decode_all(files: list[Path]) -> Pixels:
    """Return the photos as uint8 RGB `[n, 224, 224, 3]`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(_decode, files)))


def _decode(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def crop(photo: Pixels, box: Box, resolution: int) -> Pixels:
    """Return a box of the photo as uint8 `[r, r, 3]`, resized as the service does: bilinear, antialiased."""
    left, top, right, bottom = map(float, box)
    image = Image.fromarray(photo)
    size = (resolution, resolution)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def cut(photos: Pixels, indices: Indices, boxes: Floats, mirror: NDArray[np.bool_], resolution: int) -> Pixels:
    """Return a box `[n, 4]` of each of these photos, uint8 `[n, r, r, 3]`, mirrored where `mirror` says so."""
    crops = np.stack([crop(photos[index], box, resolution) for index, box in zip(indices, boxes, strict=True)])
    crops[mirror] = crops[mirror, :, ::-1]
    return crops


def random_boxes(photos: int, views: int, seed: int) -> Floats:
    """Return random boxes `[photos, views, 4]`: area and aspect ratio are drawn, then the place."""
    rng = np.random.default_rng(seed)
    side = np.sqrt(rng.uniform(*AREA, (photos, views)))
    low, high = np.log(ASPECT) / 2
    stretch = np.exp(rng.uniform(low, high, (photos, views)))
    size = np.minimum(np.stack([side * stretch, side / stretch], axis=-1), 1)
    corner = rng.uniform(size=size.shape) * (1 - size)
    return (np.concatenate([corner, corner + size], axis=-1) * SIDE).astype(np.float32).clip(0, SIDE)


def smooth(labels: Indices, classes: int) -> Floats:
    """Return smoothed one-hot labels, float32 `[n, classes]`."""
    return (np.eye(classes)[labels] * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / classes).astype(np.float32)


def soften(logits: Floats, labels: Indices) -> Floats:
    """Return the teacher's softened answers `[n, v, classes]`, or the smoothed label where its top class is wrong."""
    own = np.broadcast_to(smooth(labels, logits.shape[-1])[:, None], logits.shape)
    right = logits.argmax(-1) == labels[:, None]
    typer.echo(f"teacher: top-1 {right.mean():.2%} on the crops")
    soft = np.exp((logits - logits.max(-1, keepdims=True)) / TEMPERATURE)
    return np.where(right[..., None], soft / soft.sum(-1, keepdims=True), own)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all, so that a run that was killed leaves no half file."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        write(file)
    part.replace(path)
