"""Where the reference data lies that the project does not ship, and the photos made without it."""

import io
import json
from pathlib import Path

from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"
SAMPLES = SHARED / "imagenet" / "samples"


def samples() -> list[tuple[bytes, int]]:
    """Return the 100 ImageNet photos, each with the index of its class."""
    classes = json.loads((SHARED / "imagenet" / "labels.json").read_text())
    index = {item["wnid"]: item["index"] for item in classes}
    return [(path.read_bytes(), index[path.name.split("_")[0]]) for path in sorted(SAMPLES.iterdir())]


def solid(colour: tuple[int, int, int], form: str = "PNG", size: tuple[int, int] = (80, 60)) -> bytes:
    """Return an image file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


RED = solid((220, 30, 30))
PNG = {"Content-Type": "image/png"}
"""A small photo, and the header that it is sent with."""


def rings(size: int = 366, width: int = 23) -> bytes:
    """Return a PNG of red and white rings, which look like none of the ten bundled classes."""
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for number, radius in enumerate(range(size, 0, -width)):
        box = (size / 2 - radius, size / 2 - radius, size / 2 + radius, size / 2 + radius)
        draw.ellipse(box, fill=(200, 60, 60) if number % 2 else (250, 250, 250))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
