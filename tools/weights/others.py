"""Images of other things than the classes of the bundled weights: pictures in a folder, and images that are made up."""

import math
import random
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tools.training.photos import SIDE, Floats, Pixels

PHOTOS, STAMPS = {".jpeg", ".jpg", ".webp"}, {".png"}
"""The suffixes of photos, and of stamps, which are things on a transparent ground. A `.png` without transparency is
left out: most of them show computers' screens."""
OPAQUE = 255
ARCHIVE = ".rcc"
"""The suffix of Qt's resource files, in which GCompris has its photos."""
LEAST_SIDE = 80
"""The shorter side, in pixels, below which a picture is an icon, and is left out."""
AREA = (0.2, 1.0)
"""The least and the largest part of a picture that is shown."""
STAMP = (0.5, 1.1)
"""How large the longer side of a picture with transparency is, in relation to the image on which it is laid."""

Colour = tuple[int, int, int]


def pictures(folder: Path) -> Iterator[Image.Image]:
    """Yield the pictures in a folder and below it, in the order of their names; mode `RGBA` if it is transparent."""
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if not path.is_file() or suffix not in PHOTOS | STAMPS | {ARCHIVE}:
            continue
        contents = webp_files(path.read_bytes()) if suffix == ARCHIVE else [path.read_bytes()]
        for picture in filter(None, map(_opened, contents)):
            if picture.mode == "RGBA" or suffix in PHOTOS | {ARCHIVE}:
                yield picture


def webp_files(content: bytes) -> Iterator[bytes]:
    """Yield the WebP files that lie uncompressed in a larger file."""
    start = content.find(b"RIFF")
    while start >= 0:
        size = 8 + int.from_bytes(content[start + 4 : start + 8], "little")
        if content[start + 8 : start + 12] == b"WEBP":
            yield content[start : start + size]
        start = content.find(b"RIFF", start + 4)


def _opened(content: bytes) -> Image.Image | None:
    try:
        picture = Image.open(BytesIO(content))
        picture.load()
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        return None  # Pillow has no one error for all that can be wrong with a file
    if min(picture.size) < LEAST_SIDE:
        return None
    transparent = picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema()[0] != OPAQUE
    return picture.convert("RGBA" if transparent else "RGB")


def shown(picture: Image.Image, background: Image.Image, draw: random.Random) -> Pixels:
    """Return a random part of a picture, uint8 `[224, 224, 3]`; one with transparency lies on the background."""
    if picture.mode == "RGB":
        area = draw.uniform(*AREA) ** 0.5
        width, height = (max(1, round(side * area)) for side in picture.size)
        left, top = draw.randint(0, picture.width - width), draw.randint(0, picture.height - height)
        box = (left, top, left + width, top + height)
        image = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    else:
        scale = draw.uniform(*STAMP) * SIDE / max(picture.size)
        small = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BILINEAR)
        image = background.resize((SIDE, SIDE))
        places = (round(draw.uniform(-0.1, 1.1) * (SIDE - side)) for side in small.size)
        image.paste(small, (next(places), next(places)), small)
    return _mirrored(np.asarray(image), draw)


def _mirrored(pixels: Pixels, draw: random.Random) -> Pixels:
    return pixels[:, ::-1] if draw.random() < 0.5 else pixels


def plain(draw: random.Random) -> Image.Image:
    """Return an image of one random colour."""
    return Image.new("RGB", (SIDE, SIDE), _colour(draw))


def noise(draw: random.Random) -> Image.Image:
    """Return random squares, coloured or grey, of 1 to 56 pixels, with sharp or soft borders."""
    side, channels = draw.choice((4, 7, 14, 28, 112, SIDE)), draw.choice((1, 3, 3))
    values = np.frombuffer(draw.randbytes(side * side * channels), np.uint8).reshape(side, side, channels)
    image = Image.fromarray(np.ascontiguousarray(np.broadcast_to(values, (side, side, 3))))
    return image.resize((SIDE, SIDE), draw.choice((Image.Resampling.NEAREST, Image.Resampling.BILINEAR)))


def shapes(draw: random.Random) -> Image.Image:
    """Return an image of one colour with up to eleven rectangles, ellipses and lines."""
    image = plain(draw)
    canvas = ImageDraw.Draw(image)
    for _ in range(draw.randint(1, 11)):
        left, top = draw.randint(-40, SIDE), draw.randint(-40, SIDE)
        box = (left, top, left + draw.randint(10, 150), top + draw.randint(10, 150))
        draw.choice((canvas.rectangle, canvas.ellipse, canvas.line))(box, fill=_colour(draw))
    return image


def gradient(draw: random.Random) -> Image.Image:
    """Return an image whose colour turns into another one from one side, or corner, to the other."""
    across = _across(draw)
    return _mixed(draw, (across - across.min()) / np.ptp(across))


def stripes(draw: random.Random) -> Image.Image:
    """Return an image of stripes of two colours, 4 to 56 pixels wide, in any direction."""
    return _mixed(draw, _across(draw) // draw.randint(4, 56) % 2)


def _across(draw: random.Random) -> Floats:
    """Return how far each pixel lies in a random direction, `[224, 224]`, in pixels."""
    angle, places = draw.uniform(0, 2 * math.pi), np.arange(SIDE, dtype=np.float32)
    return places * math.cos(angle) + places[:, None] * math.sin(angle)


def _mixed(draw: random.Random, share: Floats) -> Image.Image:
    """Return an image of two random colours, with as much of the second one at each pixel as `share` says, 0 to 1."""
    first, second = np.array(_colour(draw)), np.array(_colour(draw))
    return Image.fromarray(np.rint(first + share[..., None] * (second - first)).astype(np.uint8))


def _colour(draw: random.Random) -> Colour:
    return draw.randrange(256), draw.randrange(256), draw.randrange(256)


MADE_UP = (plain, noise, shapes)
"""What makes up the images that show nothing and are learnt from, each from random numbers."""
