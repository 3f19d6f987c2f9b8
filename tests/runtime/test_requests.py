"""A worker is asked for what the HTTP process wants, of whatever size, or is told that there is no more."""

import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mobilenet.variants import Variant
from app.runtime import area, requests
from app.runtime.area import Area
from app.runtime.pipeline import NOTHING, Job, Overlay, Payload, Wish
from app.runtime.requests import Request

VARIANTS = (Variant(0.25, 128), Variant(0.5, 160), Variant(1, 32))
PLACES = {variant: place for place, variant in enumerate(VARIANTS)}


def preview(payload: Payload, resolution: int, over: Overlay | None = None) -> Request:
    return Request([Job(payload, ())], resolution=resolution, over=over)


tensors = st.integers(0, 8).map(lambda side: np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3))
texts = st.text(st.characters(codec=None), max_size=20)
payloads: st.SearchStrategy[Payload] = st.one_of(st.binary(max_size=50), texts, tensors)
wishes = st.one_of(
    st.just(NOTHING),
    st.builds(Wish, st.booleans(), st.integers(1, 1000), st.none()),
    st.builds(Wish, st.booleans(), st.just(1), st.integers(0, 999)),
)
evidence = st.integers(1, 8).map(lambda side: np.linspace(-1, 2, side * side, dtype=np.float32).reshape(side, side))
jobs = st.builds(Job, payloads, st.permutations(VARIANTS).map(lambda them: tuple(them[:2])), wishes)
anything = st.one_of(
    st.builds(Request, st.lists(jobs, min_size=1, max_size=5), st.booleans(), st.booleans(), st.just(0), st.none()),
    st.builds(preview, payloads, st.integers(32, 1024), st.none() | st.builds(Overlay, evidence, st.booleans())),
)


class Ends:
    """An area and a socket as each of the two processes has them."""

    def __init__(self) -> None:
        descriptor = area.new()
        self.written, self.read = Area(descriptor), Area(descriptor)
        os.close(descriptor)
        self.ours, self.theirs = socket.socketpair()

    def __enter__(self) -> "Ends":
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self.written, self.read, self.ours, self.theirs):
            one.close()

    def pass_on(self, request: Request) -> Request:
        """Send a request, and return what is received."""
        places = [PLACES[variant] for job in request.jobs for variant in job.variants]
        self.ours.sendall(requests.SIZE.pack(self.written.write(requests.pack(request, places))))
        return requests.receive(self.theirs, self.read, VARIANTS)


def same(one: Payload, other: Payload) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


@given(anything)
def test_a_request_arrives_as_it_was_meant(request_: Request) -> None:
    with Ends() as ends:
        found = ends.pass_on(request_)
    assert found[1:4] == request_[1:4]
    assert (found.over is None) == (request_.over is None)
    if found.over and request_.over:
        np.testing.assert_array_equal(found.over.evidence, request_.over.evidence)
        assert found.over.whole == request_.over.whole
    for one, other in zip(found.jobs, request_.jobs, strict=True):
        assert one[1:] == other[1:]
        assert same(one.payload, other.payload)


def test_a_worker_that_waits_for_a_request_is_told_that_it_will_not_come() -> None:
    with Ends() as ends:
        ends.ours.sendall(bytes(requests.SIZE.size - 1))
        ends.ours.close()
        with pytest.raises(EOFError):
            requests.receive(ends.theirs, ends.read, VARIANTS)


def test_requests_of_all_sizes_follow_one_another_through_the_same_memory() -> None:
    with Ends() as ends:
        for size in (10, 3 * area.KEPT_BYTES, 0, area.KEPT_BYTES + 1, 5 * area.KEPT_BYTES, 1):
            file = np.random.default_rng(size).bytes(size)
            assert ends.pass_on(preview(file, 224)).jobs[0].payload == file
            ends.written.give_back()


def test_what_a_large_request_took_is_given_back() -> None:
    def taken() -> int:
        maps = Path("/proc/self/smaps").read_text()
        return sum(map(int, re.findall(r"memfd:mobilenet.*?\nRss: +(\d+) kB", maps, re.DOTALL)))

    with Ends() as ends:
        ends.pass_on(preview(bytes(5 * area.KEPT_BYTES), 224))
        large = taken()
        ends.written.give_back()
        assert large >= 5 * area.KEPT_BYTES // 1024
        assert taken() <= 2 * area.KEPT_BYTES // 1024  # the same pages as each of the two sees them


def test_a_worker_cannot_take_the_memory_away_that_is_written_to() -> None:
    descriptor = area.new()
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def test_a_file_is_written_from_where_it_lies() -> None:
    file, tensor = bytes(1000), np.zeros((32, 32, 3), np.uint8)
    _, one, other = requests.pack(Request([Job(file, ()), Job(tensor, ())]), [])
    assert one is file
    assert np.shares_memory(np.asarray(other), tensor)
