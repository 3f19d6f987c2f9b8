"""BMP packed in run lengths, as old screenshots are: Pillow unpacks it a run at a time in Python, here it is arrays.

The codes are words of two bytes: so many pixels of a colour, or an escape (the end of a row or of the picture, a jump,
pixels as they are). Rows come one after the other, so that the picture is the colours repeated as often as they say.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.imaging.bounds import check_memory, check_pixels

_BYTES: Final = 8  # that a pixel takes while it is unpacked
_PACKINGS: Final = {(1, 8), (2, 4)}  # and the bits of a pixel
_END_OF_ROW, _END, _JUMP = 0, 1, 2
_STEP_BYTES: Final = 4  # that a file takes at most for a pixel, or for the end of a row: a jump
_PIECE: Final = 2**14  # words laid out at once

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]


class _Header(NamedTuple):
    start: int
    size: int
    width: int
    height: int
    bits: int
    packing: int
    colours: int


class _Piece(NamedTuple):
    """Some codes of a picture in order, and what each does to the place of the next pixel."""

    runs: Numbers  # how many pixels; 0 for an escape
    values: Numbers  # their colour, or which escape
    behind: Numbers  # where in the file's bytes the next word starts
    across: Numbers  # pixels to the right
    down: Numbers  # rows

    @property
    def row_ends(self) -> NDArray[np.bool_]:
        return np.asarray((self.runs == 0) & (self.values == _END_OF_ROW))

    @property
    def ends(self) -> bool:
        """Whether the picture ends with it."""
        return bool(self.runs[-1] == 0 and self.values[-1] == _END)

    @property
    def literals(self) -> NDArray[np.bool_]:
        return np.asarray((self.runs == 0) & (self.values > _JUMP))


def unpacked(raw: bytes, max_pixels: int, large: bool) -> Image.Image | None:
    """Return the picture of a BMP of run lengths, mode P; None for any other BMP.

    Raises `TooManyPixels` or `LargeImage` before memory is taken, and `ValueError` if pixels are missing.
    """
    header = _header(raw)
    if header is None:
        return None
    width, height = header.width, abs(header.height)
    check_pixels(width, height, max_pixels)
    check_memory(width * height * _BYTES, large)
    pixels = _pixels(raw, header).reshape(height, width)
    image = Image.fromarray(pixels if header.height < 0 else pixels[::-1], "P")
    palette = 14 + header.size
    image.putpalette(raw[palette : palette + 4 * header.colours], "BGRX")
    return image


def _header(raw: bytes) -> _Header | None:
    if len(raw) < 54:
        return None
    start, size, width, height, bits, packing, colours = struct.unpack_from("<IIiixxHI12xI", raw, 10)
    known = size >= 40 and (packing, bits) in _PACKINGS and width > 0 and height != 0
    return _Header(start, size, width, height, bits, packing, min(colours or 1 << bits, 256)) if known else None


def _pixels(raw: bytes, header: _Header) -> Bytes:
    """Unpack the codes, of which there are no more than the picture has pixels and rows: what is behind is not read.

    It takes memory for the picture and for a piece of the codes.
    """
    width, height = header.width, abs(header.height)
    stream = np.frombuffer(raw, np.uint8)[header.start :][: _STEP_BYTES * (width + 1) * (height + 1)]
    words = stream[: len(stream) // 2 * 2].reshape(-1, 2)
    canvas = np.zeros(width * height, np.uint8)
    row, column, filled, ended = 0, 0, 0, False
    for at in _codes(words, header.bits):
        piece = _piece(words, at)
        rows, columns = _places(piece, row, column)
        starts, counts = _areas(piece, rows, columns, header)
        _lay_runs(canvas, piece, starts, counts, header.bits)
        _lay_literals(canvas, stream, piece, (starts, counts), header.bits)
        row, column = int(rows[-1] + piece.down[-1]), int(columns[-1] + piece.across[-1])
        column = 0 if piece.row_ends[-1] else column
        filled, ended = max(filled, int(starts[-1] + counts[-1])), piece.ends
    if row < height - ended and filled < len(canvas):
        raise ValueError(f"the picture ends in row {row}")
    return canvas


def _codes(words: Bytes, bits: int) -> Iterator[Numbers]:
    """Yield piece by piece which words are codes, up to the one that ends the picture.

    The others belong to an escape, which says how many they are: a jump, or pixels filled up to a whole word.
    """
    now = 0
    for first in range(0, len(words), _PIECE):
        part = words[first : first + _PIECE]
        maybe = np.flatnonzero((part[:, 0] == 0) & (part[:, 1] >= _JUMP))
        values = part[maybe, 1].astype(np.int64)
        behind = np.where(values == _JUMP, 1, -(-values * bits // 16)) + maybe + 1
        changes = np.zeros(len(part) + 256, np.int8)
        changes[0] += 1
        changes[now] -= 1  # what the escape before this piece still has in it
        real = []
        for index, (start, end) in enumerate(zip(maybe.tolist(), behind.tolist(), strict=True)):
            if start >= now:
                now = end
                real.append(index)
        changes[maybe[real] + 1] += 1
        changes[behind[real]] -= 1
        now = max(0, now - len(part))
        at = first + np.flatnonzero(np.cumsum(changes[: len(part)], dtype=np.int8) == 0)
        ends = np.flatnonzero((words[at, 0] == 0) & (words[at, 1] == _END))
        if len(at):
            yield at[: ends[0] + 1] if len(ends) else at
        if len(ends):
            return


def _piece(words: Bytes, at: Numbers) -> _Piece:
    runs, values = words[at].astype(np.int64).T
    across = np.where(runs > 0, runs, values)
    down = np.zeros_like(across)
    down[(runs == 0) & (values == _END_OF_ROW)] = 1
    jumps = np.flatnonzero((runs == 0) & (values == _JUMP))
    across[jumps], down[jumps] = words[np.minimum(at[jumps] + 1, len(words) - 1)].T
    return _Piece(runs, values, 2 * at + 2, across, down)


def _places(piece: _Piece, row: int, column: int) -> tuple[Numbers, Numbers]:
    """Return in which row and column each code starts: by the steps down, and those across since the row began."""
    rows = row + np.cumsum(piece.down) - piece.down
    steps = column + np.cumsum(piece.across) - piece.across
    began = np.maximum.accumulate(np.where(piece.row_ends, steps, 0))
    return rows, steps - np.concatenate([[0], began[:-1]])


def _areas(piece: _Piece, rows: Numbers, columns: Numbers, header: _Header) -> tuple[Numbers, Numbers]:
    """Return where in the picture each code's pixels start and how many they are, nothing outside of a row."""
    width, height = header.width, abs(header.height)
    counts = np.clip(np.minimum(piece.across, width - columns), 0, None)
    counts[(piece.runs == 0) & ~piece.literals | (rows >= height)] = 0
    return np.minimum(rows * width + np.minimum(columns, width), width * height), counts


def _lay_runs(canvas: Bytes, piece: _Piece, starts: Numbers, counts: Numbers, bits: int) -> None:
    """Repeat each colour as often as it is to be, with nothing between where codes jump."""
    gaps = np.diff(starts, prepend=starts[:1]) - np.concatenate([[0], counts[:-1]])
    repeats = np.stack([gaps, counts], axis=1).reshape(-1)
    place, values = canvas[starts[0] : starts[-1] + counts[-1]], piece.values.astype(np.uint8)
    if bits == 8:
        place[:] = _repeated(values, repeats)
        return
    first, second = values >> 4, values & 15  # by turns, counted from the start of the run
    odd = (starts - starts[0]) & 1 == 1
    place[::2] = _repeated(np.where(odd, second, first), repeats)[::2]
    place[1::2] = _repeated(np.where(odd, first, second), repeats)[1::2]


def _repeated(colours: Bytes, repeats: Numbers) -> Bytes:
    """Repeat by turns nothing and a colour."""
    return np.repeat(np.stack([np.zeros_like(colours), colours], axis=1).reshape(-1), repeats)


def _lay_literals(canvas: Bytes, stream: Bytes, piece: _Piece, areas: tuple[Numbers, Numbers], bits: int) -> None:
    """Copy the pixels that are as they are over what was laid in their place."""
    starts, counts = areas
    which = np.flatnonzero(piece.literals & (counts > 0))
    many = counts[which]
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    found = stream[np.minimum(np.repeat(piece.behind[which], many) + within * bits // 8, len(stream) - 1)]
    if bits == 4:
        found = np.where(within & 1, found & 15, found >> 4)
    canvas[np.repeat(starts[which], many) + within] = found
