"""What a request asks for beside its images, over HTTP in one process, on colours that claim to be variants."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.engines.base import Engine, Pixels, Predictions
from app.main import create_app
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.schemas import PredictResponse
from tests.support.client import check_problem, samples, started
from tests.support.data import solid
from tests.support.fakes import COLOURS, ColourEngine, serving_lineup

SMALL, MIDDLE, LARGE = Variant(0.25, 32), Variant(0.5, 64), Variant(0.75, 96)
LINEUP: dict[str, Any] = {"alpha": 0.5, "resolution": 64, "variants": (SMALL, LARGE)}
RED = solid(COLOURS["red"])


class Unsure(ColourEngine):
    """Knows the colour, and says so of red alone with a probability of more than 0.5."""

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for six classes."""
        sure, energies = super().predict(images)
        flat = 0.4 * sure + 0.1
        return Predictions(sure * (sure[:, :1] > 0.5) + flat * (sure[:, :1] <= 0.5), energies)


class Held(ColourEngine):
    """Waits for its gate before it answers, once it is armed."""

    def __init__(self) -> None:
        self.gate, self.running, self.armed = threading.Event(), threading.Event(), False

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Answer once the gate is open."""
        if self.armed:
            self.running.set()
            assert self.gate.wait(10)
        return super().predict(images)


@pytest.fixture
def launch() -> Iterator[Any]:
    with ExitStack() as stack:

        def start(engines: dict[str, Engine] | None = None, **settings: Any) -> TestClient:
            app = create_app(Settings(**LINEUP | settings), serving_lineup(**engines or {}))
            return stack.enter_context(started(app))

        yield start


@pytest.fixture
def client(launch: Any) -> TestClient:
    return launch()  # type: ignore[no-any-return]


def post(client: TestClient, image: bytes = RED, **params: Any) -> Any:
    return client.post("/predict", content=image, headers={"Content-Type": "image/png"}, params=params)


def answering(response: Any) -> Variant:
    assert response.status_code == 200, response.text
    model = response.json()["model"]
    return Variant(model["alpha"], model["resolution"])


def macs(*variants: Variant) -> int:
    return sum(cost(variant, len(COLOURS)).macs for variant in variants)


def test_who_asks_for_nothing_gets_the_default_variant_and_the_answer_of_ever(client: TestClient) -> None:
    plain: list[dict[str, Any]] = [{}, {"top_k": 3}]
    for params in plain:
        response = post(client, **params)
        assert answering(response) == MIDDLE
        assert set(response.json()) == {"model", "results", "cost", "timing", "batch_size", "request_id"}
        assert set(response.json()["results"][0]) == {"predictions"}


@pytest.mark.parametrize("variant", [SMALL, MIDDLE, LARGE], ids=str)
def test_a_loaded_variant_answers_by_its_numbers_at_its_own_cost(client: TestClient, variant: Variant) -> None:
    response = post(client, alpha=variant.alpha, resolution=variant.resolution)
    assert answering(response) == variant
    assert response.json()["cost"]["macs"] == macs(variant)


def test_what_is_not_loaded_is_404_with_the_list_of_what_is(client: TestClient) -> None:
    ways: list[dict[str, Any]] = [{"alpha": 1}, {"variants": "0.5/64,1/64"}, {"cascade": "0.5/64,1/64"}]
    for params in ways:
        detail = check_problem(post(client, **params), 404, "variant_not_loaded")
        assert detail == "the variant 1/64 is not loaded; loaded are 0.5/64, 0.25/32, 0.75/96"


def test_a_budget_chooses_and_the_answer_says_why(client: TestClient) -> None:
    response = post(client, max_macs=macs(MIDDLE))
    assert answering(response) == MIDDLE
    choice = response.json()["choice"]
    assert choice["reason"] == (
        f"2 of 3 loaded variants fit max_macs={macs(MIDDLE)}; this is the one with the most MACs of them"
    )
    assert choice["expected_ms"] > 0
    assert answering(post(client, max_macs=10**9)) == LARGE
    assert answering(post(client, max_latency_ms=10**6)) == LARGE
    only = post(client, max_macs=macs(MIDDLE) - 1)
    assert answering(only) == SMALL
    assert only.json()["choice"]["reason"] == f"1 of 3 loaded variants fits max_macs={macs(MIDDLE) - 1}: this one"


def test_an_impossible_budget_names_the_nearest_feasible(client: TestClient) -> None:
    detail = check_problem(post(client, max_macs=5), 422, "impossible_budget")
    assert f"the nearest that is feasible is max_macs={macs(SMALL)}, with 0.25/32" in detail
    assert answering(post(client, max_macs=macs(SMALL))) == SMALL


def test_a_variant_that_is_slow_now_is_not_expected_to_keep_a_latency(launch: Any) -> None:
    class Slow(ColourEngine):
        """Takes a while."""

        def predict(self, images: Sequence[Pixels]) -> Predictions:
            """Return the predictions for six classes."""
            time.sleep(0.05)
            return super().predict(images)

    client = launch({"r96": Slow()})
    assert answering(post(client, max_latency_ms=10_000)) == LARGE
    assert answering(post(client, max_latency_ms=49)) in (MIDDLE, SMALL)


def test_a_comparison_has_every_variant_side_by_side_and_the_answer_of_the_best(launch: Any) -> None:
    client = launch({"r32": Unsure()})
    green = solid(COLOURS["green"])
    response = post(client, green, variants="all", top_k=2)
    assert answering(response) == LARGE
    body = response.json()
    (result,) = body["results"]
    found = [Variant(one["model"]["alpha"], one["model"]["resolution"]) for one in result["variants"]]
    assert found == [MIDDLE, SMALL, LARGE]
    for variant, one in zip(found, result["variants"], strict=True):
        alone = post(client, green, alpha=variant.alpha, resolution=variant.resolution, top_k=2).json()
        assert one["predictions"] == alone["results"][0]["predictions"]
        assert one["cost"] == alone["cost"]
    assert result["predictions"] == result["variants"][2]["predictions"]
    assert result["agreement"] == 1
    assert body["cost"]["macs"] == macs(SMALL, MIDDLE, LARGE)
    assert len(post(client, variants="0.75/96, 0.25/32").json()["results"][0]["variants"]) == 2


def test_a_comparison_says_how_many_agree(launch: Any) -> None:
    class Colourblind(ColourEngine):
        """Takes every image for the colour after."""

        def predict(self, images: Sequence[Pixels]) -> Predictions:
            """Return the predictions for six classes."""
            seen, energies = super().predict(images)
            return Predictions(seen[:, [5, 0, 1, 2, 3, 4]], energies)

    response = post(launch({"r32": Colourblind()}), variants="all")
    assert response.json()["results"][0]["agreement"] == pytest.approx(2 / 3)


def test_a_cascade_asks_the_next_only_if_one_is_not_sure_and_says_what_was_spent(launch: Any) -> None:
    client = launch({"r32": Unsure()})
    params: dict[str, Any] = {"cascade": "0.25/32,0.75/96", "threshold": 0.9}
    sure = post(client, **params)
    assert answering(sure) == SMALL
    assert sure.json()["cost"]["macs"] == macs(SMALL)
    green = solid(COLOURS["green"])
    unsure = post(client, green, **params)
    assert answering(unsure) == LARGE
    assert unsure.json()["cost"]["macs"] == macs(SMALL, LARGE)
    alone = post(client, green, alpha=0.75, resolution=96).json()
    assert unsure.json()["results"][0]["predictions"] == alone["results"][0]["predictions"]
    assert answering(post(client, green, cascade="0.25/32,0.75/96", threshold=0)) == SMALL


def test_in_a_cascade_every_image_has_its_own_answer_cost_and_error(launch: Any) -> None:
    client = launch({"r32": Unsure()})
    images = [RED, solid(COLOURS["green"]), b"no image"]
    files = [("image", (f"{number}.png", image, "image/png")) for number, image in enumerate(images)]
    response = client.post("/predict", files=files, params={"cascade": "0.25/32,0.75/96"})
    assert answering(response) == LARGE
    red, green, broken = response.json()["results"]
    assert (red["cost"]["macs"], green["cost"]["macs"]) == (macs(SMALL), macs(SMALL, LARGE))
    assert (red["model"]["resolution"], green["model"]["resolution"]) == (32, 96)
    assert broken["error"]["code"] == "unsupported_image"
    assert response.json()["cost"]["macs"] == macs(SMALL, LARGE)


def test_a_bad_image_is_the_error_that_it_is_everywhere(client: TestClient) -> None:
    ways: list[dict[str, Any]] = [{"variants": "all"}, {"cascade": "0.25/32,0.75/96"}, {"max_macs": 10**9}]
    for params in ways:
        check_problem(post(client, b"no image", **params), 415, "unsupported_image")


def test_a_large_image_is_answered_every_way(client: TestClient) -> None:
    large = solid(COLOURS["red"], size=(4000, 3100))
    ways: list[dict[str, Any]] = [
        {"alpha": 0.75, "resolution": 96},
        {"variants": "all"},
        {"cascade": "0.25/32,0.75/96"},
    ]
    for params in ways:
        (result,) = post(client, large, **params).json()["results"]
        assert result["predictions"][0]["label"] == "red"


def test_no_place_is_left_taken(client: TestClient) -> None:
    ways: list[dict[str, Any]] = [{}, {"variants": "all"}, {"cascade": "0.25/32,0.75/96"}, {"degrade": "allow"}]
    for image in (RED, b"no image"):
        for params in ways:
            post(client, image, **params)
    assert samples(client)["mobilenet_queue_images",] == 0


FULL = {"max_queue": 1, "max_images": 1, "max_batch_size": 1}


def while_full(client: TestClient, held: Held, ask: Any) -> Any:
    """Return what is answered while the one place of the default variant is taken."""
    held.armed = True
    held.gate.clear()
    held.running.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(post, client)
        assert held.running.wait(10)
        second = threads.submit(ask)
        while not second.done() and samples(client)["mobilenet_queue_images",] < 2:
            time.sleep(0.01)  # until it is refused, or queued behind the first, for there is one thread
        held.gate.set()
        assert first.result().status_code == 200
        return second.result()


def test_a_full_queue_refuses_or_degrades_if_the_request_allows_it(launch: Any) -> None:
    held = Held()
    client = launch({"r64": held}, **FULL)
    check_problem(while_full(client, held, lambda: post(client)), 429, "queue_full")
    degraded = while_full(client, held, lambda: post(client, degrade="allow"))
    assert answering(degraded) == SMALL, "not the larger one"
    assert degraded.json()["degraded_from"] == {"alpha": 0.5, "resolution": 64}
    assert samples(client)["mobilenet_degraded_total", "0.25/32", "0.5/64"] == 1
    assert "degraded_from" not in post(client, degrade="allow").json(), "there is room again"


WISHES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a variant": {"alpha": 0.25, "resolution": 32},
    "a budget": {"max_macs": 10**9},
    "a comparison": {"variants": "0.25/32,0.75/96"},
    "a cascade": {"cascade": "0.25/32,0.5/64", "threshold": 0.9},
    "another number of classes": {"top_k": 1},
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_an_answer_says_what_its_schema_says_and_nothing_else(launch: Any, wish: dict[str, Any]) -> None:
    files = [("image", one) for one in (RED, b"no image", solid(COLOURS["blue"]))]
    response = launch().post("/predict", params=wish, files=files)
    assert response.status_code == 200
    read = PredictResponse.model_validate_json(response.content, strict=True)
    assert json.loads(read.model_dump_json()) == response.json()
    assert [*response.json()] == [name for name in PredictResponse.model_fields if name in response.json()]


def test_a_degraded_answer_says_what_its_schema_says(launch: Any) -> None:
    held = Held()
    client = launch({"r64": held}, **FULL)
    degraded = while_full(client, held, lambda: post(client, degrade="allow"))
    read = PredictResponse.model_validate_json(degraded.content, strict=True)
    assert json.loads(read.model_dump_json()) == degraded.json()
    assert read.degraded_from is not None


def test_the_catalogue_and_the_description_say_what_is_loaded(client: TestClient) -> None:
    items = client.get("/variants").json()["variants"]
    served = {Variant(item["alpha"], item["resolution"]): item["default"] for item in items if item["served"]}
    assert served == {MIDDLE: True, SMALL: False, LARGE: False}
    info = client.get("/model-info", params={"alpha": 0.25, "resolution": 32}).json()
    assert (info["served"], info["default"], info["weights"]) == (True, False, "colours")


def test_what_could_be_degraded_is_counted_from_0(client: TestClient) -> None:
    pairs = {name[1:]: value for name, value in samples(client).items() if name[0] == "mobilenet_degraded_total"}
    smaller = [(SMALL, MIDDLE), (SMALL, LARGE), (MIDDLE, LARGE)]
    assert pairs == {(variant.name, wanted.name): 0 for variant, wanted in smaller}


def test_images_are_counted_in_every_variant_that_ran_on_them(client: TestClient) -> None:
    post(client, alpha=SMALL.alpha, resolution=SMALL.resolution)
    post(client, variants=f"{SMALL.name},{LARGE.name}")
    found = samples(client)
    for variant, images in ((SMALL, 2), (LARGE, 1)):
        assert found["mobilenet_images_total", "PNG", variant.name] == images
        assert found["mobilenet_stage_duration_seconds_count", "inference", variant.name] == images
        assert found["mobilenet_batch_images_sum", variant.name] == images
        assert found["mobilenet_macs_total", variant.name] == images * cost(variant, len(COLOURS)).macs
    assert found["mobilenet_request_duration_seconds_count", "/predict", SMALL.name] == 1
    assert found["mobilenet_request_duration_seconds_count", "/predict", LARGE.name] == 1
