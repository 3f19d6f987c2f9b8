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
from app.imaging.formats import HEAD_BYTES, kind_of
from app.imaging.orientation import SIDEWAYS, orientation, upright
from app.imaging.pixels import converted, flat
from app.imaging.region import Region
from app.imaging.resize import Box, Pixels, scaled

_CENTRAL: Final = 0.875  # of the shorter side, as the published weights were evaluated
_MARGIN: Final = 2  # a JPEG is scaled while it is decoded to no less than twice the pixels needed: 1x costs top-1

memory.keep()


Squares = tuple[dict[int, Pixels], Region]
"""The square of an image at each of some resolutions, and where it lies."""


def decode(data: bytes | memoryview, *, resolution: int, max_pixels: int, large: bool = True) -> NDArray[np.uint8]:
    """Return the central square of an image as RGB `[resolution, resolution, 3]`, upright, C-contiguous, in sRGB.

    The square is 87.5 % of the shorter side, scaled by Pillow's antialiasing BILINEAR; transparency lies on white; of
    several frames or pages the first counts. Raises `EmptyImage`, `UnsupportedImage` (none of `FORMATS`, or pixels of
    no fixed range), `TooManyPixels` (by the header, before memory is taken) or `UndecodableImage`; without `large` also
    `LargeImage`, before memory is taken.

    `max_pixels` bounds the pixels in memory. A JPEG is scaled while it is decoded: it is what is left that counts, and
    the file may have four times as many.
    """
    ((pixels,), _) = located(data, resolutions=(resolution,), max_pixels=max_pixels, large=large)
    return pixels


def located(
    data: bytes | memoryview, *, resolutions: Sequence[int], max_pixels: int, large: bool = True
) -> tuple[list[Pixels], Region]:
    """Return what `decode` returns for each resolution, to the pixel, and where the square lies in the file.

    The image is decoded once. Only a JPEG that is large enough to be scaled while it is decoded, to different sizes for
    different resolutions, is decoded once for each of these sizes.
    """
    if not data:
        raise EmptyImage("the image is empty: it has 0 bytes")
    raw = bytes(data)  # bytes stay as they are, a memoryview is copied once
    kind = kind_of(raw[:HEAD_BYTES])
    found, region = _squares(raw, kind, resolutions, max_pixels, large)
    while missing := [resolution for resolution in resolutions if resolution not in found]:
        found |= _squares(raw, kind, missing, max_pixels, large)[0]
    return [found[resolution] for resolution in resolutions], region


def whole(data: bytes | memoryview, *, longest: int, max_pixels: int) -> Pixels:
    """Return all of an image as RGB `[h, w, 3]`, upright, in sRGB, its longer side no more than `longest` pixels.

    A smaller image keeps its size. Raises what `decode` raises.
    """
    raw = bytes(data)
    kind = kind_of(raw[:HEAD_BYTES])
    try:
        with closing(_opened(raw, kind, longest, max_pixels)) as image:
            return _shrunk(image, longest)
    except ServiceError:
        raise
    except Exception as exc:
        if kind == "JPEG" and (mended := jpeg.mended(raw)):
            return whole(mended, longest=longest, max_pixels=max_pixels)
        raise _undecodable(kind) from exc


def _opened(raw: bytes, kind: str, longest: int, max_pixels: int) -> Image.Image:
    """Open an image that will be scaled to a longer side of at most `longest` pixels; a JPEG is scaled in part now."""
    if kind != "JPEG":
        return pillow.opened(raw, kind, max_pixels, large=True)
    head = header(raw)
    width, height = _fitting(head.width, head.height, longest)
    jpeg.check(raw, head, min(width, height), max_pixels, large=True)
    image = pillow.opened_jpeg(raw, head)
    image.draft(None, (width, height))
    return image


def _fitting(width: int, height: int, longest: int) -> tuple[int, int]:
    ratio = min(1.0, longest / max(width, height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _shrunk(image: Image.Image, longest: int) -> Pixels:
    source, lies, convert = _flattened(image)
    if convert and not convert.late:
        source, convert = convert(source), None
    return _averaged(source, _fitting(*source.size, longest), None, lies, convert)


def _flattened(image: Image.Image) -> tuple[Image.Image, int, colour.Conversion | None]:
    """Load an opened image; return its pixels, the orientation in which they lie, and the way from them to sRGB."""
    image.load()
    source = flat(image)
    return source, orientation(image.getexif), colour.conversion(image.info.get("icc_profile"), source.mode)


def _averaged(
    source: Image.Image, size: tuple[int, int], box: Box | None, lies: int, convert: colour.Conversion | None
) -> Pixels:
    """Scale a box of an image, or all of it; then convert its colours and turn it upright.

    After scaling there are fewer pixels to convert.
    """
    small = converted(source, "RGB" if source.mode == "CMYK" else source.mode)
    small = small.resize(size, Image.Resampling.BILINEAR, box)
    return upright(np.asarray(convert(small) if convert else converted(small, "RGB")), lies)


def _squares(raw: bytes, kind: str, resolutions: Sequence[int], max_pixels: int, large: bool) -> Squares:
    """Decode for the first resolution; return its square and those of the others that need no other decoding."""
    try:
        if kind == "JPEG":
            return _of_jpeg(raw, resolutions, max_pixels, large)
        with closing(pillow.opened(raw, kind, max_pixels, large)) as image:  # its memory is free before the next's turn
            return _of_tiff(image, resolutions) if kind == "TIFF" else _of_other(image, resolutions)
    except (ServiceError, LargeImage):
        raise
    except Exception as exc:  # OSError, SyntaxError, struct.error, MemoryError and many more
        if kind == "JPEG" and (mended := jpeg.mended(raw)):
            return _squares(mended, kind, resolutions, max_pixels, large)
        raise _undecodable(kind) from exc


def _of_tiff(image: Image.Image, resolutions: Sequence[int]) -> Squares:
    lay = orientation(image.getexif)  # Pillow turns a TIFF upright when it loads it, and forgets how it lay
    squares, _ = _of_image(image, resolutions)
    size = image.size[::-1] if lay in SIDEWAYS else image.size
    return squares, _region(*size, lay)


def _of_other(image: Image.Image, resolutions: Sequence[int]) -> Squares:
    squares, lies = _of_image(image, resolutions)
    return squares, _region(*image.size, lies)


def _undecodable(kind: str) -> UndecodableImage:
    return UndecodableImage(f"the {kind} image is truncated, damaged or of an unusual kind")


def _needed(resolution: int) -> int:
    """How many pixels the shorter side of an image should have."""
    return math.ceil(_MARGIN * resolution / _CENTRAL)


def _of_jpeg(raw: bytes, resolutions: Sequence[int], max_pixels: int, large: bool) -> Squares:
    head = header(raw)
    needed = _needed(resolutions[0])
    jpeg.check(raw, head, needed, max_pixels, large)
    factor = jpeg.scale(head, needed)
    same = [one for one in resolutions if jpeg.scale(head, _needed(one)) == factor]
    if photo := jpeg.read(raw, head, needed):
        return _of_photo(photo, head.profile, same), _region(head.width, head.height, photo.orientation)
    with closing(pillow.opened_jpeg(raw, head)) as image:
        image.draft(None, (needed, needed))
        squares, lies = _of_image(image, same, square(head.width / factor, head.height / factor))
        return squares, _region(head.width, head.height, lies)


def _of_photo(photo: jpeg.Photo, profile: bytes | None, resolutions: Sequence[int]) -> dict[int, Pixels]:
    box, pixels = square(photo.width, photo.height), photo.pixels
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
    return {one: np.asarray(convert(Image.fromarray(found))) for one, found in squares.items()}


def _of_image(image: Image.Image, resolutions: Sequence[int], box: Box | None = None) -> tuple[dict[int, Pixels], int]:
    """Return the squares of an opened image, of this box or the central one, and how it lies once it is loaded."""
    source, lies, convert = _flattened(image)
    box = box or square(*source.size)
    sources = dict.fromkeys(resolutions, (source, box))
    if convert and not convert.late:
        sources, convert = _early(convert, source, box, resolutions), None
    return {one: _averaged(part, (one, one), place, lies, convert) for one, (part, place) in sources.items()}, lies


def _early(
    convert: colour.Conversion, source: Image.Image, box: Box, resolutions: Sequence[int]
) -> dict[int, tuple[Image.Image, Box]]:
    """Return for each resolution the image in sRGB and its box, as small as for this resolution alone."""
    factors = {one: colour.reduction(box, _needed(one)) for one in resolutions}
    images = {factor: convert.early(source, box, factor) for factor in set(factors.values())}
    return {one: images[factor] for one, factor in factors.items()}


def _region(width: float, height: float, lies: int) -> Region:
    left, top, right, bottom = square(width, height)
    return Region(left, top, right - left, bottom - top, lies)


def square(width: float, height: float) -> Box:
    """Return the central square of an image of this size: its left, upper, right and lower edge, in pixels."""
    side = _CENTRAL * min(width, height)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
