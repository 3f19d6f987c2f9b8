"""What the HTTP process asks of a worker, in a fixed layout in the area of memory that both see.

    HEAD | for each job: JOB | for each variant of each job: its place among the loaded ones | the payloads
    | the evidence of an overlay, float32

Numbers are in the byte order of the machine. The socket of the worker carries only `SIZE`, the length of all that, once
it is written. A worker trusts what it is asked.
"""

import socket
import struct
from array import array
from collections.abc import Sequence
from math import isqrt
from typing import Final, NamedTuple

import numpy as np

from app.imaging import memory
from app.mobilenet.variants import Variant
from app.runtime.area import Area, Buffer
from app.runtime.pipeline import NOTHING, Job, Overlay, Payload, Wish

HEAD: Final = struct.Struct("=BxHIII")  # flags, side of the evidence, resolution, number of jobs, number of places
JOB: Final = struct.Struct("=B?HIi4xQ")  # kind of payload, embedding?, variants, classes, target, bytes of the payload
PLACE: Final = "H"
SIZE: Final = struct.Struct("=Q")

LARGE, ALONE, WHOLE = 1, 2, 4
FILE, TEXT, PIXELS = 1, 2, 3
NO_TARGET: Final = -1

memory.keep()  # here, as both processes import this: one that only passes images on needs memory for them, too


class Request(NamedTuple):
    """Run a batch of jobs as `Local.run` does; or, with a resolution, draw its only image as `Local.preview` does.

    With `over` the latter draws evidence, too.

    `alone` says that no other request is under way, so that the worker may use all threads.
    """

    jobs: Sequence[Job]
    large: bool = False
    alone: bool = False
    resolution: int = 0
    over: Overlay | None = None


def pack(request: Request, places: Sequence[int]) -> list[Buffer]:
    """Return the parts of a request; `places` has for each variant of each job its place among the loaded ones."""
    jobs, large, alone, resolution, over = request
    flags = large * LARGE | alone * ALONE | (over is not None and over.whole) * WHOLE
    side = 0 if over is None else len(over.evidence)
    parts: list[Buffer] = [HEAD.pack(flags, side, resolution, len(jobs), len(places))]
    contents = []
    for payload, variants, wish in jobs:
        kind, content = (FILE, payload) if type(payload) is bytes else _content(payload)
        target = NO_TARGET if wish.target is None else wish.target
        parts.append(JOB.pack(kind, wish.embedding, len(variants), wish.classes, target, len(content)))
        contents.append(content)
    parts.append(array(PLACE, places).tobytes())
    drawn = [] if over is None else [np.ascontiguousarray(over.evidence, np.float32).tobytes()]
    return [b"".join(parts), *contents, *drawn]


def _content(payload: Payload) -> tuple[int, Buffer]:
    if isinstance(payload, str):
        return TEXT, payload.encode("utf-8", "surrogatepass")  # JSON can have halves of characters
    return PIXELS, np.ascontiguousarray(payload).reshape(-1).data


def receive(sender: socket.socket, area: Area, variants: Sequence[Variant]) -> Request:
    """Wait for a request to a worker that has loaded these variants.

    Raises `EOFError` if the other end is closed before, or `OSError`.
    """
    (size,) = SIZE.unpack(exactly(sender, SIZE.size))
    return unpack(area, size, variants)


def unpack(area: Area, size: int, variants: Sequence[Variant]) -> Request:
    """Return the request that was written into an area in so many bytes."""
    area.see(size)
    flags, side, resolution, count, wanted = HEAD.unpack(area.read(0, HEAD.size))
    at = HEAD.size + count * JOB.size
    described = JOB.iter_unpack(area.read(HEAD.size, at))
    places = iter(array(PLACE, area.read(at, (at := at + wanted * array(PLACE).itemsize))))
    jobs = []
    for kind, embedding, number, classes, target, length in described:
        payload = _payload(kind, area.read(at, (at := at + length)))
        wish = Wish(embedding, classes, None if target == NO_TARGET else target) if embedding or classes else NOTHING
        jobs.append(Job(payload, tuple([variants[next(places)] for _ in range(number)]), wish))
    over = _overlay(area.read(at, size), side, bool(flags & WHOLE)) if side else None
    return Request(jobs, bool(flags & LARGE), bool(flags & ALONE), resolution, over)


def _overlay(content: bytes, side: int, whole: bool) -> Overlay:
    return Overlay(np.frombuffer(content, np.float32).reshape(side, side), whole)


def _payload(kind: int, content: bytes) -> Payload:
    if kind == TEXT:
        return content.decode("utf-8", "surrogatepass")
    if kind == PIXELS:
        side = isqrt(len(content) // 3)
        return np.frombuffer(content, np.uint8).reshape(side, side, 3)
    return content


def exactly(sender: socket.socket, count: int) -> bytes:
    """Wait for so many bytes. Raises `EOFError` if the other end is closed before, or `OSError`."""
    content = b""
    while len(content) < count:  # most often once: less comes only when a signal interrupts
        more = sender.recv(count - len(content), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        content = content + more if content else more
    return content
