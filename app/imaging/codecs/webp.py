"""WebP: its size by its header, for Pillow takes memory for the whole canvas as soon as it opens one (RFC 9649)."""

_FLAGS = 20  # where an extended file has them
_ALPHA, _ANIMATION = 16, 2


def plain(raw: bytes) -> bytes:
    """Return the file, with transparency if it is an animation: its first picture need not cover the whole canvas.

    What it leaves open is transparent, as browsers show it. Pillow makes that black if the file says that nothing is.
    """
    if raw[12:16] != b"VP8X" or raw[_FLAGS] & (_ALPHA | _ANIMATION) != _ANIMATION:
        return raw
    return raw[:_FLAGS] + bytes([raw[_FLAGS] | _ALPHA]) + raw[_FLAGS + 1 :]


def size(raw: bytes) -> tuple[int, int]:
    """Return width and height in pixels."""
    if raw[12:16] == b"VP8X":
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if raw[12:16] == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(raw[26:28], "little") & 0x3FFF, int.from_bytes(raw[28:30], "little") & 0x3FFF
