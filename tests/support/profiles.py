"""Tags of ICC profiles that editors seldom or never write: programs of steps, and tables larger than they are."""

import struct
from collections.abc import Sequence
from typing import Final

IDENTITY: Final = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def program(*steps: bytes) -> bytes:
    """Return a tag of steps from three channels to three (ICC.1:2022, 10.16); equal ones are there once."""
    places, data = dict[bytes, int](), b""
    for step in steps:
        if step not in places:
            places[step] = 16 + 8 * len(steps) + len(data)
            data += step
    table = b"".join(struct.pack(">II", places[step], len(step)) for step in steps)
    return struct.pack(">4s4xHHI", b"mpet", 3, 3, len(steps)) + table + data


def matrix(values: Sequence[float], offset: float = 0) -> bytes:
    """Return the step that multiplies by a matrix, by rows, and adds the offset."""
    return struct.pack(">4s4xHH12f", b"matf", 3, 3, *values, *[offset] * 3)


def powers(exponent: float, segments: int = 1) -> bytes:
    """Return the step that raises each channel to a power, by a formula for each of so many segments of its values."""
    breaks = struct.pack(f">{segments - 1}f", *(at / segments for at in range(1, segments)))
    formulas = struct.pack(">4s4xHxx4f", b"parf", 0, exponent, 1, 0, 0) * segments
    curve = struct.pack(">4s4xHxx", b"curf", segments) + breaks + formulas
    return struct.pack(">4s4xHH6I", b"cvst", 3, 3, *(36, len(curve)) * 3) + curve


def absent_table(kind: bytes, inputs: int = 3, outputs: int = 15, points: int = 255) -> bytes:
    """Return a tag of one of the kinds mft1, mft2 and mAB that ends where its table begins."""
    if kind == b"mAB ":
        curves = struct.pack(">4s12x", b"curv") * outputs
        offsets = (32, 0, 0, 32 + len(curves), 0)
        return (
            struct.pack(">4s4xBBxx5I", kind, inputs, outputs, *offsets)
            + curves
            + bytes([points] * inputs).ljust(16, b"\0")
            + b"\2\0\0\0"
        )
    head = struct.pack(">4s4xBBBx9i", kind, inputs, outputs, points, *(value << 16 for value in IDENTITY))
    return head + (bytes(256 * inputs) if kind == b"mft1" else struct.pack(">HH", 2, 2) + bytes(4 * inputs))
