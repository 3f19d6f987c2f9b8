"""What decoding one image may cost: pixels, memory and work, each known before it is spent."""

from io import BytesIO
from math import inf
from typing import Final

from app.errors import TooManyPixels, UndecodableImage

CODED: Final = 4
"""How many times `max_pixels` a JPEG may have in the file: it is scaled while it is decoded, and costs time alone."""
BYTES: Final = 16
"""Memory that one of `max_pixels` pixels may take: the greediest formats hold four copies of 4 bytes."""
SCANS: Final = 100
"""How often the `max_pixels` pixels of a progressive JPEG may be gone over; encoders do it about ten times."""
LAYERS: Final = 8
"""How many times its own area a file may paint: separate planes of a TIFF need up to 6."""

PROFILE_BYTES: Final = 4 * 2**20
"""How large an ICC profile may be to be read; those of presses have up to 3 MB."""

LARGE_BYTES: Final = 144_000_000
"""Memory that one image may take beside another; of those that take more one is decoded at a time."""

_HEADER_READS: Final = 2_000
_READS: Final = 500_000


class LargeImage(Exception):
    """Decoding the image takes more than 144 MB, the memory that is there for one such image at a time."""


class Metered(BytesIO):
    """A file of which only so many reads may be made: for each of them Pillow does a small piece of work in Python."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes. Raises `UndecodableImage` once too many reads were made."""
        self._left -= 1
        if self._left < 0:
            raise too_much_work()
        return super().read(size)

    def header_is_read(self) -> None:
        """Allow the many more reads that pixels take."""
        self._left = _READS


def check_pixels(width: int, height: int, max_pixels: int, decoded: int | None = None) -> None:
    """Raise `TooManyPixels` for an image of more than `max_pixels`, or of which more than so many are `decoded`."""
    if (width * height if decoded is None else decoded) > max_pixels:
        raise TooManyPixels(f"the image has {width:,} × {height:,} pixels, and {max_pixels:,} in all is the most")


class _Room:
    """How many bytes decoding one image may take in this process."""

    size: float = inf


_room = _Room()


def allow(size: float) -> None:
    """Refuse from now on images whose decoding takes more bytes than this, whatever `max_pixels` says."""
    _room.size = size


def check_memory(size: int, large: bool) -> None:
    """Refuse an image whose decoding takes more bytes than there are for one.

    Raises `TooManyPixels`, or `LargeImage` for many bytes unless `large` ones are welcome.
    """
    if size > _room.size:
        raise TooManyPixels(
            f"decoding the image takes about {size / 1e6:,.0f} MB, and the memory limit of the service leaves "
            f"{max(0, _room.size) / 1e6:,.0f} MB for it"
        )
    if not large and size > LARGE_BYTES:
        raise LargeImage


def too_much_work() -> UndecodableImage:
    """Return the error for a file that was built to cost far more than an image of its size."""
    return UndecodableImage("the image is built to take far more work than its size says")
