"""HEIC and AVIF: images in boxes, coded as HEVC by phones or as AV1 for the web."""

from dataclasses import dataclass
from io import BytesIO
from typing import Final

import pi_heif
from PIL import AvifImagePlugin, Image

from app.errors import UndecodableImage, UnsupportedImage
from app.imaging.bounds import check_pixels
from app.imaging.codecs import icc
from app.imaging.codecs.heif import costs
from app.imaging.codecs.heif.boxes import Box, Item, Items, items

_CODINGS: Final = {
    b"avc1": "H.264", b"vvc1": "H.266", b"jpeg": "JPEG", b"j2k1": "JPEG 2000", b"unci": "no compression"
}  # fmt: skip
_BOTH: Final = b"avif"

# One thread: the service decodes as many images at once as it has processors, and more threads take more memory.
pi_heif.options.DECODE_THREADS = 1
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@dataclass(frozen=True, slots=True)
class Still:
    """The primary image of a file: how it is coded, its size before it is turned, what is cut off it, its colours."""

    codec: str
    width: int
    height: int
    crop: tuple[float, float, float, float] | None
    profile: bytes | None


def opened(raw: bytes, max_pixels: int, large: bool) -> Image.Image:
    """Decode the primary image of a HEIC or AVIF file; `info` has its `icc_profile`, where it is not sRGB.

    A HEIC is upright already; of an AVIF the EXIF orientation says how it is to be turned. In both it is the container
    that counts: EXIF repeats it, and is wrong where it does not. Raises `UnsupportedImage` for other codings, and for
    images over one another; `TooManyPixels` and `LargeImage` before memory is taken; `UndecodableImage` for more work
    than the size says.
    """
    listed = items(raw)
    if listed is None:
        raise UndecodableImage("the HEIC or AVIF file has no still image; a film or a sequence alone is not read")
    still = _still(raw, listed)
    check_pixels(still.width, still.height, max_pixels)
    costs.check(raw, listed, still.width * still.height, max_pixels, large)
    image = _by_libheif(raw) if still.codec == "HEIC" else _by_libavif(raw, still)
    image.info = {key: image.info[key] for key in ("exif",) if still.codec == "AVIF" and key in image.info}
    image.info["icc_profile"] = still.profile
    return image


def _by_libheif(raw: bytes) -> Image.Image:
    image: Image.Image = pi_heif.open_heif(raw, convert_hdr_to_8bit=True).to_pillow()
    return image


def _by_libavif(raw: bytes, still: Still) -> Image.Image:
    # An animation is opened as the still image that it has too: `avis` would make libavif read its first frame, whose
    # size is said elsewhere.
    image = Image.open(BytesIO(raw[:8] + _BOTH + raw[12:]), formats=("AVIF",))
    image.load()
    return image.crop(still.crop) if still.crop else image


def _still(raw: bytes, listed: Items) -> Still:
    primary = listed.all.get(listed.primary, Item())
    size = primary.of(b"ispe")
    if size is None:
        raise UndecodableImage("the HEIC or AVIF file does not say how large its image is")
    parts = [listed.all.get(number, Item()) for number in costs.uses(listed)]
    kinds = [item.kind for item in parts if item.kind not in costs.DERIVED]
    codecs = {costs.CODECS.get(kind) for kind in kinds}
    if len(codecs) != 1 or None in codecs:
        raise _unsupported(kinds)
    width, height = (int.from_bytes(raw[size.start + at : size.start + at + 4], "big") for at in (4, 8))
    if primary.kind == costs.GRID and costs.canvas(raw, primary) != (width, height):
        raise ValueError("a grid of another size than its image")
    crop = primary.of(b"clap")
    return Still(str(codecs.pop()), width, height, crop and _crop(raw, crop, width, height), _profile(raw, parts))


def _unsupported(kinds: list[bytes]) -> UnsupportedImage:
    coding = next((_CODINGS[kind] for kind in kinds if kind in _CODINGS), "something unknown")
    return UnsupportedImage(f"the image in the HEIF file is coded as {coding}; HEVC (HEIC) and AV1 (AVIF) are read")


def _crop(raw: bytes, box: Box, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of the clean aperture (ISO/IEC 14496-12, 12.1.4), None if it is nonsense."""
    numbers = [int.from_bytes(raw[at : at + 4], "big", signed=True) for at in range(box.start, box.start + 32, 4)]
    if min(numbers[1::2]) <= 0:
        return None
    wide, high, right, down = (round(top / bottom) for top, bottom in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = round((width - wide) / 2 + right), round((height - high) / 2 + down)
    inside = wide > 0 and high > 0 and 0 <= left <= width - wide and 0 <= top <= height - high
    return (left, top, left + wide, top + high) if inside else None


def _profile(raw: bytes, parts: list[Item]) -> bytes | None:
    """Return the ICC profile, or one for what H.273's code points say; None where they say sRGB or nothing."""
    found = [one for item in parts for one in item.properties if one.kind == b"colr"]
    places = {raw[one.start : one.start + 4]: one for one in reversed(found)}
    colours = {kind: raw[one.start + 4 : one.end] for kind, one in places.items()}
    if icc_profile := colours.get(b"prof") or colours.get(b"rICC"):
        return icc_profile
    if len(points := colours.get(b"nclx", b"")) >= 4:
        return icc.of_code_points(points[1], points[3])
    return None
