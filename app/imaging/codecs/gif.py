"""GIF: the file without the comments and the metadata before its first picture, which Pillow reads bit by bit."""

from typing import Final

from app.imaging.bounds import too_much_work

_EXTENSION, _PICTURE = 0x21, 0x2C
_CONTROL: Final = 0xF9  # of the picture that follows: its transparent colour
_MOST_STEPS: Final = 300_000
_SHORT: Final = 64  # bytes of text that an honest block holds more of, on average
_FREE_STEPS: Final = 2_000


def plain(raw: bytes) -> bytes:
    """Return the file with nothing between its palette and its first picture but what says how to draw it.

    XMP in a GIF is text that a reader takes for thousands of blocks, so that blocks are bounded by what they hold: a
    file of empty ones raises `UndecodableImage`.
    """
    palette = 3 * (2 << (raw[10] & 7)) if raw[10] & 0x80 else 0
    start = at = 13 + palette
    control, steps = b"", 0
    while raw[at] != _PICTURE:
        begin = at
        at += 2 if raw[at] == _EXTENSION else 1
        while raw[begin] == _EXTENSION and (size := raw[at]):
            at += size + 1
            steps += 1
        at += raw[begin] == _EXTENSION
        steps += 1
        if steps > min(_MOST_STEPS, _FREE_STEPS + (at - start) // _SHORT):
            raise too_much_work()
        if raw[begin] == _EXTENSION and raw[begin + 1] == _CONTROL:
            control = raw[begin:at]
    return raw[:start] + control + raw[at:]
