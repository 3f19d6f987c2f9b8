"""What may be passed as an image, and the bytes of an image file that are sent for it.

Pillow and NumPy are not needed: whoever passes an object of theirs has imported them.
"""

import os
import struct
import sys
import zlib
from io import BytesIO
from typing import Any, Final, Protocol

from app.errors import Unreadable, first_line, why

ALLOWED: Final = "a path, the bytes of an image file, a binary file object, a PIL image or a NumPy array"
MODES: Final = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
"""The modes of PIL images that a PNG holds without a loss."""
COLOUR_TYPES: Final = {1: 0, 3: 2, 4: 6}
"""PNG's number for the colours of an array, by how many numbers each pixel has: grey, RGB and RGBA."""
SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_ORIENTATION: Final = 0x0112  # the EXIF tag of how a photo has to be turned
_FAST: Final = 1  # zlib's level: higher ones take several times as long and save a tenth


class File(Protocol):
    """A file object that is opened in binary mode."""

    def read(self) -> bytes:
        """Return all bytes from the current position on."""
        ...


class Picture(Protocol):
    """An image of Pillow, of one of `MODES`."""

    @property
    def mode(self) -> str:
        """What its pixels are."""
        ...

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002 (Pillow's name)
        """Write it to a file."""
        ...


class Array(Protocol):
    """An array of NumPy: uint8, 0 to 255, of shape (height, width), or with a last axis of 3 (RGB) or 4 (RGBA)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and how many numbers each pixel has."""
        ...

    @property
    def dtype(self) -> Any:
        """The kind of its numbers."""
        ...


Image = str | os.PathLike[str] | bytes | bytearray | memoryview | File | Picture | Array
"""An image for the service. A `str` is always a path, and `bytes` are always the content of an image file.

Images of Pillow and arrays of NumPy are sent as PNG, without a loss.
"""


def content(image: Image) -> bytes:
    """Return the bytes to send for an image.

    Raises `TypeError` for an object of another type, `ValueError` for pixels that a PNG does not hold, and `Unreadable`
    for a file or an image of Pillow that cannot be read.
    """
    match image:
        case bytes():
            return image
        case bytearray() | memoryview():
            return bytes(image)
        case str() | os.PathLike():
            return _read(image)
    if _is_a("PIL.Image", "Image", image):
        return _png_of_picture(image)
    if _is_a("numpy", "ndarray", image):
        return _png_of_array(image)
    if hasattr(image, "read"):
        return _rest(image)
    raise TypeError(f"an image must be {ALLOWED}, not {type(image).__name__}")


def content_or_error(image: Image) -> bytes | Unreadable:
    """Return the bytes to send for an image, or why there are none."""
    try:
        return content(image)
    except Unreadable as exc:
        return exc
    except (TypeError, ValueError) as exc:
        return Unreadable(str(exc))


def is_one(images: object) -> bool:
    """Whether this is an image itself, and not many: to go through it would give letters, bytes, lines or rows."""
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(images, "read"):
        return True
    shape = getattr(images, "shape", None)
    rows = isinstance(shape, tuple) and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4)))
    return rows or _is_a("PIL.Image", "Image", images)


def bytes_about(image: Image) -> int:
    """Return about how many bytes an image has, without reading it; 0 if that cannot be known."""
    if isinstance(image, str | os.PathLike):
        try:
            return os.stat(image).st_size
        except (OSError, ValueError):
            return 0
    if _is_a("PIL.Image", "Image", image):
        picture: Any = image
        return int(picture.width * picture.height * len(picture.getbands()))
    return len(image) if isinstance(image, bytes | bytearray) else int(getattr(image, "nbytes", 0))


def _is_a(module: str, name: str, image: object) -> bool:
    """Whether an object is of a class of a module that this one does not import."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(image, kind)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise Unreadable(f"{os.fspath(path)}: {exc.strerror or exc}") from exc


def _rest(file: Any) -> bytes:
    try:
        found = file.read()
    except UnicodeDecodeError:
        found = ""  # it is in text mode, in which a photo cannot be read
    except Exception as exc:  # OSError, EOFError, zlib.error and many more
        raise Unreadable(f"{getattr(file, 'name', '') or 'the file object'}: {why(exc)}") from exc
    if not isinstance(found, bytes):
        raise TypeError(
            f"a file object must be opened in binary mode, such as 'rb'; this one gives {type(found).__name__}"
        )
    return found


def _png_of_picture(picture: Any) -> bytes:
    """Return the PNG of an image of Pillow, with its colour profile, and turned as its EXIF data says."""
    if picture.mode not in MODES:
        raise ValueError(
            f"a PIL image of mode {picture.mode} cannot be sent; allowed are {', '.join(MODES)}: "
            "convert it, for example with image.convert('RGB')"
        )
    try:
        picture.load()  # first, because Pillow turns the pixels of a TIFF now, and deletes its orientation
        exif = picture.getexif()
        orientation = type(exif)()  # nothing else of the EXIF data matters here, and it may be private
        if _ORIENTATION in exif:
            orientation[_ORIENTATION] = exif[_ORIENTATION]
        file = BytesIO()
        picture.save(file, "PNG", compress_level=_FAST, exif=orientation)
    except Exception as exc:  # OSError, SyntaxError, RuntimeError and many more
        raise Unreadable(f"the PIL image cannot be read: {first_line(exc)}") from exc
    return file.getvalue()


def _png_of_array(array: Any) -> bytes:
    """Return the PNG of an array, whose rows are stored as differences to the row above, which compress better."""
    height, width, channels = _checked(array)
    rows = array.reshape(height, width * channels)
    filtered = [b"\0" + rows[0].tobytes(), *(b"\2" + row.tobytes() for row in rows[1:] - rows[:-1])]
    head = struct.pack(">2I5B", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    pixels = zlib.compress(b"".join(filtered), _FAST)
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _checked(array: Any) -> tuple[int, int, int]:
    """Return the height, the width and the numbers of each pixel of an array. Raises `ValueError`."""
    allowed = (
        "allowed are arrays of uint8, 0 to 255, of shape (height, width), (height, width, 3) or (height, width, 4)"
    )
    if array.dtype != "uint8":
        raise ValueError(f"an array of {array.dtype} cannot be sent; {allowed}")
    height, width, channels = array.shape if array.ndim == 3 else (*array.shape, 1) if array.ndim == 2 else (0, 0, 0)
    if not (height and width) or (array.ndim == 3 and channels not in (3, 4)):
        raise ValueError(f"an array of shape {tuple(array.shape)} cannot be sent; {allowed}")
    return height, width, channels


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
