"""Pixels in the colours of an ICC profile -> sRGB, the colours that the networks were trained on.

Cameras and editors write other ones: Display P3, Adobe RGB, ProPhoto RGB, the inks of a press. Read as sRGB, they are
paler or wrong. LittleCMS converts them; a profile that is sRGB's own, or damaged, or of another kind than the pixels,
changes nothing.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.imaging.bounds import PROFILE_BYTES
from app.imaging.profile import checked
from app.imaging.resize import Box

_KEPT: Final = 32  # conversions: of CMYK 2 MB each, of RGB some KB
_SAME: Final = 1  # levels that a profile may move a colour, and still be sRGB's
_LATE: Final = 8.0  # levels; see `Conversion.late`
_REACH: Final = 8  # scaling a box to n pixels looks an n-th of its side beyond it, and there are more than 8 pixels
_CLASSES: Final = frozenset(("scnr", "mntr", "prtr", "spac"))  # of devices and their colours; not links, names, effects
_MODES: Final = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SRGB: Final = ImageCms.createProfile("sRGB")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Conversion:
    """The way to sRGB from one profile, for images of one mode.

    `late` says that small pixels may be converted in place of all: averaged first, colours come out as they would if
    they were averaged last. It is so for profiles whose curves and primaries are near those of sRGB, as Display P3 and
    Adobe RGB are. Inks and steep curves have to be converted first.
    """

    transform: ImageCms.ImageCmsTransform
    mode: str
    late: bool

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image in sRGB, as RGB."""
        found = self.transform.apply(image if image.mode == self.mode else image.convert(self.mode))
        return found if found.mode == "RGB" else found.convert("RGB")

    def early(self, image: Image.Image, box: Box, factor: int) -> tuple[Image.Image, Box]:
        """Return what scaling the box looks at in sRGB, first made so many times smaller, and the box in it."""
        small = image.reduce(factor) if factor > 1 else image
        left, top, right, bottom = (side / factor for side in box)
        reach = (right - left) / _REACH + 2
        first_column, first_row = max(0, int(left - reach)), max(0, int(top - reach))
        last_column, last_row = min(small.width, int(right + reach)), min(small.height, int(bottom + reach))
        near = small.crop((first_column, first_row, last_column, last_row))
        return self(near), (left - first_column, top - first_row, right - first_column, bottom - first_row)


def reduction(box: Box, needed: int) -> int:
    """Return how many times smaller a box may become for its shorter side to keep `needed` pixels; at least once."""
    return max(1, int(min(box[2] - box[0], box[3] - box[1]) // needed))


_conversions: dict[tuple[bytes, str], Conversion | None] = {}  # the last one that was asked for is the last
_lock = Lock()


def conversion(profile: bytes | None, mode: str) -> Conversion | None:
    """Return how images of this mode (L, RGB or CMYK) get from the profile to sRGB; None if they are left as they are.

    It takes milliseconds for a profile, and microseconds while that is one of the last 32 that were asked for.
    """
    if not profile or len(profile) > PROFILE_BYTES:
        return None
    key = hashlib.sha256(profile).digest(), mode
    with _lock:
        if key in _conversions:
            _conversions[key] = found = _conversions.pop(key)  # the last one now
            return found
    found = _found(profile, mode)
    with _lock:
        _conversions[key] = found
        while len(_conversions) > _KEPT:
            del _conversions[next(iter(_conversions))]
    return found


def _found(profile: bytes, mode: str) -> Conversion | None:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(checked(profile)))
        takes = _MODES.get(source.profile.xcolor_space)
        if takes is None or source.profile.device_class.strip() not in _CLASSES or not _fits(takes, mode):
            return None
        transform = ImageCms.buildTransform(source, _SRGB, takes, "RGB", ImageCms.Intent.PERCEPTUAL)
        return _tried(transform, takes)
    except Exception:  # a damaged profile is no reason to refuse good pixels
        return None


def _fits(takes: str, mode: str) -> bool:
    """Whether a profile for `takes` says something of an image of `mode`: grey is a colour of RGB too."""
    return takes == mode or (takes, mode) == ("RGB", "L")


def _tried(transform: ImageCms.ImageCmsTransform, takes: str) -> Conversion | None:
    """Find out by some colours whether it changes any, and whether it matters when."""
    if takes != "RGB":
        same = takes == "L" and _distance(_applied(transform, _RAMP), np.repeat(_RAMP[:, None], 3, 1)).max() <= _SAME
        return None if same else Conversion(transform, takes, late=False)
    if _distance(_applied(transform, _LATTICE), _LATTICE).max() <= _SAME:
        return None
    first, second, between = (_applied(transform, colours) for colours in _PAIRS)
    error = np.abs(between - (first + second) / 2).mean()
    return Conversion(transform, takes, late=bool(error <= _LATE))


def _applied(transform: ImageCms.ImageCmsTransform, colours: Pixels) -> NDArray[np.float64]:
    """Convert a list of colours, `[n, 3]` or of grey `[n]`; return `[n, 3]`."""
    found: NDArray[np.float64] = np.asarray(transform.apply(Image.fromarray(colours[None])), np.float64)
    return found.reshape(-1, 3)


def _distance(first: NDArray[np.float64], second: Pixels) -> NDArray[np.float64]:
    return np.asarray(np.abs(first - second))


def _pairs() -> tuple[Pixels, Pixels, Pixels]:
    """Return random colours, as many others, and what lies between."""
    first, second = np.random.default_rng(0).integers(0, 256, (2, 1024, 3))
    return first.astype(np.uint8), second.astype(np.uint8), ((first + second) // 2).astype(np.uint8)


_RAMP: Final = np.arange(256, dtype=np.uint8)
_LATTICE: Final = np.array([*product(range(0, 256, 51), repeat=3), *([shade] * 3 for shade in range(256))], np.uint8)
_PAIRS: Final = _pairs()
