"""Limits are kept while a body comes, not after it came."""

import asyncio
import json
import time
from typing import Any

import pytest
from starlette import formparsers
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from app.api import payload
from app.config import Settings
from app.errors import BodyTooLarge, DeadlineExceeded, TooManyImages, UnsupportedImage, UnsupportedMedia
from app.imaging.formats import UNKNOWN

CHUNK = b"x" * 1000
SETTINGS = Settings(max_body_bytes=10_000, max_images=3)


class Upload:
    """A client that sends chunk after chunk for as long as it is read, and counts them."""

    def __init__(self, *headers: tuple[bytes, bytes], body: bytes | None = None) -> None:
        self.read = 0
        self._body = body
        self.request = Request({"type": "http", "method": "POST", "headers": list(headers)}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        self.read += 1
        if self._body is not None:
            return {"type": "http.request", "body": self._body, "more_body": False}
        assert self.read < 1000, "the body is read without an end"
        return {"type": "http.request", "body": CHUNK, "more_body": True}


def in_ten_seconds() -> float:
    return time.monotonic() + 10


class InParts(Upload):
    """A client that sends a body in parts, none of which is there when it is asked for."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__((b"content-type", b"image/png"))
        self._parts = list(parts)

    async def _receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.read += 1
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}


async def test_a_body_in_parts_is_put_together_in_their_order() -> None:
    upload = InParts(b"abc", b"", b"def", b"g")
    assert await payload.read(upload.request, SETTINGS, in_ten_seconds()) == [b"abcdefg"]


async def test_a_body_that_came_in_time_is_not_given_up_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = InParts(b"abc", b"def")
    assert await payload.read(upload.request, SETTINGS, in_ten_seconds()) == [b"abcdef"]
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 20)
    for _ in range(3):  # whoever is told now that the body is late would be the next request
        await asyncio.sleep(0)


async def test_work_for_a_client_that_leaves_is_cancelled_and_its_task_is_well_again() -> None:
    left, ended = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def work() -> None:
        asyncio.get_running_loop().call_later(2 * payload.WATCH_AFTER_S, left.set)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def request() -> int:
        with pytest.raises(ClientDisconnect):
            await payload.unless_departed(receive, work())
        current = asyncio.current_task()
        assert current is not None
        return current.cancelling()

    # Not within a timeout: it would cancel the task, as what is tested here does.
    done, _ = await asyncio.wait([asyncio.create_task(request())], timeout=5)
    assert ended.is_set()
    assert [task.result() for task in done] == [0], "whoever cancels this task later would be mistaken"


@pytest.mark.parametrize("work_s", [0, 2 * payload.WATCH_AFTER_S], ids=["before it is watched", "while it is watched"])
async def test_a_client_that_leaves_once_the_work_is_done_cancels_nothing_more(work_s: float) -> None:
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def request() -> None:
        await payload.unless_departed(receive, asyncio.sleep(work_s))
        left.set()
        await asyncio.sleep(2 * payload.WATCH_AFTER_S)

    answering = asyncio.create_task(request())
    await asyncio.wait([answering])
    assert not answering.cancelled()


async def test_work_that_somebody_else_cancels_is_not_taken_for_a_client_that_left() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    waiting = asyncio.create_task(payload.unless_departed(receive, asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("encoding", [b"identity", b" Identity ", b""])
async def test_a_body_without_compression_may_say_so(encoding: bytes) -> None:
    upload = Upload((b"content-encoding", encoding), body=b"image")
    assert await payload.read(upload.request, SETTINGS, in_ten_seconds()) == [b"image"]


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "application/x-octet-stream",
        "*/*",
        "image/x; a=b",
        "IMAGE/X",
    ],
)
def test_bytes_of_no_or_any_type_are_refused_for_what_they_are_and_others_for_their_type(kind: str) -> None:
    error = UnsupportedImage(UNKNOWN)
    assert payload._explained(error, kind, b"a=b") is error
    other = payload._explained(error, "text/plain", b"a=b")
    assert isinstance(other, UnsupportedMedia)
    assert f"{UNKNOWN}; content type text/plain is none of image/*" in other.detail


async def test_a_body_without_an_end_is_cut_at_the_limit() -> None:
    upload = Upload((b"content-type", b"image/png"))
    with pytest.raises(BodyTooLarge, match="10,000 bytes"):
        await payload.read(upload.request, SETTINGS, in_ten_seconds())
    assert upload.read == 11, "ten chunks fit, the next is one too many"


async def test_a_body_that_announces_too_much_is_refused_unread() -> None:
    upload = Upload((b"content-type", b"image/png"), (b"content-length", b"10001"))
    with pytest.raises(BodyTooLarge):
        await payload.read(upload.request, SETTINGS, in_ten_seconds())
    assert upload.read == 0


async def test_multipart_files_beyond_the_limit_are_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    class Counted(UploadFile):
        """Counts itself."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            opened.append(self)

    monkeypatch.setattr(formparsers, "UploadFile", Counted)
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\nx\r\n'
    upload = Upload((b"content-type", b"multipart/form-data; boundary=b"), body=part * 100 + b"--b--\r\n")
    with pytest.raises(TooManyImages, match="3 is the most"):
        await payload.read(upload.request, SETTINGS, in_ten_seconds())
    assert len(opened) <= 4


async def test_a_body_that_comes_too_slowly_ends_at_the_deadline() -> None:
    class Stalled(Upload):
        """Sends one chunk and then nothing."""

        async def _receive(self) -> dict[str, Any]:
            if self.read:
                await asyncio.sleep(60)
            return await super()._receive()

    with pytest.raises(DeadlineExceeded, match="did not arrive"):
        await payload.read(Stalled((b"content-type", b"image/png")).request, SETTINGS, time.monotonic() + 0.05)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"images":[' + b"1," * 50_000 + b"1]}", "many more than 6 values"),
        (b"{" + b'"":1,' * 50_000 + b'"":1}', "many more than 6 values"),
        (b'{"images":[' + b",".join([b"[" * 190 + b"]" * 190] * 1000) + b"]}", "many more than 2 lists and objects"),
        (
            b"{" + b",".join(b'"%d":' % name + b"[" * 190 + b"]" * 190 for name in range(1000)) + b"}",
            "many more than 2 lists and objects",
        ),
        (b'{"a":' * 2000 + b"0" + b"}" * 2000, "many more than 2 lists and objects"),
    ],
    ids=["values", "members", "lists of images", "lists of others", "objects"],
)
async def test_json_of_far_more_than_images_need_is_refused_unread(
    body: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "PredictBody", None)
    upload = Upload((b"content-type", b"application/json"), body=body)
    with pytest.raises(BodyTooLarge, match=f"{says}, the most that a request needs; each image is one text in base64"):
        await payload.read(upload.request, SETTINGS.model_copy(update={"max_body_bytes": 10**6}), in_ten_seconds())


def test_brackets_within_strings_of_json_are_no_reason_to_refuse_it() -> None:
    image = "[{" * 400
    assert payload.parse(json.dumps({"images": [image]}).encode(), "application/json", SETTINGS) == [image]
