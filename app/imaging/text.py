"""Image files as text: base64 as browsers, phones and mail programs write it."""

import binascii
import re

from app.errors import EmptyImage, UndecodableImage

DATA_URL = re.compile(r"\s*data:[^,]*,", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_ ", "+/+")  # a form that is decoded once too often turns + into a space
_WRONG = re.compile(r"[^A-Za-z0-9+/]")
_ELSEWHERE = re.compile(r"(https?|ftp|s3|gs|file)://", re.IGNORECASE)
_NAME = re.compile(r"[\w .~:/\\()-]{1,4096}\.\w{2,5}")


def from_base64(text: str) -> bytes:
    """Return the bytes that a text in base64 stands for, also one in a data URL.

    Lines may be broken, the alphabet may be that for URLs, and the padding may be missing. Raises `UndecodableImage`
    that says what is wrong and where, or `EmptyImage`.
    """
    start = DATA_URL.match(text)
    encoded = text[start.end() :] if start else text
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)  # as most write it, and the quickest
    except ValueError:
        return _leniently(encoded, start.end() if start else 0)


def _leniently(encoded: str, offset: int) -> bytes:
    digits = _unbroken(encoded).strip().translate(_URL_SAFE).rstrip("=")
    if not digits:
        if "=" in encoded:
            raise UndecodableImage("the image is not valid base64: it is padding alone")
        raise EmptyImage("the image is empty: the text has no base64 in it")
    if wrong := _WRONG.search(digits):
        raise _refused(encoded, offset, wrong[0])
    if len(digits) % 4 == 1:
        raise UndecodableImage(
            f"the image is not valid base64: {len(digits):,} digits are cut off in the middle of a byte"
        )
    return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))


def _unbroken(text: str) -> str:
    """Return a text without its line breaks and the blanks around them, in time that grows as the text does."""
    return "".join(line.strip(" \t") for line in text.replace("\r", "\n").split("\n"))


def _refused(encoded: str, offset: int, wrong: str) -> UndecodableImage:
    said = encoded.strip()
    if _ELSEWHERE.match(said):
        return UndecodableImage("the image is a URL, which is not fetched; send the bytes of the file in base64")
    if _NAME.fullmatch(said):
        return UndecodableImage("the image is the name of a file, which is not read here; send its bytes in base64")
    at = encoded.find(wrong) + offset
    return UndecodableImage(f"the image is not valid base64: {wrong!r} at position {at:,}")
