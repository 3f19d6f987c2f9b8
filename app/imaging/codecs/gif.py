"""GIF: its first picture, and what of the screen that leaves open.

Pillow reads the comments and the metadata before a picture bit by bit, and shows what is open in a colour.
"""

from typing import Final

from PIL import GifImagePlugin, Image

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


def uncovered(image: Image.Image) -> list[tuple[int, int, int, int]]:
    """Return the boxes of the screen that the first picture of a loaded GIF leaves open; none for any other image.

    They are transparent, as browsers show them.
    """
    if not isinstance(image, GifImagePlugin.GifImageFile) or image.dispose_extent is None:
        return []
    width, height = image.size
    left, top, right, bottom = image.dispose_extent
    around = (0, 0, width, top), (0, bottom, width, height), (0, top, left, bottom), (right, top, width, bottom)
    return [box for box in around if box[0] < box[2] and box[1] < box[3]]
