"""Several variants in the real process: each answers as if it were alone, budgets, comparisons, cascades, overload."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

from app.config import MODEL_WEIGHTS, Settings
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.prediction.blocking import LocalBackend
from app.schemas import Predictions
from tests.support.client import check_problem, samples
from tests.support.images import encoded, photo
from tests.support.processes import Process, Serve

SMALL, MIDDLE, LARGE = Variant(0.25, 128), Variant(0.5, 160), Variant(0.75, 192)
ALL = [MIDDLE, SMALL, LARGE]
# The last is large enough to be scaled while it is decoded, to different sizes for different variants.
PHOTOS = [path.read_bytes() for path in sorted((MODEL_WEIGHTS / "golden").glob("*.[jpw]*g*"))]
PHOTOS += [encoded(photo(1600, 1200), "JPEG")]
OVERLOAD = {"PRECISION": "int8", "MODEL_WORKERS": 1, "MAX_QUEUE": 4, "MAX_IMAGES": 4}
CONNECTIONS = 24


@pytest.fixture(scope="module")
def lineup(serve: Serve) -> Iterator[Process]:
    process = serve(PRECISION="int8", MODEL_WORKERS=2, VARIANTS="0.25/128,0.75/192")
    yield process
    assert process.stop() == 0


@pytest.fixture
def client(lineup: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lineup.url, timeout=60, limits=httpx.Limits(max_connections=100)) as client:
        yield client


def post(client: httpx.Client, image: bytes, **params: Any) -> httpx.Response:
    return client.post("/predict", content=image, params={"top_k": 10, **params})


def pick(variant: Variant) -> dict[str, float]:
    return {"alpha": variant.alpha, "resolution": variant.resolution}


def answering(response: Any) -> Variant:
    assert response.status_code == 200, response.text
    model = response.json()["model"]
    return Variant(model["alpha"], model["resolution"])


def shares(predictions: list[dict[str, Any]]) -> dict[int, float]:
    return {one["class_id"]: one["probability"] for one in predictions}


def answer(response: httpx.Response) -> Any:
    return pytest.approx(shares(response.json()["results"][0]["predictions"]), abs=1e-5)


def macs(*variants: Variant) -> int:
    return sum(cost(variant, 10).macs for variant in variants)


@pytest.mark.parametrize("variant", ALL, ids=str)
def test_a_variant_among_others_answers_what_it_answers_alone(variant: Variant, client: httpx.Client) -> None:
    settings = Settings(precision="int8", alpha=variant.alpha, resolution=variant.resolution, model_workers=0)
    with closing(LocalBackend(settings)) as alone:
        expected = alone.classify(PHOTOS, 10)
    for image, other in zip(PHOTOS, expected, strict=True):
        response = post(client, image, **pick(variant))
        assert answering(response) == variant
        assert isinstance(other, Predictions)
        assert answer(response) == {one.class_id: one.probability for one in other.predictions}


def test_the_log_and_the_catalogue_say_what_is_loaded(lineup: Process, client: httpx.Client) -> None:
    assert "α 0.5 @ 160, α 0.25 @ 128, α 0.75 @ 192" in lineup.log.read_text()
    items = client.get("/variants").json()["variants"]
    assert {(item["alpha"], item["resolution"]) for item in items if item["served"]} == {
        (one.alpha, one.resolution) for one in ALL
    }


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        ({"max_macs": macs(LARGE)}, LARGE),
        ({"max_macs": macs(LARGE) - 1}, MIDDLE),
        ({"max_macs": macs(SMALL)}, SMALL),
        ({"min_accuracy": 0.9}, LARGE),
        ({"max_latency_ms": 60_000}, LARGE),
        ({"max_macs": macs(MIDDLE), "min_accuracy": 0.8, "max_latency_ms": 60_000}, MIDDLE),
    ],
    ids=str,
)
def test_a_budget_gets_the_most_accurate_that_fits_and_why(
    budget: dict[str, Any], chosen: Variant, client: httpx.Client
) -> None:
    response = post(client, PHOTOS[0], **budget)
    assert answering(response) == chosen
    assert "of 3 loaded variants fit" in response.json()["choice"]["reason"]


def test_an_impossible_budget_names_one_that_is_possible(client: httpx.Client) -> None:
    detail = check_problem(post(client, PHOTOS[0], min_accuracy=0.999), 422, "impossible_budget")
    nearest = float(detail.split("min_accuracy=")[2].split(",")[0])
    assert answering(post(client, PHOTOS[0], min_accuracy=nearest)) == LARGE
    detail = check_problem(post(client, PHOTOS[0], max_latency_ms=0.001), 422, "impossible_budget")
    assert "the nearest that is feasible is max_latency_ms=" in detail


def test_a_comparison_is_to_the_digit_what_each_variant_says_alone(client: httpx.Client) -> None:
    for image in PHOTOS:
        (result,) = post(client, image, variants="all").json()["results"]
        assert [one["model"]["alpha"] for one in result["variants"]] == [one.alpha for one in ALL]
        for variant, one in zip(ALL, result["variants"], strict=True):
            assert shares(one["predictions"]) == answer(post(client, image, **pick(variant)))
            assert one["cost"]["macs"] == macs(variant)


@pytest.mark.parametrize("threshold", [0.0, 0.99, 1.0])
def test_a_cascade_answers_what_the_stage_that_answers_says_alone(threshold: float, client: httpx.Client) -> None:
    for image in PHOTOS:
        response = post(client, image, cascade="0.25/128,0.75/192", threshold=threshold)
        small, large = (post(client, image, **pick(variant)) for variant in (SMALL, LARGE))
        sure = max(shares(small.json()["results"][0]["predictions"]).values()) >= threshold
        assert answering(response) == (SMALL if sure else LARGE)
        assert shares(response.json()["results"][0]["predictions"]) == answer(small if sure else large)
        assert response.json()["cost"]["macs"] == (macs(SMALL) if sure else macs(SMALL, LARGE))


def test_both_stages_of_a_cascade_and_comparisons_form_batches(client: httpx.Client) -> None:
    with ThreadPoolExecutor(64) as threads:
        for params in ({"cascade": "0.25/128,0.75/192", "threshold": 1.0}, {"variants": "all"}):
            answers = list(threads.map(lambda _, params=params: post(client, PHOTOS[0], **params), range(128)))
            assert {response.status_code for response in answers} == {200}
            assert max(response.json()["batch_size"] for response in answers) > 1
        # Only the second stage can have batches where nobody else asks the first.
        firsts = [post(client, PHOTOS[0], cascade="0.25/128,0.75/192", threshold=0).json()["batch_size"]]
        assert firsts == [1]


def test_a_flood_on_one_variant_does_not_starve_another(client: httpx.Client) -> None:
    def timed(variant: Variant) -> float:
        started = time.monotonic()
        assert answering(post(client, PHOTOS[0], **pick(variant))) == variant
        return time.monotonic() - started

    with ThreadPoolExecutor(49) as threads:
        flood = [threads.submit(timed, LARGE) for _ in range(400)]
        few = [timed(SMALL) for _ in range(10)]
        assert not all(future.done() for future in flood), "the flood was over too soon to tell"
        crowd = [future.result() for future in flood]
    assert statistics.median(few) < statistics.median(crowd)


def under_fire(process: Process, requests: int = 200, **params: Any) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=CONNECTIONS)
    with (
        httpx.Client(base_url=process.url, timeout=60, limits=limits) as client,
        ThreadPoolExecutor(CONNECTIONS) as threads,
    ):
        return list(threads.map(lambda _: post(client, PHOTOS[0], **params), range(requests)))


@pytest.fixture(scope="module")
def small_queues(serve: Serve) -> Iterator[Process]:
    process = serve(ALPHA=0.75, RESOLUTION=192, VARIANTS="0.25/128", **OVERLOAD)
    yield process
    assert process.stop() == 0


def test_under_overload_who_allows_it_gets_a_smaller_variant_and_the_others_429(small_queues: Process) -> None:
    refused = under_fire(small_queues)
    assert {response.status_code for response in refused} == {200, 429}
    assert not any("degraded_from" in response.json() for response in refused)
    answers = under_fire(small_queues, degrade="allow")
    assert {response.status_code for response in answers} <= {200, 429}
    answered = [response.json() for response in answers if response.status_code == 200]
    degraded = [body for body in answered if "degraded_from" in body]
    assert degraded
    assert {body["model"]["alpha"] for body in degraded} == {0.25}
    assert {body["model"]["alpha"] for body in answered if body not in degraded} == {0.75}
    assert {tuple(body["degraded_from"].values()) for body in degraded} == {(0.75, 192)}
    with httpx.Client(base_url=small_queues.url) as client:
        counted = samples(client)  # type: ignore[arg-type]
    assert counted["mobilenet_degraded_total", "0.25/128", "0.75/192"] == len(degraded)


def test_nothing_is_degraded_below_the_accuracy_that_is_asked_for(small_queues: Process) -> None:
    answers = under_fire(small_queues, degrade="allow", min_accuracy=0.9)
    assert {response.status_code for response in answers} == {200, 429}
    assert {response.json()["model"]["alpha"] for response in answers if response.status_code == 200} == {0.75}
