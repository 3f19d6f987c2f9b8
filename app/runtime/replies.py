"""What a worker answers to a request, in a fixed layout, and how the HTTP process reads that without trusting it.

A worker opens files of strangers. Should one of them take its worker over through a hole in a decoder, it must not get
any further: the HTTP process has the keys and everybody's connections. So nothing that a worker says is unpickled. A
reply is numbers at known places and a few short texts. The reader knows from the request how long it may be, checks
every size and every number, and raises `BadReply` for anything else.

    FRAME, then
    RESULTS   for each job: IMAGE | for each of its variants: RUN | the probabilities | the extras | the details
    PNG       the file
    REFUSED   which error, one byte | its detail
    FAILED    what went wrong

Probabilities and extras, which are the embedding and the evidence if they were asked for, are float32, those of one
variant of one job after those of another. Where an image was not classified, its numbers are 0. Numbers are in the byte
order of the machine, texts in UTF-8.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Probabilities
from app.errors import EmptyImage, ServiceError, TooManyPixels, UndecodableImage, UnsupportedImage
from app.imaging.bounds import LargeImage
from app.imaging.formats import FORMATS
from app.imaging.region import Region
from app.mobilenet.variants import Variant
from app.runtime.faults import BadReply, WorkerFailed
from app.runtime.pipeline import LONGEST, NOTHING, TENSOR, Job, JobResult, Outcome, Sizes, Wish
from app.runtime.requests import Request

FRAME: Final = struct.Struct("=B3xI")  # kind of reply, bytes of its body
IMAGE: Final = struct.Struct("=BBH4xdd")  # kind of result, format or error, bytes of detail, decode_ms, decode_began
RUN: Final = struct.Struct("=ddf4x")  # inference_ms, inference_began, energy
REGION: Final = struct.Struct("=5f")  # left, top, width, height, orientation
NOWHERE: Final = Region(0, 0, 0, 0, 1)  # the region of a tensor
FLOAT_BYTES: Final = 4

RESULTS, PNG, REFUSED, FAILED, CLASSIFIED, TOO_LARGE = 1, 2, 3, 4, 5, 6

FORMS: Final = (*FORMATS, TENSOR)
ERRORS: Final[tuple[type[ServiceError], ...]] = (EmptyImage, UnsupportedImage, TooManyPixels, UndecodableImage)
"""Every error that `app.imaging` raises. In a reply an error is its place in this tuple."""
MAX_DETAIL_BYTES: Final = 1_000
"""The most bytes of one text in a reply; a longer text is cut off."""
MAX_IMAGE_BYTES: Final = IMAGE.size + MAX_DETAIL_BYTES
MAX_TIME: Final = 1e9
"""Above every time in a reply: eleven days in milliseconds, or 31 years in seconds since the machine was started."""
PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
MAX_BITS: Final = int(np.float32(1.0001).view(np.uint32))
"""The bits of float32 1, and a little for rounding, as a whole number. Floats from 0 to 1 have smaller ones; negative
and infinite floats and NaN have larger ones, so that one comparison finds all of these."""
NOTHING_MORE: Final = np.empty(0, np.float32)

Body = list[JobResult] | bytes | Exception
"""What a reply says: the results of a batch, a PNG, or the `ServiceError` or `WorkerFailed` that is to be raised."""


def pack_results(jobs: Sequence[Job], results: Sequence[JobResult], sizes: Mapping[Variant, Sizes]) -> bytes:
    """Return the reply to a batch; `sizes` has those of each loaded variant."""
    images, runs, details = [], [], []
    rows: list[bytes | memoryview] = []
    extras: list[bytes | memoryview] = []
    for (_, variants, wish), result in zip(jobs, results, strict=True):
        if isinstance(result, tuple):
            first = result[0]
            images.append(IMAGE.pack(CLASSIFIED, FORMS.index(first.format), 0, first.decode_ms, first.decode_began))
            runs += [RUN.pack(one.inference_ms, one.inference_began, one.energy) for one in result]
            rows += [np.ascontiguousarray(one.probabilities, np.float32).data for one in result]
            if wish != NOTHING:
                extras += [part for one in result for part in _packed_extras(one)]
            continue
        details.append(_bounded(result.detail) if isinstance(result, ServiceError) else b"")
        kind, code = (REFUSED, _number(result)) if isinstance(result, ServiceError) else (TOO_LARGE, 0)
        images.append(IMAGE.pack(kind, code, len(details[-1]), 0, 0))
        runs.append(bytes(RUN.size * len(variants)))
        rows += [bytes(FLOAT_BYTES * sizes[variant].classes) for variant in variants]
        extras += [bytes(FLOAT_BYTES * sizes[variant].extras(wish)) for variant in variants]
    return _framed(RESULTS, *images, *runs, *rows, *extras, *details)


def _packed_extras(one: Outcome) -> list[bytes]:
    parts = [] if one.embedding is None else [one.embedding.tobytes()]
    if one.evidence is not None:
        parts += [REGION.pack(*one.region or NOWHERE), one.evidence.tobytes()]
    return parts


def pack_png(content: bytes) -> bytes:
    """Return the reply to a preview."""
    return _framed(PNG, content)


def pack_refusal(error: ServiceError) -> bytes:
    """Return the reply to the preview of an image that is bad. Raises `ValueError` if no image raises this error."""
    return _framed(REFUSED, bytes([_number(error)]), _bounded(error.detail))


def _number(error: ServiceError) -> int:
    return ERRORS.index(type(error))


def pack_failure(error: Exception) -> bytes:
    """Return the reply to a request that raised something unexpected."""
    return _framed(FAILED, _bounded(f"{type(error).__name__}: {error}"))


def _framed(kind: int, *parts: bytes | memoryview) -> bytes:
    body = b"".join(parts)
    return FRAME.pack(kind, len(body)) + body


def _bounded(text: str) -> bytes:
    whole = text.encode(errors="backslashreplace")
    if len(whole) <= MAX_DETAIL_BYTES:
        return whole
    return whole[:MAX_DETAIL_BYTES].decode(errors="ignore").encode()  # a character that was cut in two is left out


class Reader:
    """Reads the reply to one request. It never keeps more bytes than that reply can have."""

    def __init__(self, request: Request, sizes: Sequence[Sizes]) -> None:
        """Expect for each variant of each job what a model of these sizes says."""
        self._request = request
        self._sizes = sizes
        self._received = bytearray()
        self._max_bytes = max_png_bytes(_side(request)) if request.resolution else _max_bytes(request.jobs, sizes)

    def add(self, data: bytes) -> Body | None:
        """Take the next bytes of the reply; return what it says once it is whole. Raises nothing but `BadReply`."""
        received: bytes | bytearray = data
        if self._received:
            self._received += data
            received = self._received
        if len(received) >= FRAME.size:
            kind, size = FRAME.unpack_from(received)
            if size > self._max_bytes or len(received) > FRAME.size + size:
                raise BadReply("a worker's reply is longer than a reply to its request can be")
            if len(received) == FRAME.size + size:
                return self._read(kind, memoryview(received)[FRAME.size :])
        if received is data:  # kept only if there is more to come, since most replies come in one piece
            self._received = bytearray(data)
        return None

    def _read(self, kind: int, body: memoryview) -> Body:
        try:
            if kind == FAILED:
                return WorkerFailed(f"a worker failed: {_text(body)!r}")
            if self._request.resolution:
                return _preview(kind, body)
            if kind == RESULTS:
                return _results(body, self._request.jobs, self._sizes)
        except (struct.error, ValueError, IndexError) as exc:
            raise BadReply(f"a worker's reply is not as it should be: {exc}") from exc
        raise BadReply(f"a worker's reply is of kind {kind}, which does not answer its request")


def _max_bytes(jobs: Sequence[Job], sizes: Sequence[Sizes]) -> int:
    floats = sum([one.classes for one in sizes]) + _extras(jobs, sizes)
    return (1 + len(jobs)) * MAX_IMAGE_BYTES + len(sizes) * RUN.size + floats * FLOAT_BYTES


def _extras(jobs: Sequence[Job], sizes: Sequence[Sizes]) -> int:
    """Return how many numbers the jobs ask for beside the probabilities."""
    if all(job.wish is NOTHING for job in jobs):
        return 0
    each = iter(sizes)
    return sum(next(each).extras(wish) for _, variants, wish in jobs for _ in variants)


def _side(request: Request) -> int:
    """Return the longer side of the picture that a request wants."""
    return LONGEST if request.over is not None and request.over.whole else request.resolution


def max_png_bytes(resolution: int) -> int:
    """Return a bound on the bytes of a PNG of this resolution: RGB pixels that cannot be compressed, and headers."""
    return 4 * resolution * resolution + 4096


def _text(content: memoryview) -> str:
    if len(content) > MAX_DETAIL_BYTES:
        raise ValueError(f"a text has {len(content):,} bytes")
    return str(content, "utf-8")


def _preview(kind: int, body: memoryview) -> Body:
    if kind == PNG and bytes(body[: len(PNG_MAGIC)]) == PNG_MAGIC:
        return bytes(body)
    if kind == REFUSED:
        return ERRORS[body[0]](_text(body[1:]))
    raise ValueError("it is not a PNG")


def _results(body: memoryview, jobs: Sequence[Job], sizes: Sequence[Sizes]) -> list[JobResult]:
    """Read the results of jobs; `sizes` has those of the model for each variant of each job."""
    run_at = IMAGE.size * len(jobs)
    rows_at = run_at + RUN.size * len(sizes)
    count = sum([one.classes for one in sizes])
    extras_at = rows_at + FLOAT_BYTES * count
    extra_count = _extras(jobs, sizes)
    detail_at = extras_at + FLOAT_BYTES * extra_count
    rows = _rows(body, rows_at, count)
    extras = _finite(body, extras_at, extra_count)
    results: list[JobResult] = []
    place = row_at = extra_at = 0
    for image_at, (_, variants, wish) in enumerate(jobs):
        kind, code, size, decode_ms, decode_began = IMAGE.unpack_from(body, image_at * IMAGE.size)
        form = FORMS[code] if kind == CLASSIFIED else ""
        outcomes = []
        for size_of in sizes[place : place + len(variants)]:
            inference_ms, inference_began, energy = RUN.unpack_from(body, run_at)
            _check_times(decode_ms, decode_began, inference_ms, inference_began)
            if math.isinf(energy):  # NaN says that the model gives no energies
                raise ValueError("an energy is infinite")
            row = rows[row_at : row_at + size_of.classes]
            outcome = Outcome(row, energy, decode_ms, inference_ms, form, decode_began, inference_began)
            if wish is not NOTHING and kind == CLASSIFIED:
                outcome = _with_extras(outcome, extras[extra_at:], size_of, wish)
            extra_at += size_of.extras(wish)
            outcomes.append(outcome)
            run_at += RUN.size
            row_at += size_of.classes
        place += len(variants)
        if kind == CLASSIFIED:
            results.append(tuple(outcomes))
        else:
            results.append(_unclassified(kind, code, body[detail_at : detail_at + size]))
        detail_at += size
    if len(body) != detail_at:
        raise ValueError(f"it has {len(body):,} bytes")
    return results


def _unclassified(kind: int, code: int, detail: memoryview) -> JobResult:
    if kind == REFUSED:
        return ERRORS[code](_text(detail))
    if kind == TOO_LARGE:
        return LargeImage()
    raise ValueError(f"a result is of kind {kind}")


def _rows(body: memoryview, at: int, count: int) -> Probabilities:
    """Return the probabilities of all outcomes, one after the other, without copying them."""
    bits = np.frombuffer(body, np.uint32, count, at)
    if bits.max() > MAX_BITS:
        raise ValueError("a probability is not between 0 and 1")
    return bits.view(np.float32)


def _finite(body: memoryview, at: int, count: int) -> NDArray[np.float32]:
    if not count:  # nearly always, and NumPy would take a third of the time of the whole reply for nothing
        return NOTHING_MORE
    values = np.frombuffer(body, np.float32, count, at)
    if not np.isfinite(values).all():
        raise ValueError("a number of an embedding or of evidence is not finite")
    return values


def _with_extras(outcome: Outcome, values: NDArray[np.float32], sizes: Sizes, wish: Wish) -> Outcome:
    length = sizes.embedding(wish)
    if length:
        outcome = outcome._replace(embedding=values[:length])
    if not wish.classes:
        return outcome
    grids = values[length + len(NOWHERE) : sizes.extras(wish)].reshape(sizes.evidence(wish))
    return outcome._replace(evidence=grids, region=_region(*values[length : length + len(NOWHERE)].tolist()))


def _region(left: float, top: float, width: float, height: float, orientation: float) -> Region | None:
    """Return a region whose numbers are finite. Raises `ValueError` if they are none of a region."""
    if orientation not in range(1, 9) or min(left, top, width, height) < 0:
        raise ValueError("a region is not inside of an image")
    return Region(left, top, width, height, int(orientation)) if width else None


def _check_times(decode_ms: float, decode_began: float, inference_ms: float, inference_began: float) -> None:
    if not (
        0 <= decode_ms < MAX_TIME
        and 0 <= decode_began < MAX_TIME
        and 0 <= inference_ms < MAX_TIME
        and 0 <= inference_began < MAX_TIME
    ):  # what is not a number is in no range
        raise ValueError("a time is out of range")
