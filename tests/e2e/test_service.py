"""The real process answers as documented, whoever runs the model for it, and never loads TensorFlow."""

import base64
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.data import PNG, RED, solid
from tests.support.processes import Process, Serve

pytestmark = pytest.mark.tensorflow


def colours(count: int) -> list[bytes]:
    choice = random.Random(0)
    return [solid((choice.randrange(256), choice.randrange(256), choice.randrange(256))) for _ in range(count)]


def probabilities(result: dict[str, Any]) -> dict[int, float]:
    return {item["class_id"]: item["probability"] for item in result["predictions"]}


def test_the_three_forms_give_the_same_answer(server: Process) -> None:
    with httpx.Client(base_url=server.url) as client:
        forms = [
            client.post("/predict", content=RED, headers=PNG),
            client.post("/predict", files={"image": ("red.png", RED, "image/png")}),
            client.post("/predict", json={"images": [base64.b64encode(RED).decode()]}),
        ]
    first, *others = (probabilities(form.json()["results"][0]) for form in forms)
    assert len(first) == 5
    for other in others:
        assert other == pytest.approx(first, abs=1e-5)


def test_concurrent_requests_form_batches_and_each_gets_its_own_answer(server: Process) -> None:
    images = colours(64)
    with httpx.Client(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=64)) as client:

        def ask(image: bytes) -> Any:
            return client.post("/predict", params={"top_k": 12}, content=image, headers=PNG).json()

        alone = [ask(image) for image in images]
        with ThreadPoolExecutor(64) as threads:
            together = list(threads.map(ask, images))
    assert max(answer["batch_size"] for answer in together) > 1
    for one, other in zip(alone, together, strict=True):
        assert probabilities(other["results"][0]) == pytest.approx(probabilities(one["results"][0]), abs=1e-5)
    assert len({tuple(probabilities(answer["results"][0])) for answer in alone}) > 1, "the images look all alike"


def test_a_request_of_several_images_is_batched_and_answered_in_order(server: Process) -> None:
    images = colours(20)
    body = {"images": [base64.b64encode(image).decode() for image in images]}
    with httpx.Client(base_url=server.url) as client:
        answer = client.post("/predict", json=body).json()
        singly = [client.post("/predict", content=image, headers=PNG).json()["results"][0] for image in images]
    assert answer["batch_size"] > 1
    for one, other in zip(answer["results"], singly, strict=True):
        assert probabilities(one) == pytest.approx(probabilities(other), abs=1e-5)


def test_an_image_of_20000_by_20000_is_refused_without_the_memory_for_it(server: Process) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(4096))) + chunk(b"IEND", b"")
    )
    before = server.status("VmHWM")
    for _ in range(3):
        response = httpx.post(f"{server.url}/predict", content=bomb, headers=PNG)
        assert (response.status_code, response.json()["code"]) == (413, "too_many_pixels")
    assert server.status("VmHWM") - before < 20_000, "kB"


def test_the_server_never_loads_tensorflow(server: Process) -> None:
    front, *workers = (Path(f"/proc/{number}/maps").read_text() for number in server.tree())
    assert "litert" not in front
    assert all("litert" in loaded for loaded in workers)
    assert all("tensorflow" not in loaded for loaded in (front, *workers))


def test_the_tensorflow_engine_gives_the_same_answers(serve: Serve, server: Process, own: dict[str, object]) -> None:
    reference = serve(**own, ENGINE="tensorflow")
    for image in colours(5):
        ours, theirs = (
            httpx.post(f"{process.url}/predict?top_k=12", content=image, headers=PNG).json()["results"][0]
            for process in (server, reference)
        )
        assert probabilities(ours) == pytest.approx(probabilities(theirs), abs=1e-4)
    assert httpx.get(f"{reference.url}/model-info").json()["engine"] == "tensorflow"
    assert reference.stop() == 0


def test_without_processes_for_the_model_the_answers_are_the_same(
    serve: Serve, server: Process, own: dict[str, object]
) -> None:
    inline = serve(**own, HTTP_WORKERS=2, MODEL_WORKERS=0)
    assert not inline.workers()
    for image in colours(5):
        ours, theirs = (
            httpx.post(f"{process.url}/predict?top_k=12", content=image, headers=PNG).json()["results"][0]
            for process in (server, inline)
        )
        assert probabilities(ours) == pytest.approx(probabilities(theirs), abs=1e-6)
    assert inline.stop() == 0
