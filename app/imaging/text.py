"""Image files as text: base64 as browsers, phones and mail programs write it."""

import binascii
import io
import re
from collections.abc import Iterable
from typing import Final

from app.errors import EmptyImage, UndecodableImage

DATA_URL = re.compile(r"\s*data:[^,]*,", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_ ", b"+/+")  # a form that is decoded once too often turns + into a space
_WRONG = re.compile(rb"[^A-Za-z0-9+/]")
_DIGITS: Final = 4  # that stand for three bytes; lines have a multiple of them
_BREAKS: Final = b"\r\n"
_TABS: Final = b"\t\f\v"
_BLANK = re.compile(rb"[ \t\f\v]")
_ELSEWHERE = re.compile(r"(https?|ftp|s3|gs|file)://", re.IGNORECASE)
_NAME = re.compile(r"[\w .~:/\\()-]{1,4096}\.\w{2,5}")


def from_base64(text: str) -> bytes:
    """Return the bytes that a text in base64 stands for, also one in a data URL.

    Lines may be broken, the alphabet may be that for URLs, each + may have become a space, and the padding may be
    missing. Raises `UndecodableImage` that says what is wrong and where, or `EmptyImage`.
    """
    start = DATA_URL.match(text)
    encoded = text[start.end() :] if start else text
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)  # as most write it, and the quickest
    except ValueError:
        bare = encoded.lstrip()
        return _leniently(bare.rstrip(), len(text) - len(bare))


def _leniently(encoded: str, offset: int) -> bytes:
    data = encoded.encode("ascii", "replace")
    digits = _unbroken(data).translate(_URL_SAFE).rstrip(b"=")
    if not digits:
        if "=" in encoded:
            raise UndecodableImage("the image is not valid base64: it is padding alone")
        raise EmptyImage("the image is empty: the text has no base64 in it")
    if wrong := _WRONG.search(digits):
        raise _refused(encoded, _place(data, wrong.start()), offset)
    if len(digits) % _DIGITS == 1:
        raise UndecodableImage(
            f"the image is not valid base64: {len(digits):,} digits are cut off in the middle of a byte"
        )
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % _DIGITS))


def _unbroken(data: bytes) -> bytes:
    """Return a text without its line breaks and the blanks around them.

    The time that it takes grows as the text does, and no line is kept for longer than its turn.
    """
    if not _BLANK.search(data):
        return data.translate(None, _BREAKS)
    found, lost = bytearray(), _lacks_plus(data)
    for line in _lines(data):
        found += _bare(line, lost)
    return bytes(found)


def _place(data: bytes, index: int) -> int:
    """Return where in a text the digit is that has this index without line breaks and blanks."""
    start, lost = 0, _lacks_plus(data)
    for line in _lines(data):
        bare = _bare(line, lost)
        if index < len(bare):
            return start + line.find(bare) + index
        index -= len(bare)
        start += len(line)
    raise IndexError(index)


def _lines(data: bytes) -> Iterable[bytes]:
    return io.BytesIO(data.replace(b"\r", b"\n"))


def _lacks_plus(data: bytes) -> bool:
    return b"+" not in data and b"-" not in data


def _bare(line: bytes, lost: bool) -> bytes:
    """Return a line without the blanks around it; those around the whole text are gone already.

    Where each + was `lost`, and became a blank, a line that is whole only with the blanks around it keeps them.
    """
    bare = line.strip(b" " + _TABS + _BREAKS)
    if lost and len(bare) % _DIGITS and not len(full := line.strip(_TABS + _BREAKS)) % _DIGITS:
        return full
    return bare


def _refused(encoded: str, at: int, offset: int) -> UndecodableImage:
    if _ELSEWHERE.match(encoded):
        return UndecodableImage("the image is a URL, which is not fetched; send the bytes of the file in base64")
    if _NAME.fullmatch(encoded):
        return UndecodableImage("the image is the name of a file, which is not read here; send its bytes in base64")
    return UndecodableImage(f"the image is not valid base64: {encoded[at]!r} at position {at + offset:,}")
