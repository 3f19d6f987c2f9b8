"""Pillow as strangers' files need it: quiet, in many threads, within bounds, with no other reader than is asked for."""

import ctypes
import logging
import warnings
from typing import Final

from PIL import Image, ImageFile, TiffImagePlugin, WebPImagePlugin, _imaging  # noqa: F401 (registers)

from app.imaging.bounds import Metered, check_memory, check_pixels
from app.imaging.codecs import bmp, gif, heif, markers, png, tiff, webp

_BYTES: Final = {"WEBP": 16, "TIFF": tiff.BYTES}  # that a pixel takes for a moment, measured
_OTHER_BYTES: Final = 12

Image.preinit()  # BMP, GIF, JPEG and PNG; with those imported above a request has nothing left to load
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit would answer before `max_pixels` does
warnings.filterwarnings("ignore", module=r"PIL\.")  # here and not in a call: `catch_warnings` is not thread-safe
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs what is wrong with callers' files
# libtiff prints it, to the standard error of the process; the one that Pillow brings is told not to.
if silence_libtiff := getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", None):
    silence_libtiff(None)


def opened(raw: bytes, kind: str, max_pixels: int, large: bool) -> Image.Image:
    """Open an image file of one of `FORMATS` that is no JPEG; `info` has its `icc_profile`, where it is not sRGB.

    Raises `TooManyPixels` and `LargeImage` by the header, before memory is taken, `UndecodableImage` for work out of
    proportion, and whatever Pillow does for damaged files.
    """
    if kind in ("HEIC", "AVIF"):
        return heif.opened(raw, max_pixels, large)
    if kind == "BMP" and (image := bmp.unpacked(raw, max_pixels, large)):
        return image
    if kind == "WEBP":  # takes its memory as soon as it is opened, the others when they are loaded
        _check(webp.size(raw), kind, max_pixels, large)
        raw = webp.plain(raw)
    if kind == "TIFF":
        tiff.check_tags(raw)
    return _by_pillow(raw, kind, max_pixels, large)


def opened_jpeg(raw: bytes, head: markers.Header) -> Image.Image:
    """Open a JPEG whose costs were checked."""
    image = _header_read(markers.plain(raw, head), "JPEG")
    image.info["icc_profile"] = head.profile
    return image


def _by_pillow(raw: bytes, kind: str, max_pixels: int, large: bool) -> Image.Image:
    if kind == "PNG":
        raw, profile = png.plain(raw)
    image = _header_read(gif.plain(raw) if kind == "GIF" else raw, kind)
    _check(image.size, kind, max_pixels, large)
    if kind == "TIFF":
        tiff.check_work(image, raw, max_pixels, large)
        tiff.check_range(image)
    if kind == "PNG":
        image.info["icc_profile"] = profile
    if kind == "BMP":
        image.info["icc_profile"] = bmp.profile(raw)
    return image


def _header_read(raw: bytes, kind: str) -> ImageFile.ImageFile:
    file = Metered(raw)
    image = Image.open(file, formats=(kind,))
    file.header_is_read()
    return image


def _check(size: tuple[int, int], kind: str, max_pixels: int, large: bool) -> None:
    check_pixels(*size, max_pixels)
    check_memory(size[0] * size[1] * _BYTES.get(kind, _OTHER_BYTES), large)
