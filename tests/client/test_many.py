"""Many images by both clients: lazily, in order, several at a time, and each with its own error."""

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.client import AsyncClient, Client, Item
from app.client.images import bytes_about
from app.client.many import MOST_BYTES, group_size, grouped, in_order, in_order_async
from app.errors import BodyTooLarge, QueueFull, TooManyImages, Unreachable, UnsupportedImage
from tests.support.processes import wait_for
from tests.support.script import REQUEST_ID, Answer, playing, predicted, refused

Many = Callable[..., list[Any]]


def waiting(url: str, images: Iterable[Any], patience_s: float = 10.0, **options: Any) -> list[Any]:
    with Client(url, patience_s=patience_s) as client:
        return list(client.predict_many(images, **options))


def awaited(url: str, images: Iterable[Any], patience_s: float = 10.0, **options: Any) -> list[Any]:
    async def ask() -> list[Any]:
        async with AsyncClient(url, patience_s=patience_s) as client:
            return [one async for one in client.predict_many(images, **options)]

    return asyncio.run(ask())


both = pytest.mark.parametrize("many", [waiting, awaited])


def labels(items: Iterable[Any]) -> list[str]:
    return [one.result.code if hasattr(one.result, "code") else one.result.predictions[0].label for one in items]


@both
def test_images_travel_eight_to_a_request_and_come_back_in_order(many: Many) -> None:
    images = [b"%d" % index for index in range(20)]
    answers = [predicted(*"abcdefgh"), predicted(*"ijklmnop"), predicted(*"qrst")]
    with playing(*answers) as script:
        items = many(script.url, images, concurrency=1, top_k=1, max_macs=5)
    assert [one.image for one in items] == images
    assert labels(items) == list("abcdefghijklmnopqrst")
    assert all(one.response.model.alpha == 0.5 for one in items)
    assert [asked.line for asked in script.asked] == ["POST /predict?top_k=1&max_macs=5 HTTP/1.1"] * 3


@both
def test_each_image_has_its_own_error(many: Many, tmp_path: Any) -> None:
    failure = {"error": json.loads(refused(UnsupportedImage("not an image")).body)}
    mixed = json.loads(predicted("red").body)
    mixed["results"] += [failure]
    images = [tmp_path / "missing.jpg", b"red", np.zeros(3, np.uint8), b"no image", 7]
    with playing(Answer(json.dumps(mixed))) as script:
        items = many(script.url, iter(images), concurrency=1)
    assert labels(items) == ["unreadable", "red", "unreadable", "unsupported_image", "unreadable"]
    assert [one.response is None for one in items] == [True, False, True, False, True]
    assert "missing.jpg: No such file" in items[0].result.detail
    assert items[3].result.request_id == REQUEST_ID


@both
@pytest.mark.parametrize(
    "too_much", [refused(BodyTooLarge("large")), refused(TooManyImages("many")), Answer("<html>a proxy's", 413)]
)
def test_what_is_too_much_for_one_request_is_sent_in_halves(many: Many, too_much: Answer) -> None:
    with playing(too_much, predicted("a", "b"), too_much, predicted("c"), too_much) as script:
        items = many(script.url, [b"a", b"b", b"c", b"d"], concurrency=1)
    assert labels(items)[:3] == ["a", "b", "c"]
    assert isinstance(items[3].result, Exception)
    assert [asked.body for asked in script.asked[3:]] == [b"c", b"d"]


def losing_the_first(error: type[httpx.RequestError], monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """Have httpx raise this error for the first request, and answer the others; return what it is asked."""
    asked: list[httpx.Request] = []

    def send(_: httpx.Client, request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 1:
            raise error("lost", request=request)
        return httpx.Response(200, content=predicted(*"abcdefgh").body, request=request)

    async def send_later(client: Any, request: httpx.Request) -> httpx.Response:
        return send(client, request)

    monkeypatch.setattr(httpx.Client, "send", send)
    monkeypatch.setattr(httpx.AsyncClient, "send", send_later)
    return asked


@both
@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError]
)
def test_a_service_to_which_no_connection_is_made_or_stays_is_given_up_once(
    many: Many, error: type[httpx.RequestError], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = losing_the_first(error, monkeypatch)
    items = many("http://service", [b"photo"] * 24, patience_s=0, concurrency=1)
    assert labels(items) == ["unreachable"] * 24
    assert len(asked) == 1


@both
@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.WriteTimeout])
def test_a_request_that_takes_too_long_fails_alone(
    many: Many, error: type[httpx.RequestError], monkeypatch: pytest.MonkeyPatch
) -> None:
    losing_the_first(error, monkeypatch)
    items = many("http://service", [b"photo"] * 24, patience_s=0, concurrency=1)
    assert labels(items) == ["unreachable"] * 8 + list("abcdefgh") * 2


@both
def test_progress_is_told_after_each_image(many: Many) -> None:
    told: list[tuple[int, int | None]] = []
    with playing(predicted("red")) as script:
        many(script.url, [b"a", b"b"], concurrency=2, progress=lambda done, of: told.append((done, of)))
        many(script.url, iter([b"a"]), progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2), (1, None)]


@both
def test_no_images_are_no_request(many: Many) -> None:
    with playing(predicted("red")) as script:
        assert many(script.url, []) == []
    assert script.asked == []


async def _asked(method: str, images: Any) -> None:
    async with AsyncClient("http://127.0.0.1:1", connections=1) as client:
        found = getattr(client, method)(images)
        if method.endswith("each"):
            await found


@pytest.mark.parametrize("method", ["predict_many", "embed_many", "predict_each", "embed_each"])
@pytest.mark.parametrize(
    "image",
    [
        "photo.jpg",
        Path("photo.jpg"),
        b"photo",
        memoryview(b"photo"),
        io.BytesIO(b"photo"),
        Image.new("L", (2, 2)),
        *[np.zeros(shape, np.uint8) for shape in [(4, 6), (4, 6, 3), (4, 6, 4)]],
    ],
    ids=lambda image: type(image).__name__,
)
def test_one_image_in_place_of_many_is_refused(method: str, image: Any) -> None:
    """Its letters, bytes, lines or rows would be taken for images, or it would fail only later."""
    says = r"many images must be an iterable of images, such as a list, not \w+: pass one image as \[image\]"
    with Client("http://127.0.0.1:1", connections=1) as client, pytest.raises(TypeError, match=says):
        getattr(client, method)(image)
    with pytest.raises(TypeError, match=says):
        asyncio.run(_asked(method, image))


@both
def test_an_array_of_images_is_many(many: Many) -> None:
    with playing(predicted("a", "b")) as script:
        for images in (np.zeros((2, 4, 6, 3), np.uint8), np.zeros((2, 4, 6), np.uint8), np.array([b"a", b"b"], "O")):
            assert labels(many(script.url, images, concurrency=1)) == ["a", "b"]


@both
def test_not_even_one_request_at_a_time_is_refused(many: Many) -> None:
    with pytest.raises(ValueError, match="concurrency 0 is not 1 or more"):
        many("http://127.0.0.1:1", [], concurrency=0)


def test_embeddings_of_many_are_asked_for_alike() -> None:
    async def ask(url: str) -> list[Any]:
        async with AsyncClient(url) as client:
            return [one async for one in client.embed_many([b"a"], unit=True, deadline_ms=9)]

    with playing(refused(UnsupportedImage("no"))) as script:
        with Client(script.url) as client:
            items = [*client.embed_many([b"a"], unit=True, deadline_ms=9), *client.embed_each([b"a"], unit=True)]
        items += asyncio.run(ask(script.url))
    assert labels(items) == ["unsupported_image"] * 3
    assert [asked.line for asked in script.asked] == ["POST /embed?unit=true HTTP/1.1"] * 3
    assert script.asked[0].headers["X-Request-Timeout-Ms"] == "9"


def waited(call: Callable[[list[Any]], list[Any]], groups: Iterable[list[Any]], at_once: int) -> Iterator[Any]:
    return in_order(call, groups, at_once)


async def _later(call: Callable[[list[Any]], list[Any]], group: list[Any]) -> list[Any]:
    return await asyncio.to_thread(call, group)


def looped(call: Callable[[list[Any]], list[Any]], groups: Iterable[list[Any]], at_once: int) -> Iterator[Any]:
    """Go through the asynchronous iterator from a plain one."""
    loop = asyncio.new_event_loop()

    def later(group: list[Any]) -> Awaitable[list[Any]]:
        return _later(call, group)

    items = in_order_async(later, groups, at_once)
    try:
        while True:
            yield loop.run_until_complete(anext(items))
    except StopAsyncIteration:
        pass
    finally:
        loop.run_until_complete(items.aclose())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


ordered = pytest.mark.parametrize("through", [waited, looped])


@ordered
def test_the_first_to_end_is_not_the_first_to_come_and_only_so_many_run_at_a_time(through: Any) -> None:
    second = threading.Event()
    running: list[int] = []
    most: list[int] = []

    def call(group: list[int]) -> list[int]:
        running.append(1)
        most.append(len(running))
        second.wait(10) if group == [0] else second.set()
        time.sleep(0.005)  # long enough for too many to run at a time
        running.pop()
        return group

    assert list(through(call, ([index] for index in range(30)), 3)) == list(range(30))
    assert 2 <= max(most) <= 3


@ordered
def test_endless_images_are_taken_as_they_are_needed(through: Any) -> None:
    taken = 0

    def endless() -> Iterator[list[int]]:
        nonlocal taken
        while True:
            taken += 1
            yield [taken]

    items = through(lambda group: group, endless(), 2)
    assert [next(items) for _ in range(100)] == list(range(1, 101))
    items.close()
    assert taken <= 100 + 4, "two groups for each that may be under way"


@ordered
def test_what_a_call_raises_is_raised_and_ends_it(through: Any) -> None:
    def call(group: list[int]) -> list[int]:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(through(call, ([index] for index in range(30)), 2))


def test_groups_are_as_large_as_may_be_and_few_images_are_shared_out() -> None:
    assert [len(group) for group in grouped(range(20), 8, lambda _: 0)] == [8, 8, 4]
    half = bytes(MOST_BYTES // 2 + 1)
    assert [len(group) for group in grouped([b"", half, half, b"", half], 8, bytes_about)] == [2, 2, 1]
    assert [group_size([0] * count, 4) for count in (0, 1, 8, 31, 1000)] == [1, 1, 2, 7, 8]
    assert group_size((one for one in [1, 2]), 4) == 8


def test_an_item_is_a_tuple() -> None:
    image, result, response = Item(b"a", 1, None)
    assert (image, result, response) == (b"a", 1, None)


def test_an_iterator_that_is_left_early_makes_no_call_that_had_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    queued, left = threading.Event(), threading.Event()
    called: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __exit__(self, *reason: Any) -> None:
            left.set()
            super().__exit__(*reason)

    def groups() -> Iterator[list[int]]:
        yield from ([index] for index in range(3))
        queued.set()
        yield [3]

    def call(group: list[int]) -> list[int]:
        called.extend(group)
        assert (queued if group == [0] else left).wait(10)
        return group

    monkeypatch.setattr("app.client.many.ThreadPoolExecutor", Pool)
    with closing(in_order(call, groups(), 2)) as items:
        assert next(items) == 0
    assert 3 not in called, "it waited for 1 and 2, which have both threads"


@pytest.mark.timeout(60)  # or it would wait as long as the service says
def test_a_pause_between_attempts_ends_once_the_iterator_is_left() -> None:
    given_up: list[str] = []
    full = refused(QueueFull("full"), {"Retry-After": "900"})
    with playing(full) as script, Client(script.url, patience_s=1000) as client:

        def call(group: list[str]) -> list[Any]:
            if group == ["done"]:
                wait_for(lambda: script.asked)
                return group
            try:
                return [client.predict(b"photo")]
            except Unreachable as exc:
                given_up.append(exc.detail)
                raise

        with closing(in_order(call, [["done"], ["paused"]], 2)) as items:
            assert next(items) == "done"
    assert given_up == ["given up, as nobody waits for the answer any more"]
    assert len(script.asked) == 1


async def test_an_asynchronous_iterator_that_is_left_early_ends_what_it_began() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def call(group: list[int]) -> list[int]:
        begun.extend(group)
        try:
            await asyncio.sleep(0 if group == [0] else 60)
        finally:
            ended.extend(group)
        return group

    items: AsyncIterator[int] = in_order_async(call, ([index] for index in range(30)), 2)
    assert await anext(items) == 0
    await items.aclose()  # type: ignore[attr-defined]
    assert len(begun) > 1
    assert sorted(ended) == sorted(begun)
