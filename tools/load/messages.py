"""The requests of a load: their bytes, and photos to send in them."""

import io
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

MOST_PHOTOS = 256
RAW = "application/octet-stream"
BOUNDARY = "----4f1c8a0e7b2d"


class Message(NamedTuple):
    """The bytes of a request, and what to do besides waiting for its answer.

    A client that leaves early disconnects after `leave_after_s` seconds; with None it waits for the answer. `on_answer`
    is called with the status and the body of the answer.
    """

    data: bytes
    leave_after_s: float | None = None
    on_answer: Callable[[int, bytes], None] | None = None


def post(url: str, body: bytes, query: str = "", kind: str = RAW) -> bytes:
    """Return the bytes of a request that posts a body of this media type to `/predict` of the service at `url`."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path.rstrip('/')}/predict{query and '?'}{query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def post_form(url: str, image: bytes) -> bytes:
    """Return the bytes of a request that posts an image in a multipart form, as a browser does."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\nContent-Type: {RAW}\r\n\r\n'
    body = b"%b%b\r\n--%b--\r\n" % (head.encode(), image, BOUNDARY.encode())
    return post(url, body, kind=f"multipart/form-data; boundary={BOUNDARY}")


def read_photos(folder: Path) -> list[bytes]:
    """Return the files in a folder and its subfolders; of more than `MOST_PHOTOS` an evenly spaced selection."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.read_bytes() for path in paths[:: ceil(len(paths) / MOST_PHOTOS) or 1]]


def make_photos(count: int = 16, width: int = 224, height: int = 224, quality: int = 75) -> list[bytes]:
    """Return JPEG files that compress like photos: soft colours with some noise; about 13 KB at 224 × 224 pixels."""
    rng = np.random.default_rng(0)
    return [_photo(rng, width, height, quality) for _ in range(count)]


def _photo(rng: np.random.Generator, width: int, height: int, quality: int) -> bytes:
    colours = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8))
    noise = rng.normal(0, 9, (height, width, 1))
    pixels = np.asarray(colours.resize((width, height), Image.Resampling.BICUBIC)) + noise
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
