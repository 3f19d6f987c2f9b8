"""Bytes of an image -> uint8 pixels `[r, r, 3]`: the only place that decodes; safe in many threads at once."""

import math
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import EmptyImage, ServiceError, UndecodableImage
from app.imaging import colour, memory
from app.imaging.bounds import LargeImage
from app.imaging.codecs import jpeg, pillow
from app.imaging.codecs.markers import header
from app.imaging.formats import FORMATS, kind_of
from app.imaging.pixels import converted, flat, turn, upright
from app.imaging.resize import Box, Pixels, scaled

__all__ = ["FORMATS", "LargeImage", "ServiceError", "decode", "decode_each", "kind_of"]

_CENTRAL: Final = 0.875  # of the shorter side, as the published weights were evaluated
_MARGIN: Final = 2  # a JPEG is scaled while it is decoded to no less than twice the pixels needed: 1x costs top-1
_HEAD_BYTES: Final = 256  # that tell the format

memory.keep()


def decode(data: bytes | memoryview, *, resolution: int, max_pixels: int, large: bool = True) -> NDArray[np.uint8]:
    """Return the central square of an image as RGB `[resolution, resolution, 3]`, upright, C-contiguous, in sRGB.

    The square is 87.5 % of the shorter side, scaled by Pillow's antialiasing BILINEAR; transparency lies on white; of
    several frames or pages the first counts. Raises `EmptyImage`, `UnsupportedImage` (none of `FORMATS`, or pixels of
    no fixed range), `TooManyPixels` (by the header, before memory is taken) or `UndecodableImage`; without `large` also
    `LargeImage`, before memory is taken.

    `max_pixels` bounds the pixels in memory. A JPEG is scaled while it is decoded: it is what is left that counts, and
    the file may have four times as many.
    """
    return decode_each(data, resolutions=(resolution,), max_pixels=max_pixels, large=large)[0]


def decode_each(
    data: bytes | memoryview, *, resolutions: Sequence[int], max_pixels: int, large: bool = True
) -> list[Pixels]:
    """Return what `decode` returns for each of the resolutions, to the pixel, decoding once.

    Only a JPEG that is large enough to be scaled while it is decoded, to different sizes for different resolutions, is
    decoded once for each of these sizes.
    """
    if not data:
        raise EmptyImage("the image is empty: it has 0 bytes")
    raw = bytes(data)  # bytes stay as they are, a memoryview is copied once
    kind = kind_of(raw[:_HEAD_BYTES])
    found: dict[int, Pixels] = {}
    while left := [resolution for resolution in resolutions if resolution not in found]:
        found |= _squares(raw, kind, left, max_pixels, large)
    return [found[resolution] for resolution in resolutions]


def _squares(raw: bytes, kind: str, resolutions: Sequence[int], max_pixels: int, large: bool) -> dict[int, Pixels]:
    """Decode for the first resolution; return its square and those of the others that need no other decoding."""
    try:
        if kind == "JPEG":
            return _of_jpeg(raw, resolutions, max_pixels, large)
        with closing(pillow.opened(raw, kind, max_pixels, large)) as image:  # its memory is free before the next's turn
            return _of_image(image, _square(*image.size), resolutions)
    except (ServiceError, LargeImage):
        raise
    except Exception as exc:  # OSError, SyntaxError, struct.error, MemoryError and many more
        if kind == "JPEG" and (whole := jpeg.mended(raw)):
            return _squares(whole, kind, resolutions, max_pixels, large)
        raise UndecodableImage(f"the {kind} image is truncated, damaged or of an unusual kind") from exc


def _needed(resolution: int) -> int:
    """How many pixels the shorter side of an image should have."""
    return math.ceil(_MARGIN * resolution / _CENTRAL)


def _of_jpeg(raw: bytes, resolutions: Sequence[int], max_pixels: int, large: bool) -> dict[int, Pixels]:
    head = header(raw)
    needed = _needed(resolutions[0])
    jpeg.check(raw, head, needed, max_pixels, large)
    factor = jpeg.scale(head, needed)
    same = [one for one in resolutions if jpeg.scale(head, _needed(one)) == factor]
    if photo := jpeg.read(raw, head, needed):
        return _of_photo(photo, head.profile, same)
    with closing(pillow.opened_jpeg(raw, head)) as image:
        image.draft(None, (needed, needed))
        return _of_image(image, _square(head.width / factor, head.height / factor), same)


def _of_photo(photo: jpeg.Photo, profile: bytes | None, resolutions: Sequence[int]) -> dict[int, Pixels]:
    box, pixels = _square(photo.width, photo.height), photo.pixels
    convert = colour.conversion(profile, "L" if photo.grey else "RGB")
    if convert and not convert.late:
        early = _early(convert, Image.fromarray(pixels), box, resolutions)
        return {
            one: upright(scaled(np.asarray(small), part, one), photo.orientation)
            for one, (small, part) in early.items()
        }
    squares = {one: upright(scaled(pixels, box, one), photo.orientation) for one in resolutions}
    if convert is None:
        return squares
    return {one: np.asarray(convert(Image.fromarray(square))) for one, square in squares.items()}


def _of_image(image: Image.Image, box: Box, resolutions: Sequence[int]) -> dict[int, Pixels]:
    image.load()
    source, turned = flat(image), turn(image)
    sources = dict.fromkeys(resolutions, (source, box))
    convert = colour.conversion(image.info.get("icc_profile"), source.mode)
    if convert and not convert.late:
        sources = _early(convert, source, box, resolutions)
        convert = None
    found = {}
    for resolution, (part, place) in sources.items():  # a square may be turned after the scaling too, and cheaper
        small = converted(part, "RGB" if part.mode == "CMYK" else part.mode)
        small = small.resize((resolution, resolution), Image.Resampling.BILINEAR, place)
        small = small if turned is None else small.transpose(turned)
        found[resolution] = np.asarray(convert(small) if convert else converted(small, "RGB"))
    return found


def _early(
    convert: colour.Conversion, source: Image.Image, box: Box, resolutions: Sequence[int]
) -> dict[int, tuple[Image.Image, Box]]:
    """Return for each resolution the image in sRGB and its box, as small as for this resolution alone."""
    factors = {one: colour.reduction(box, _needed(one)) for one in resolutions}
    images = {factor: convert.early(source, box, factor) for factor in set(factors.values())}
    return {one: images[factor] for one, factor in factors.items()}


def _square(width: float, height: float) -> Box:
    side = _CENTRAL * min(width, height)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
