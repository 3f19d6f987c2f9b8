"""Where in a file the pixels lie that the network sees."""

from typing import NamedTuple


class Region(NamedTuple):
    """Where the central square of an image lies among the pixels of its file, and how these are turned.

    All but the orientation are in pixels. The orientation is that of EXIF, 1 to 8: how the pixels of the file are
    turned to be upright, as the square is.
    """

    left: float
    top: float
    width: float
    height: float
    orientation: int
