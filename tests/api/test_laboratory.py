"""`/variants` and `/preview` as their callers see them."""

import asyncio
import io
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.api import catalogue
from app.config import Settings
from app.imaging import decode
from app.main import create_app
from app.measurements import Latency
from app.mobilenet.cost import cost
from app.mobilenet.variants import PUBLISHED, Variant
from app.model import latency, scores
from app.prediction.classifier import Classifier
from tests.support.asgi import Client, ready
from tests.support.client import Launch, check_problem
from tests.support.data import solid
from tests.support.fakes import colour_model, serving
from tests.support.images import encoded, orientation, photo
from tests.support.pen import Pen


def measured(variant: Variant, median_ms: float, **other: Any) -> Latency:
    facts: dict[str, Any] = {
        "alpha": variant.alpha,
        "resolution": variant.resolution,
        "classes": 6,
        "precision": "float32",
        "engine": "colour",
        "threads": 2,
        "machine": latency.machine(),
        "measured": "2026-01-31",
        "runs": 20,
        "median_ms": median_ms,
        "p95_ms": 2 * median_ms,
    }
    return Latency(**facts | other)


def test_variants_lists_the_sixteen_and_the_served_one_with_their_exact_cost(launch: Launch, tmp_path: Path) -> None:
    answer = launch(cache=tmp_path).get("/variants").json()
    found = {Variant(item["alpha"], item["resolution"]): item for item in answer["variants"]}
    served = Variant(0.25, 64)
    assert list(found) == [*PUBLISHED, served]
    assert [variant for variant, item in found.items() if item["served"]] == [served]
    for variant, item in found.items():
        total = cost(variant, classes=6)
        assert (item["macs"], item["parameters"]["total"]) == (total.macs, total.parameters)
        assert item["size_bytes"] == 4 * total.parameters
        assert (item["top1"], item["latency"], item["macs_frontier"], item["latency_frontier"]) == (None,) * 4
    assert (answer["weights"], answer["classes"], answer["machine"]) == ("colours", 6, latency.machine())


def test_variants_shows_the_latencies_of_this_machine_and_this_setup_alone(launch: Launch, tmp_path: Path) -> None:
    one, other = Variant(0.5, 160), Variant(0.25, 128)
    strange = [
        measured(other, 1.0, **{name: value})
        for name, value in [("machine", "another"), ("threads", 3), ("precision", "int8"), ("classes", 7)]
    ]
    latency.save(tmp_path, [measured(one, 9.0), *strange])
    latency.save(tmp_path, [measured(one, 4.0)])
    answer = launch(cache=tmp_path, model_threads=2).get("/variants").json()
    found = {(item["alpha"], item["resolution"]): item["latency"] for item in answer["variants"] if item["latency"]}
    assert list(found) == [(0.5, 160)]
    assert found[0.5, 160]["median_ms"] == 4.0, "the newest measurement counts"
    assert found[0.5, 160]["machine"] == answer["machine"]


def test_variants_says_what_would_serve_faster_and_whether_that_is_sure(launch: Launch, tmp_path: Path) -> None:
    served = Variant(0.25, 64)
    client = launch(cache=tmp_path, model_threads=2)
    assert (client.get("/variants").json()["faster"], fastest_of(client, served)) == (None, None)

    ours = measured(served, 9.0, turns_ms=[8.9, 9.2], contest="a", weights="colours")
    latency.save(tmp_path, [ours])
    assert client.get("/variants").json()["faster"] is None
    assert fastest_of(client, served) | {"command": ""} == {
        "engine": "colour",
        "precision": "float32",
        "median_ms": 9.0,
        "top1": None,
        "compared": 1,
        "rivals": [],
        "command": "",
    }

    litert = ours.model_copy(update={"engine": "litert", "median_ms": 4.0, "turns_ms": (3.9, 4.1)})
    latency.save(tmp_path, [litert])
    faster = client.get("/variants").json()["faster"]
    assert faster == fastest_of(client, served) | {"served_ms": 9.0, "sure": True}
    assert (faster["engine"], faster["median_ms"], faster["compared"], faster["rivals"]) == ("litert", 4.0, 2, [])
    assert faster["command"] == "mobilenet serve --engine litert --precision float32 --alpha 0.25 --resolution 64"

    latency.save(tmp_path, [litert.model_copy(update={"turns_ms": (3.9, 9.0)})])
    faster = client.get("/variants").json()["faster"]
    assert (faster["sure"], faster["rivals"]) == (False, [{"engine": "colour", "precision": "float32"}])

    latency.save(tmp_path, [litert.model_copy(update={"median_ms": 9.5})])
    assert client.get("/variants").json()["faster"] is None, "what serves is the fastest"
    assert fastest_of(client, served)["engine"] == "colour"


def fastest_of(client: TestClient, variant: Variant) -> Any:
    items = client.get("/variants").json()["variants"]
    return next(
        one["fastest"] for one in items if (one["alpha"], one["resolution"]) == (variant.alpha, variant.resolution)
    )


def test_a_damaged_file_of_latencies_is_none(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / latency.NAME).write_text('[{"alpha": 1')
    answer = launch(cache=tmp_path).get("/variants")
    assert answer.status_code == 200
    assert not any(item["latency"] for item in answer.json()["variants"])


def test_the_frontier_has_what_nothing_beats_at_its_price() -> None:
    points = [(1.0, 0.5), (2.0, 0.7), (3.0, 0.6), (2.0, 0.65), (None, 0.9), (4.0, None), (4.0, 0.7), (1.0, 0.5)]
    assert catalogue.frontier(points) == [True, True, False, False, None, None, False, True]


def test_the_bundled_weights_have_their_measured_accuracy_and_a_frontier(tmp_path: Path) -> None:
    model = colour_model()
    bundled = replace(model, variant=Variant(0.5, 160), weights="imagenette", scores=scores.read())
    slow_and_right, quick = Variant(0.75, 192), Variant(0.25, 128)
    latency.save(tmp_path, [measured(slow_and_right, 9.0), measured(quick, 1.0), measured(Variant(0.5, 224), 10.0)])
    settings = Settings(cache=tmp_path, model_threads=2)
    items = {Variant(item.alpha, item.resolution): item for item in catalogue.variants([bundled], settings).variants}
    score = items[slow_and_right].accuracy.measured
    assert score is not None
    assert items[slow_and_right].top1 == score.top1
    assert (items[quick].macs_frontier, items[quick].latency_frontier) == (True, True)
    assert items[slow_and_right].latency_frontier
    assert items[Variant(0.5, 224)].latency_frontier is False
    assert items[Variant(0.5, 160)].latency_frontier is None, "nobody measured it"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize(("query", "resolution"), [("", 64), ("?resolution=64", 64), ("?resolution=192", 192)])
def test_the_preview_is_the_networks_input_to_the_pixel(launch: Launch, form: str, query: str, resolution: int) -> None:
    content = encoded(photo(200, 120), form, exif=orientation(6))
    answer = launch().post(f"/preview{query}", content=content)
    assert answer.headers["content-type"] == "image/png"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(shown, decode.decode(content, resolution=resolution, max_pixels=10**6))
    assert "decode;dur=" in answer.headers["server-timing"]


def test_the_preview_refuses_as_predict_does(launch: Launch) -> None:
    client = launch(max_body_bytes=10_000, max_pixels=10_000)
    check_problem(client.post("/preview"), 400, "empty_image")
    check_problem(client.post("/preview", content=bytes(10_001)), 413, "body_too_large")
    check_problem(client.post("/preview", content=solid((1, 2, 3), size=(200, 60))), 413, "too_many_pixels")
    check_problem(client.post("/preview", content=b"no image"), 415, "unsupported_image")
    check_problem(client.post("/preview", content=solid((1, 2, 3))[:-30]), 422, "undecodable_image")
    detail = check_problem(client.post("/preview", json={"images": []}), 415, "unsupported_media_type")
    assert detail == "content type application/json is none of image/* and application/octet-stream"
    check_problem(client.post("/preview", files={"image": b"x"}), 415, "unsupported_media_type")
    detail = check_problem(client.post("/preview?resolution=96", content=b"no image"), 422, "invalid_parameter")
    assert detail == "resolution: 96 is none of 64, 128, 160, 192, 224"
    check_problem(client.post("/preview?resolution=large", content=b"no image"), 422, "invalid_parameter")


def test_keys_lock_the_laboratory_too(launch: Launch) -> None:
    client = launch(api_keys=("a-key",))
    check_problem(client.get("/variants"), 401, "unauthorized")
    check_problem(client.post("/preview", content=solid((1, 2, 3))), 401, "unauthorized")
    assert client.get("/variants", headers={"X-API-Key": "a-key"}).status_code == 200
    assert client.post("/preview", content=solid((1, 2, 3)), headers={"X-API-Key": "a-key"}).status_code == 200


async def test_previews_that_wait_when_the_service_is_stopped_are_drawn_and_later_ones_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pen, draining = Pen(monkeypatch), asyncio.Event()
    drain = Classifier.drain

    async def noted(classifier: Classifier) -> None:
        draining.set()  # before anything else may run
        await drain(classifier)

    monkeypatch.setattr(Classifier, "drain", noted)
    app = create_app(Settings(), serving(colour_model()))
    async with AsyncExitStack() as lifespan:
        await lifespan.enter_async_context(app.router.lifespan_context(app))
        await ready(app)
        admitted = [Client(app, solid((1, 2, 3)), path="/preview") for _ in range(2)]
        await pen.until_queued(2)
        stopping = asyncio.create_task(lifespan.aclose())
        await asyncio.wait_for(draining.wait(), 10)
        late = Client(app, solid((1, 2, 3)), path="/preview")
        await asyncio.wait_for(late.task, 5)
        assert (late.status, late.problem["code"]) == (503, "draining")
        assert not stopping.done()
        pen.gate.set()
        await asyncio.wait_for(asyncio.gather(stopping, *(client.task for client in admitted)), 10)
    assert [client.status for client in admitted] == [200, 200]


def test_a_preview_that_hangs_fails_both_probes(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.config.STALLED_AT_LEAST_S", 0.1)
    monkeypatch.setattr("app.config.STALL_GRACE_S", 0.0)
    pen = Pen(monkeypatch)
    client = launch(request_timeout_ms=50)
    while not pen.drawing.is_set():
        check_problem(client.post("/preview", content=solid((1, 2, 3))), 504, "deadline_exceeded")
    while client.get("/healthz").status_code == 200:
        time.sleep(0.01)
    for path in ("/healthz", "/readyz"):
        assert check_problem(client.get(path), 503, "unavailable") == "a preview hangs"
    pen.gate.set()
