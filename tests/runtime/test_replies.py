"""The HTTP process reads what a worker answers, and finds out whatever is no answer, without harm to itself."""

import random
from collections.abc import Sequence
from importlib import import_module
from inspect import isclass
from io import BytesIO
from itertools import cycle, pairwise
from pkgutil import iter_modules

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app import imaging
from app.errors import ServiceError
from app.imaging.bounds import LargeImage
from app.imaging.region import Region
from app.mobilenet.variants import Variant
from app.runtime import replies
from app.runtime.faults import BadReply, WorkerFailed
from app.runtime.pipeline import NOTHING, Job, JobResult, Outcome, Sizes, Wish
from app.runtime.replies import Body, Reader
from app.runtime.requests import Request

SMALL, LARGE = Variant(0.25, 128), Variant(0.5, 160)
SIZES = {SMALL: Sizes(classes=10, channels=4, side=2), LARGE: Sizes(classes=3, channels=6, side=3)}
PREVIEW = Request([Job(b"", ())], resolution=32)
PNG = replies.PNG_MAGIC + b"and more"

times = st.floats(0, 1e8)
errors = st.builds(lambda kind, detail: kind(detail), st.sampled_from(replies.ERRORS), st.text(max_size=30))


def outcome(variant: Variant, seed: int, form: str, spent: Sequence[float], wish: Wish = NOTHING) -> Outcome:
    random_, sizes = np.random.default_rng(seed), SIZES[variant]
    one = Outcome(random_.random(sizes.classes, np.float32), seed / 8, spent[0], spent[1], form, spent[2], spent[3])
    embedding = random_.random(sizes.channels, np.float32) if wish.embedding else None
    if not wish.classes:
        return one._replace(embedding=embedding)
    evidence = random_.random((wish.classes, sizes.side, sizes.side), np.float32) - 0.5
    region = Region(0.5, seed, 87.5, 99, 1 + seed % 8) if seed % 3 else None
    return one._replace(embedding=embedding, evidence=evidence, region=region)


@st.composite
def answered(draw: st.DrawFn) -> tuple[Job, JobResult]:
    """Draw a job and a result of it."""
    variants = draw(st.sampled_from([(SMALL,), (LARGE,), (SMALL, LARGE), (LARGE, SMALL)]))
    wish = draw(st.one_of(st.just(NOTHING), st.builds(Wish, st.booleans(), st.integers(0, 3), st.none())))
    form, (decode_ms, began) = draw(st.sampled_from(replies.FORMS)), draw(st.tuples(times, times))
    spent = [(decode_ms, draw(times), began, draw(times)) for _ in variants]
    outcomes = tuple(
        outcome(variant, draw(st.integers(0, 99)), form, one, wish)
        for variant, one in zip(variants, spent, strict=True)
    )
    return Job(b"", variants, wish), draw(st.one_of(st.just(outcomes), errors, st.builds(LargeImage)))


batches = st.lists(answered(), min_size=1, max_size=4)


def asked(batch: Sequence[tuple[Job, JobResult]]) -> Request:
    return Request([job for job, _ in batch])


def packed(batch: Sequence[tuple[Job, JobResult]]) -> bytes:
    return replies.pack_results([job for job, _ in batch], [result for _, result in batch], SIZES)


def reading(request: Request) -> Reader:
    return Reader(request, [SIZES[variant] for job in request.jobs for variant in job.variants])


def read(request: Request, content: bytes, pieces: Sequence[int] = ()) -> Body | None:
    """Read a reply that comes in pieces, which end at these places."""
    reader, found = reading(request), None
    places = sorted({0, len(content), *(place % (len(content) + 1) for place in pieces)})
    for start, end in pairwise(places):
        assert found is None
        found = reader.add(content[start:end])
    return found


def check_same(found: JobResult, expected: JobResult) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, ServiceError):
        assert isinstance(found, ServiceError)
        assert found.detail == expected.detail
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        for one, other in zip(found, expected, strict=True):
            assert one.probabilities.dtype == np.float32
            np.testing.assert_array_equal(one.probabilities, other.probabilities)
            for name in ("region", "energy", "decode_ms", "inference_ms", "format", "decode_began", "inference_began"):
                assert getattr(one, name) == getattr(other, name)
            for name in ("embedding", "evidence"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@given(batches, st.lists(st.integers(0)))
def test_results_arrive_as_they_were_in_pieces_of_any_size(
    batch: list[tuple[Job, JobResult]], pieces: list[int]
) -> None:
    found = read(asked(batch), packed(batch), pieces)
    assert isinstance(found, list)
    for one, (_, expected) in zip(found, batch, strict=True):
        check_same(one, expected)


@given(errors, st.lists(st.integers(0)))
def test_a_preview_or_what_is_wrong_with_its_image_arrives_as_it_was(error: ServiceError, pieces: list[int]) -> None:
    assert read(PREVIEW, replies.pack_png(PNG), pieces) == PNG
    found = read(PREVIEW, replies.pack_refusal(error), pieces)
    assert (type(found), str(found)) == (type(error), error.detail)


@given(st.text())
def test_a_failure_of_a_worker_is_none_of_an_image_and_its_text_no_line_in_a_log(text: str) -> None:
    for request in (PREVIEW, Request([Job(b"", (SMALL,))])):
        found = read(request, replies.pack_failure(RuntimeError(text)))
        assert isinstance(found, WorkerFailed)
        assert str(found).isprintable()


@given(batches, st.data())
def test_a_reply_that_is_cut_off_is_none_and_a_longer_one_is_bad(
    batch: list[tuple[Job, JobResult]], data: st.DataObject
) -> None:
    content = packed(batch)
    end = data.draw(st.integers(0, len(content) - 1))
    assert read(asked(batch), content[:end]) is None
    with pytest.raises(BadReply):
        read(asked(batch), content + data.draw(st.binary(min_size=1)))


@given(batches, st.data())
def test_a_reply_whose_body_is_longer_or_shorter_than_its_parts_is_bad(
    batch: list[tuple[Job, JobResult]], data: st.DataObject
) -> None:
    body = packed(batch)[replies.FRAME.size :]
    end = data.draw(st.integers(0, len(body) - 1))
    for wrong in (body[:end], body + data.draw(st.binary(min_size=1, max_size=20))):
        with pytest.raises(BadReply):
            read(asked(batch), replies.FRAME.pack(replies.RESULTS, len(wrong)) + wrong)


@given(st.sampled_from([0, 1, 2, 3, 4, 5, 255]), st.binary(max_size=200), batches)
def test_random_bytes_are_a_bad_reply_and_no_other_error(
    kind: int, body: bytes, batch: list[tuple[Job, JobResult]]
) -> None:
    for request in (PREVIEW, asked(batch)):
        content = replies.FRAME.pack(kind, len(body)) + body
        try:
            found = read(request, content)
        except BadReply:
            continue
        assert found is not None


@given(batches, st.integers(0), st.binary(min_size=1, max_size=8))
def test_a_reply_with_a_few_other_bytes_is_bad_or_has_other_results_and_is_no_other_error(
    batch: list[tuple[Job, JobResult]], place: int, other: bytes
) -> None:
    content = bytearray(packed(batch))
    start = replies.FRAME.size + place % (len(content) - replies.FRAME.size)
    content[start : start + len(other)] = other[: len(content) - start]
    try:
        found = read(asked(batch), bytes(content))
    except BadReply:
        return
    assert isinstance(found, list)
    assert len(found) == len(batch)
    for result in found:
        for one in result if isinstance(result, tuple) else ():
            assert not np.isinf(one.energy)
            assert ((one.probabilities >= 0) & (one.probabilities <= 1.001)).all()
            assert np.isfinite([one.decode_ms, one.inference_ms, one.decode_began, one.inference_began]).all()


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1))
def test_a_worker_that_talks_without_end_is_given_up_before_it_fills_the_memory(pieces: list[bytes]) -> None:
    most = replies.max_png_bytes(PREVIEW.resolution)
    with pytest.raises(BadReply):
        reading(PREVIEW).add(replies.FRAME.pack(replies.PNG, most + 1))
    reader = reading(PREVIEW)
    reader.add(replies.FRAME.pack(replies.PNG, most) + b"a text")

    def talk() -> None:
        for piece in cycle(pieces):
            assert reader.add(piece) is None
            assert len(reader._received) <= replies.FRAME.size + most

    with pytest.raises(BadReply):
        talk()


ONE = Request([Job(b"", (LARGE,))])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.1, 1.1])
def test_what_is_no_probability_is_a_bad_reply(wrong: float) -> None:
    probabilities = np.array([0.5, 0, wrong], np.float32)
    with pytest.raises(BadReply, match="probability"):
        read(ONE, packed([(ONE.jobs[0], (Outcome(probabilities, 1.5, 1, 2, "PNG", 3, 4),))]))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.1, 1e9])
def test_what_is_no_time_is_a_bad_reply(wrong: float, place: int) -> None:
    spent = [1.0, 2.0, 3.0, 4.0]
    assert isinstance(read(ONE, packed([(ONE.jobs[0], (outcome(LARGE, 0, "PNG", spent),))])), list)
    spent[place] = wrong
    with pytest.raises(BadReply, match="time"):
        read(ONE, packed([(ONE.jobs[0], (outcome(LARGE, 0, "PNG", spent),))]))


def test_an_energy_may_be_unknown_and_an_infinite_one_is_a_bad_reply() -> None:
    one = outcome(LARGE, 0, "PNG", [1.0, 2.0, 3.0, 4.0])
    found = read(ONE, packed([(ONE.jobs[0], (one._replace(energy=np.nan),))]))
    assert isinstance(found, list)
    assert isinstance(found[0], tuple)
    assert np.isnan(found[0][0].energy)
    for infinite in (np.inf, -np.inf):
        with pytest.raises(BadReply, match="an energy is infinite"):
            read(ONE, packed([(ONE.jobs[0], (one._replace(energy=infinite),))]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["embedding", "evidence"])
def test_an_extra_that_is_not_finite_is_a_bad_reply(name: str, wrong: float) -> None:
    job = Job(b"", (LARGE,), Wish(embedding=True, classes=2))
    one = outcome(LARGE, 0, "PNG", [1.0, 2.0, 3.0, 4.0], job.wish)
    getattr(one, name).flat[1] = wrong
    with pytest.raises(BadReply, match="is not finite"):
        read(Request([job]), packed([(job, (one,))]))


def test_a_long_detail_is_cut_off_between_two_characters() -> None:
    found = read(PREVIEW, replies.pack_refusal(replies.ERRORS[0]("é" * 600 + "x")))
    assert str(found) == "é" * (replies.MAX_DETAIL_BYTES // 2)
    odd = read(PREVIEW, replies.pack_refusal(replies.ERRORS[0]("x" + "é" * 600)))
    assert str(odd) == "x" + "é" * 499


@pytest.mark.parametrize("resolution", [32, 224, 1024])
def test_the_largest_preview_fits(resolution: int) -> None:
    buffer = BytesIO()
    noise = random.Random(0).randbytes(3 * resolution * resolution)
    Image.frombytes("RGB", (resolution, resolution), noise).save(buffer, "PNG")
    request = Request([Job(b"", ())], resolution=resolution)
    assert read(request, replies.pack_png(buffer.getvalue())) == buffer.getvalue()
    with pytest.raises(BadReply):
        read(request, replies.pack_png(replies.PNG_MAGIC + bytes(replies.max_png_bytes(resolution))))


def test_every_error_that_decoding_raises_has_its_place_in_a_reply() -> None:
    modules = [import_module(f"{imaging.__name__}.{one.name}") for one in iter_modules(imaging.__path__)]
    known = [one for module in modules for one in vars(module).values()]
    errors = {one for one in known if isclass(one) and issubclass(one, ServiceError)}
    assert errors - {ServiceError} == set(replies.ERRORS)


@pytest.mark.parametrize(
    "numbers",
    [(0, 0, 1, 1, 0), (0, 0, 1, 1, 9), (-1, 0, 1, 1, 1), (0, -1, 1, 1, 1), (0, 0, -1, 1, 1), (0, 0, 1, -1, 1)],
)
def test_a_region_that_no_image_has_is_refused(numbers: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a region is not inside of an image"):
        replies._region(*numbers)
