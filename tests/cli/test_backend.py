"""This process and a service classify alike; what is wrong with a photo, a request or an address is said."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from app.cli import backend
from app.cli.backend import Backend, RemoteBackend
from app.config import Settings
from app.errors import (
    BodyTooLarge,
    EmptyImage,
    InternalError,
    QueueFull,
    ServiceError,
    StartError,
    Unauthorized,
    UnsupportedImage,
)
from app.imaging.bounds import LargeImage
from app.model.model import Model
from app.model.selftest import SelfTestFailed
from app.prediction import blocking
from app.prediction.blocking import LocalBackend, PhotoResult, Source
from app.runtime.faults import WorkerDied
from app.runtime.pipeline import NOTHING, Job, JobResult, Wish
from app.schemas import Predictions
from tests.support.client import launching
from tests.support.data import REPOSITORY
from tests.support.fakes import mosaic_model
from tests.support.images import encoded, photo, png
from tests.support.script import Answer, playing, predicted, refused

SETTINGS = Settings(precision="int8", alpha=0.25, resolution=128, model_workers=2)
FILES = [encoded(photo(), "JPEG"), b"no image", encoded(photo().rotate(90), "PNG"), b"", png(9000, 9000)]
LARGE = png(4000, 3001, depth=1, colour=0, rows=bytes(501 * 3001))


@pytest.fixture(scope="module")
def local() -> Iterator[LocalBackend]:
    made = LocalBackend(SETTINGS)
    yield made
    made.close()


def info(**batching: int) -> Answer:
    with launching() as launch:
        body = launch().get("/model-info").json()
    body["batching"] |= batching
    return Answer(json.dumps(body))


INFO = info(max_queue=128, max_batch_size=8)


def codes(results: Sequence[PhotoResult]) -> list[str]:
    return [result.code if isinstance(result, Exception) else "" for result in results]


def test_every_photo_has_its_own_result_here(local: LocalBackend) -> None:
    results = local.classify(FILES, 3)
    assert codes(results) == ["", "unsupported_image", "", "empty_image", "too_many_pixels"]
    best = results[0]
    assert isinstance(best, Predictions)
    shares = [one.probability for one in best.predictions]
    assert shares == sorted(shares, reverse=True)
    assert (len(shares), local.classes, local.at_once, local.size) == (3, 10, 2, 8)
    assert all(one.wordnet_id and one.label for one in best.predictions)


@pytest.mark.parametrize(("familiarity", "unfamiliar"), [(0.0499, True), (0.05, None), (None, None)])
def test_how_familiar_a_photo_is_here_is_what_its_model_says(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch, familiarity: float | None, unfamiliar: bool | None
) -> None:
    monkeypatch.setattr(Model, "familiarity_of", lambda *_: familiarity)
    (found,) = local.classify(FILES[:1], 1)
    assert isinstance(found, Predictions)
    assert (found.familiarity, found.unfamiliar) == (familiarity, unfamiliar)


def test_large_photos_are_classified_one_at_a_time_so_that_memory_is_bounded(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: list[int] = []
    most: list[int] = []

    def run(images: Sequence[bytes], wish: Wish, large: bool = False) -> list[JobResult]:
        if not large:
            return [LargeImage()]
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.05)  # long enough for the others to come
        under_way.pop()
        return [BodyTooLarge("seen")]

    monkeypatch.setattr(local, "_run", run)
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda _: local.classify([LARGE], 1), range(3)))
    assert [codes(one) for one in results] == [["body_too_large"]] * 3
    assert most == [1, 1, 1]


def test_a_large_photo_is_classified_here_too(local: LocalBackend) -> None:
    assert local._run([LARGE], NOTHING)[0].__class__ is LargeImage
    assert codes(local.classify([LARGE, FILES[0]], 1)) == ["", ""]


def test_a_photo_that_kills_its_process_fails_alone(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    run = local._pipeline.run

    async def deadly(jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        if b"deadly" in [job.payload for job in jobs if isinstance(job.payload, bytes)]:
            raise WorkerDied("a worker ended in the middle of its work")
        return await run(jobs, large)

    monkeypatch.setattr(local._pipeline, "run", deadly)
    assert codes(local.classify([FILES[0], b"deadly", FILES[2]], 1)) == ["", InternalError.code, ""]


def test_a_model_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match=r": cannot read missing\.h5: No such file or directory$"):
        LocalBackend(Settings(weights="missing.h5", labels=None))

    def wrong(_: Settings) -> Any:
        raise SelfTestFailed("it answers nonsense")

    monkeypatch.setattr(blocking, "start_loading", lambda _: lambda: wrong(SETTINGS))
    with pytest.raises(StartError, match="it answers nonsense"):
        LocalBackend(SETTINGS)


def asking(url: str, connections: int | None = None) -> RemoteBackend:
    return RemoteBackend(url, "secret", connections)


def test_a_service_gives_what_its_photos_gave() -> None:
    with launching() as launch:
        app = launch()
        answer = app.post("/predict?top_k=1", files=[("image", file) for file in FILES if file])
    with playing(INFO, Answer(answer.text)) as script:
        remote = asking(script.url)
        results = remote.classify([file for file in FILES if file], 1)
        remote.close()
    assert codes(results) == ["", "unsupported_image", "", "too_many_pixels"]
    assert [asked.headers["Authorization"] for asked in script.asked] == ["Bearer secret"] * 2
    assert script.asked[1].line.startswith("POST /predict?top_k=1 ")


@pytest.mark.parametrize(
    ("max_queue", "max_batch_size", "connections", "expected"),
    [
        (128, 8, None, (8, 4)),
        (1024, 8, None, (8, 32)),
        (64, 32, None, (8, 2)),
        (4, 1, None, (1, 1)),
        (128, 8, 9, (8, 9)),
    ],
)
def test_a_quarter_of_the_queue_is_kept_busy(
    max_queue: int, max_batch_size: int, connections: int | None, expected: tuple[int, int]
) -> None:
    with playing(info(max_queue=max_queue, max_batch_size=max_batch_size)) as script:
        remote = asking(script.url, connections)
        remote.close()
    assert (remote.size, remote.at_once) == expected


@pytest.mark.parametrize("too_much", [refused(BodyTooLarge("too large")), Answer("<html>a proxy's", 413)])
def test_what_is_too_much_for_one_request_is_sent_in_two(too_much: Answer) -> None:
    with playing(INFO, too_much, predicted("a", "b"), too_much, predicted("c"), too_much) as script:
        remote = asking(script.url)
        *good, bad = remote.classify([b"a", b"b", b"c", b"d"], 1)
        remote.close()
    assert [one.predictions[0].label for one in good if isinstance(one, Predictions)] == ["a", "b", "c"]
    assert isinstance(bad, Exception)
    sent = [asked.body for asked in script.asked[1:]]
    assert len(sent) == 5
    assert sent[3:] == [b"c", b"d"], "one after the other, each whole and once"


def test_every_photo_of_a_request_that_failed_says_why() -> None:
    with playing(INFO, Answer("", 504)) as script:
        remote: Backend = asking(script.url)
        assert codes(remote.classify([b"a", b"b"], 1)) == ["unexpected_answer"] * 2
        remote.close()


def test_a_service_is_waited_for_for_up_to_the_documented_minute() -> None:
    with playing(INFO) as script:
        remote = asking(script.url)
        remote.close()
    assert remote._client._patience_s == 60
    document = (REPOSITORY / "docs" / "clients.md").read_text(encoding="utf-8")
    assert "the command waits for it, for up to a minute" in " ".join(document.split())


def test_a_service_that_stays_away_is_given_up_once_for_all_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PATIENCE_S", 0.0)
    with playing(INFO) as script:
        remote = asking(script.url)
    found = [error for _ in range(3) for error in remote.classify([b"a", b"b"], 1)]
    remote.close()
    assert codes(found) == ["unreachable"] * 6
    assert len({*map(id, found)}) == 1, "it was asked once"


def test_a_request_that_takes_too_long_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(INFO, predicted("a", "b")) as script:
        remote = asking(script.url)
        real = httpx.Client.send

        def send(client: httpx.Client, request: httpx.Request) -> httpx.Response:
            monkeypatch.setattr(httpx.Client, "send", real)
            raise httpx.ReadTimeout("timed out", request=request)

        monkeypatch.setattr(httpx.Client, "send", send)
        assert [codes(remote.classify([b"a", b"b"], 1)) for _ in range(2)] == [["unreachable"] * 2, [""] * 2]
        remote.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused(Unauthorized("the key is wrong")), "the key is wrong"),
        (Answer("hello"), "answered 200 OK, which is not an answer of this service"),
    ],
)
def test_a_service_that_is_none_or_locked_is_one_line(answer: Answer, words: str) -> None:
    with playing(answer) as script, pytest.raises(StartError, match=words):
        asking(script.url)
    with pytest.raises(StartError, match="is not an address of a service"):
        asking("localhost:8000")


def test_a_service_that_never_has_room_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PATIENCE_S", 0.0)
    full: ServiceError = QueueFull("full")
    with playing(INFO, refused(full, {"Retry-After": "1"})) as script:
        remote = asking(script.url)
        assert codes(remote.classify([b"a", b"b"], 1)) == ["queue_full"] * 2
        remote.close()


def test_embeddings_here_are_those_of_the_model_and_a_bad_photo_fails_alone(local: LocalBackend) -> None:
    good, bad, _, empty, _ = local.embed(FILES)
    assert isinstance(good, np.ndarray)
    assert (good.shape, str(good.dtype)) == ((256,), "float32")
    assert [type(bad), type(empty)] == [UnsupportedImage, EmptyImage]
    source = local.source()
    assert (source.weights, source.variant, source.classes) == ("imagenette", "0.25/128", 10)
    np.testing.assert_array_equal(local.embed(FILES[:1])[0], good)


def test_embeddings_of_a_service_are_what_it_answers_until_its_weights_change() -> None:
    with launching() as launch:
        app = launch(mosaic_model())
        info, answer = (
            app.get("/model-info").text,
            app.post("/embed", files=[("image", file) for file in FILES if file]),
        )
    changed = answer.text.replace("0" * 64, "f" * 64)
    with playing(Answer(info), Answer(answer.text), Answer(changed)) as script:
        remote = asking(script.url)
        assert remote.source() == Source("colours", "0" * 64, "0.25/64", "float32", 6)
        good, bad, *_ = remote.embed([file for file in FILES if file])
        late = remote.embed(FILES[:1])
        remote.close()
    assert isinstance(good, np.ndarray)
    np.testing.assert_allclose(good, answer.json()["results"][0]["embedding"], rtol=1e-6)
    assert codes([bad]) == ["unsupported_image"]  # type: ignore[list-item]
    assert "changed meanwhile" in str(late[0])
