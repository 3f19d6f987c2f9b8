"""A worker is asked for what the HTTP process wants, in pieces of whatever size, or is told that there is no more."""

import socket
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.mobilenet.variants import Variant
from app.runtime import requests
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


def sent(request: Request) -> bytes:
    return b"".join(requests.pack(request, [PLACES[variant] for job in request.jobs for variant in job.variants]))


def received(content: bytes) -> Request:
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            theirs.sendall(content)

    sender = threading.Thread(target=send)
    sender.start()
    with ours:
        found = requests.receive(ours, VARIANTS)
    sender.join()
    return found


def same(one: Payload, other: Payload) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


@given(anything)
def test_a_request_arrives_as_it_was_meant(request_: Request) -> None:
    found = received(sent(request_))
    assert found[1:4] == request_[1:4]
    assert (found.over is None) == (request_.over is None)
    if found.over and request_.over:
        np.testing.assert_array_equal(found.over.evidence, request_.over.evidence)
        assert found.over.whole == request_.over.whole
    for one, other in zip(found.jobs, request_.jobs, strict=True):
        assert one[1:] == other[1:]
        assert same(one.payload, other.payload)


@given(anything, st.data())
def test_a_worker_that_waits_for_the_rest_is_told_that_it_will_not_come(request_: Request, data: st.DataObject) -> None:
    content = sent(request_)
    with pytest.raises(EOFError):
        received(content[: data.draw(st.integers(0, len(content) - 1))])


def test_a_request_may_be_larger_than_the_buffer_of_the_socket() -> None:
    file = bytes(range(256)) * 10_000
    assert received(sent(preview(file, 224))).jobs[0].payload == file


def test_a_file_is_sent_from_where_it_lies() -> None:
    file, tensor = bytes(1000), np.zeros((32, 32, 3), np.uint8)
    _, one, other = requests.pack(Request([Job(file, ()), Job(tensor, ())]), [])
    assert one is file
    assert np.shares_memory(np.asarray(other), tensor)
