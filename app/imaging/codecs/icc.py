"""ICC profiles made here, for colours that a file describes by numbers instead of carrying a profile.

PNG has them in its chunks gAMA and cHRM, and PNG, HEIC and AVIF as the code points of ITU-T H.273 ("cICP", "nclx").
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_D50: Final = np.array((0.9642, 1.0, 0.8249))  # the white of every profile
_BRADFORD: Final = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))
_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # gamma, a, b, c, d of IEC 61966-2-1
_REFERENCE_WHITE: Final = 203.0  # candela per square metre, of HDR: what SDR shows as white (ITU-R BT.2408)
_ENTRIES: Final = 4096  # of a tabulated curve


class Chromaticities(NamedTuple):
    """The CIE x and y of the white and of the primaries red, green and blue."""

    white: tuple[float, float]
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]


D65: Final = (0.3127, 0.3290)
SRGB: Final = Chromaticities(D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_PRIMARIES: Final = {  # by H.273, table 2
    4: Chromaticities((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: Chromaticities(D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: Chromaticities(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Chromaticities(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: Chromaticities(D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: Chromaticities((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: Chromaticities(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: Chromaticities(D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}  # by H.273, table 3, as are the next two
_PQ, _HLG = 16, 18


def of_code_points(primaries: int, transfer: int) -> bytes:
    """Return the profile of H.273's code points; what is unknown or made for video is taken for sRGB's.

    HDR (PQ and HLG) is cut off at the white of ordinary pictures, so that everything below looks as it should.
    """
    return profile(_PRIMARIES.get(primaries, SRGB), _curve(transfer))


def of_gamma(gamma: float | None, chromaticities: Chromaticities) -> bytes:
    """Return the profile of pixels that are light to the power of 1 / `gamma`; without a gamma sRGB's curve."""
    return profile(chromaticities, srgb_curve() if gamma is None else parametric(0, gamma))


def profile(chromaticities: Chromaticities, curve: bytes) -> bytes:
    """Return a display profile of three primaries and one curve for all of them."""
    columns = _to_d50(chromaticities).T
    tags = [(name, _xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return assembled(b"RGB ", [*tags, (b"wtpt", _xyz(_D50))])


def assembled(
    colours: bytes, tags: Sequence[tuple[bytes, bytes]], *, kind: bytes = b"mntr", pcs: bytes = b"XYZ "
) -> bytes:
    """Return a profile of version 4 that holds these tags."""
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s24x3i", start + len(data), 0x04000000, kind, colours, pcs, b"acsp", *_fixed(_D50)
    )
    return header.ljust(128, b"\0") + table + data


def srgb_curve() -> bytes:
    """Return sRGB's own curve."""
    return parametric(3, *_SRGB_CURVE)


def parametric(kind: int, *numbers: float) -> bytes:
    """Return a curve of one of ICC's formulas."""
    return struct.pack(f">4s4xHxx{len(numbers)}i", b"para", kind, *_fixed(numbers))


def tabulated(light: NDArray[np.float64]) -> bytes:
    """Return a curve as a table of light, 0 to 1, for evenly spaced pixel values."""
    entries = np.round(np.clip(light, 0, 1) * 65535).astype(">u2")
    return struct.pack(">4s4xI", b"curv", len(entries)) + entries.tobytes()


def _curve(transfer: int) -> bytes:
    if transfer in _GAMMAS:
        return parametric(0, _GAMMAS[transfer])
    values = np.linspace(0, 1, _ENTRIES)
    if transfer == _PQ:
        return tabulated(_pq(values) / _REFERENCE_WHITE)
    if transfer == _HLG:  # white is at 75 % of the signal
        return tabulated(_hlg(values) / _hlg(np.array([0.75])))
    return srgb_curve()


def _pq(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return candela per square metre (SMPTE ST 2084)."""
    root = values ** (1 / 78.84375)
    return np.asarray(
        10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    )


def _hlg(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light of the scene (ARIB STD-B67), raised as a display of 1,000 candela per square metre does."""
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return np.asarray(scene**1.2)


def _to_d50(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ relative to D50, by Bradford's adaptation."""
    white, *primaries = (np.array((x / y, 1.0, (1 - x - y) / y)) for x, y in chromaticities)
    columns = np.stack(primaries, axis=1)
    cones = _BRADFORD @ _D50 / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    return np.asarray(adapted @ (columns * np.linalg.solve(columns, white)))


def _xyz(values: NDArray[np.float64]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *_fixed(values))


def _fixed(values: Sequence[float] | NDArray[np.float64]) -> list[int]:
    return [round(float(value) * 65536) for value in values]
