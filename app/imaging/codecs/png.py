"""PNG: the file with nothing but its picture, and the colours that its chunks speak of (PNG, third edition).

Pillow reads every chunk in Python, and refuses a picture for a long text beside it. It gets the chunks that make the
picture, and the texts that tell how it is to be turned.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from app.imaging.bounds import PROFILE_BYTES, too_much_work
from app.imaging.codecs import icc

_SIGNATURE_BYTES: Final = 8
_MOST_DATA: Final = 100_000  # chunks of picture data; encoders write some thousands at most
_MOST_OTHERS: Final = 2_000  # chunks of any other kind
_MOST_TEXT: Final = 2**20  # bytes that a text may unpack to
_PICTURE: Final = frozenset((b"IHDR", b"IDAT", b"IEND"))
_INDEXED: Final = b"\3"  # the type of colours that come from the palette; other types have one as a hint
_COLOURS: Final = frozenset((b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM"))
_KEYS: Final = {0: ">H", 2: ">3H"}  # what tRNS holds, by the type of the colours: grey, RGB
_FRAMES: Final = frozenset((b"fcTL", b"fdAT"))  # of an animation; the first picture is outside of them
_TEXTS: Final = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_TURNS: Final = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
_DEFLATED: Final = b"\0"
_MOST_TURNS: Final = 16  # texts of these kinds, each of which is unpacked twice
_USUAL_GAMMA: Final = 100_000 / 45_455  # by which encoders mean sRGB's curve
_NEAR: Final = 0.05  # as far as libpng takes a gamma for another one
_NEAR_XY: Final = 0.005


def plain(raw: bytes) -> tuple[bytes, bytes | None]:
    """Return the file without what is beside its picture, and the profile of its colours; None if they are sRGB's.

    What tells how it is turned stays, unless it is damaged.
    Raises `UndecodableImage` for a file of many thousands of chunks, or of many texts that tell how it is turned.
    """
    kept, colours, header, turns = [raw[:_SIGNATURE_BYTES]], dict[bytes, bytes](), b"", 0
    for kind, start, end in _chunks(raw):
        header = raw[start:end] if kind == b"IHDR" else header
        if kind in _COLOURS:
            colours.setdefault(kind, raw[start + 8 : end - 4])
        elif kind == b"tRNS":
            kept.append(_key(raw[start:end], header))
        elif kind in _PICTURE or (kind == b"PLTE" and header[17:18] == _INDEXED):
            kept.append(raw[start:end])
        elif kind == b"eXIf":
            if _is_intact(raw[start:end]):
                kept.append(raw[start:end])
        elif kind in _TEXTS and raw.startswith(_TURNS, start + 8):
            turns += 1
            if turns > _MOST_TURNS:
                raise too_much_work()
            if _is_intact(raw[start:end]) and _is_readable(raw[start + 8 : end - 4], kind):
                kept.append(raw[start:end])
    return b"".join(kept), _profile(colours)


def _chunks(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, where it starts with its length and where it ends behind its checksum."""
    at, data, others = _SIGNATURE_BYTES, 0, 0
    while at + 12 <= len(raw):
        size, kind = struct.unpack_from(">I4s", raw, at)
        data, others = (data + 1, others) if kind == b"IDAT" or kind in _FRAMES else (data, others + 1)
        if data > _MOST_DATA or others > _MOST_OTHERS:
            raise too_much_work()
        yield kind, at, at + 12 + size
        if kind == b"IEND":
            return
        at += 12 + size


def _key(chunk: bytes, header: bytes) -> bytes:
    """Return tRNS with its colour as Pillow compares it: scaled to 8 bits, unless it is grey of 16.

    The transparency of a palette, and a damaged chunk, stay as they are.
    """
    depth, colour = header[16:18]
    if colour not in _KEYS or not _is_intact(chunk):
        return chunk
    values = struct.unpack_from(_KEYS[colour], chunk[8:-4])
    if depth < 16:  # the other bits mean nothing (PNG, 11.3.1.1)
        most = (1 << depth) - 1
        values = tuple((value & most) * (255 // most) for value in values)
    elif colour == 2:
        values = tuple(value >> 8 for value in values)
    body = b"tRNS" + struct.pack(_KEYS[colour], *values)
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _is_intact(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _is_readable(text: bytes, kind: bytes) -> bool:
    """Whether a text, which may be packed, is packed in the way that there is, and of a size that Pillow reads."""
    packed = text.partition(b"\0")[2]
    if kind == b"zTXt" and packed[:1] != _DEFLATED:
        return False
    if kind == b"iTXt" and packed[:1] == b"\1":
        return _unpacked(packed.split(b"\0", 3)[-1], _MOST_TEXT) is not None
    return _unpacked(packed[1:], _MOST_TEXT) is not None if kind == b"zTXt" else len(text) <= _MOST_TEXT


def _unpacked(data: bytes, most: int) -> bytes | None:
    """Inflate a text or a profile; None if it is damaged or grows to more than so many bytes."""
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, most)
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail else found


def _profile(chunks: dict[bytes, bytes]) -> bytes | None:
    """Return the profile by the chunk that counts most (PNG, 4.3)."""
    if len(points := chunks.get(b"cICP", b"")) == 4:
        return icc.of_code_points(points[0], points[1])
    if b"iCCP" in chunks:
        return _unpacked(chunks[b"iCCP"].partition(b"\0")[2][1:], PROFILE_BYTES)
    if b"sRGB" in chunks:
        return None
    gamma, chromaticities = _gamma(chunks.get(b"gAMA", b"")), _chromaticities(chunks.get(b"cHRM", b""))
    if gamma is None and chromaticities is None:
        return None
    return icc.of_gamma(gamma, chromaticities or icc.SRGB)


def _gamma(chunk: bytes) -> float | None:
    """Return by which power pixels become light; None if that is nonsense or as good as sRGB's."""
    exponent = int.from_bytes(chunk, "big")
    if len(chunk) != 4 or not 10_000 <= exponent <= 1_000_000:
        return None
    gamma = 100_000 / exponent
    return None if abs(gamma / _USUAL_GAMMA - 1) <= _NEAR else gamma


def _chromaticities(chunk: bytes) -> icc.Chromaticities | None:
    """Return white, red, green and blue; None if they are nonsense or as good as sRGB's."""
    if len(chunk) != 32:
        return None
    values = [value / 100_000 for value in struct.unpack(">8I", chunk)]
    found = icc.Chromaticities(*zip(values[::2], values[1::2], strict=True))
    usual = [value for pair in icc.SRGB for value in pair]
    near = all(abs(value - other) <= _NEAR_XY for value, other in zip(values, usual, strict=True))
    return None if near or min(values) < 0 or min(values[1::2]) <= 0 or max(values) > 1 else found
