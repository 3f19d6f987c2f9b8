"""Run lengths, as in old BMPs -> pixels: Pillow unpacks them a run at a time in Python, here thousands are one array.

The codes are words of two bytes: so many pixels of a colour, or an escape (the end of a row or of the picture, a jump,
pixels as they are). A jump goes right and up only, and rows are stored one after the other: so the picture is, from its
first pixel to its last, colours that are repeated as often as their codes say.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

BYTES: Final = 8
"""Memory that a pixel takes while it is unpacked."""
_END_OF_ROW, _END, _JUMP = 0, 1, 2
_STEP_BYTES: Final = 4  # that a file takes at most for a pixel, or for the end of a row: a jump
_PIECE: Final = 2**14  # words that are painted at once

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


def unpacked(data: Bytes, width: int, height: int, bits: int) -> Bytes:
    """Return the pixels `[height, width]` of 4 or 8 bits, in the order in which rows are stored.

    No more codes are read than the picture has pixels and rows, and it takes memory for the picture and for a piece of
    the codes. What a picture that ends early does not paint is 0. Raises `ValueError` if the codes stop before its end.
    """
    data = data[: _STEP_BYTES * (width + 1) * (height + 1)]
    words = data[: len(data) // 2 * 2].reshape(-1, 2)
    picture = _Picture(data, width, height, bits)
    for at in _codes(words, bits):
        picture.paint(_Codes(words, at))
    if not picture.is_complete:
        raise ValueError("the picture is cut off")
    return picture.pixels.reshape(height, width)


def _codes(words: Bytes, bits: int) -> Iterator[Numbers]:
    """Yield piece by piece which words are codes, up to the one that ends the picture.

    The others are the data of an escape, which says how many they are: the width of a jump, or pixels filled up to a
    whole word. What looks like an escape may itself be such data, so that they are walked through in order. `changes`
    has +1 where the data of an escape begin and -1 behind them: a word is a code where their sum so far is 0.
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


class _Codes:
    """Some codes in order: each attribute is an array with a value for each of them."""

    def __init__(self, words: Bytes, at: Numbers) -> None:
        self.repeats, self.values = words[at].astype(np.int64).T
        """How many pixels of which colour; 0 for an escape, and which."""
        escapes = self.repeats == 0
        self.row_ends: Flags = escapes & (self.values == _END_OF_ROW)
        self.literals: Flags = escapes & (self.values > _JUMP)
        """Pixels as they are: as many as the value says."""
        self.data = 2 * at + 2
        """Where the bytes behind it start."""
        self.across = np.where(escapes, self.values, self.repeats)
        self.up = self.row_ends.astype(np.int64)
        """How far the next pixel lies from where it begins: pixels to the right, and rows."""
        jumps = np.flatnonzero(escapes & (self.values == _JUMP))
        self.across[jumps], self.up[jumps] = words[np.minimum(at[jumps] + 1, len(words) - 1)].T

    @property
    def end_the_picture(self) -> bool:
        """Whether the last of them does."""
        return bool(self.repeats[-1] == 0 and self.values[-1] == _END)


class _Picture:
    """A picture while it is painted, and where its next pixel lies."""

    def __init__(self, data: Bytes, width: int, height: int, bits: int) -> None:
        self.pixels = np.zeros(width * height, np.uint8)
        self._data, self._width, self._height, self._bits = data, width, height, bits
        self._row = self._column = self._filled = 0
        self._has_ended = False

    @property
    def is_complete(self) -> bool:
        """Whether its codes have ended it, or left nothing to be painted."""
        return self._has_ended or self._row >= self._height or self._filled == len(self.pixels)

    def paint(self, codes: _Codes) -> None:
        """Paint what comes next."""
        rows, columns = self._go(codes)
        starts, counts = self._areas(codes, rows, columns)
        self._paint_repeats(codes, starts, counts)
        self._paint_literals(codes, starts, counts)
        self._filled = max(self._filled, int(starts[-1] + counts[-1]))
        self._has_ended = codes.end_the_picture

    def _go(self, codes: _Codes) -> tuple[Numbers, Numbers]:
        """Return in which row and column each code begins, by the steps up, and those across since its row began."""
        rows = self._row + np.cumsum(codes.up) - codes.up
        steps = self._column + np.cumsum(codes.across) - codes.across
        began = np.maximum.accumulate(np.where(codes.row_ends, steps, 0))
        columns = steps - np.concatenate([[0], began[:-1]])
        self._row = int(rows[-1] + codes.up[-1])
        self._column = 0 if codes.row_ends[-1] else int(columns[-1] + codes.across[-1])
        return rows, columns

    def _areas(self, codes: _Codes, rows: Numbers, columns: Numbers) -> tuple[Numbers, Numbers]:
        """Return at which pixel each code begins and how many it paints; what would be outside of a row is left out."""
        counts = np.clip(np.minimum(codes.across, self._width - columns), 0, None)
        counts[(codes.repeats == 0) & ~codes.literals | (rows >= self._height)] = 0
        starts = rows * self._width + np.minimum(columns, self._width)
        return np.minimum(starts, len(self.pixels)), counts

    def _paint_repeats(self, codes: _Codes, starts: Numbers, counts: Numbers) -> None:
        """Repeat the colours of all codes, literals included: those are painted over."""
        gaps = np.diff(starts, prepend=starts[:1]) - np.concatenate([[0], counts[:-1]])
        place = self.pixels[starts[0] : starts[-1] + counts[-1]]
        values = codes.values.astype(np.uint8)
        if self._bits == 8:
            place[:] = _repeated(values, gaps, counts)
            return
        # A run of 4 bits has two colours by turns, from its start on. Where it starts at an odd place, the second one
        # falls on even places.
        first, second = values >> 4, values & 15
        odd = (starts - starts[0]) & 1 == 1
        place[::2] = _repeated(np.where(odd, second, first), gaps, counts)[::2]
        place[1::2] = _repeated(np.where(odd, first, second), gaps, counts)[1::2]

    def _paint_literals(self, codes: _Codes, starts: Numbers, counts: Numbers) -> None:
        """Copy the pixels that are as they are."""
        which = np.flatnonzero(codes.literals & (counts > 0))
        many = counts[which]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)  # 0, 1, 2 … for each of them
        at = np.repeat(codes.data[which], many) + within * self._bits // 8
        found = self._data[np.minimum(at, len(self._data) - 1)]
        if self._bits == 4:
            found = np.where(within & 1, found & 15, found >> 4)
        self.pixels[np.repeat(starts[which], many) + within] = found


def _repeated(colours: Bytes, gaps: Numbers, counts: Numbers) -> Bytes:
    """Return each colour as often as it counts, and before it a 0 for each pixel of its gap."""
    zeros_and_colours = np.stack([np.zeros_like(colours), colours], axis=1).reshape(-1)
    return np.repeat(zeros_and_colours, np.stack([gaps, counts], axis=1).reshape(-1))
