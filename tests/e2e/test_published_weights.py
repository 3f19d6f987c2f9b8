"""The published ImageNet weights and real photos in the real process: what the service is for."""

import base64
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.engines.weights import published_name
from app.mobilenet.variants import Variant
from tests.support import needs
from tests.support.data import SHARED, samples
from tests.support.processes import Process, Serve, environment, mobilenet
from tests.support.webserver import serving

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(600)]

VARIANTS = (Variant(0.5, 160), Variant(0.25, 128))
FILES = SHARED / "imagenet"
# Keras with full-size decoding reaches 74 and 43 of the 100 photos.
AT_LEAST = {0.5: 73, 0.25: 42}
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def imagenet(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The service with ImageNet's weights: fetched as a newcomer gets them, then started again without a network."""
    needs.REFERENCE_DATA.check()
    cache = tmp_path_factory.mktemp("imagenet")
    (first, *others) = VARIANTS
    settings = {"WEIGHTS": "imagenet", "ALPHA": first.alpha, "RESOLUTION": first.resolution, "CACHE": cache}
    settings["VARIANTS"] = ",".join(f"{one.alpha:g}/{one.resolution}" for one in others)
    files = {f"/{published_name(one)}": (FILES / published_name(one)).read_bytes() for one in VARIANTS}
    with serving(files) as site:
        fetching = serve(**settings, WEIGHTS_URL=site.url)
        assert len(site.asked) == len(files)
    assert fetching.stop() == 0
    assert all(published_name(one) in fetching.log.read_text() for one in VARIANTS)
    process = serve(**settings, WEIGHTS_URL=site.url)
    yield process
    assert process.stop() == 0


@pytest.fixture(params=VARIANTS, ids=lambda one: f"{one.alpha:g}")
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


@pytest.fixture
def client(imagenet: Process, variant: Variant) -> Iterator[httpx.Client]:
    """A client that asks for this variant."""
    chosen = {"alpha": variant.alpha, "resolution": variant.resolution}
    with httpx.Client(base_url=imagenet.url, timeout=60, params=chosen) as client:
        yield client


def test_one_setting_fetches_imagenet_and_the_next_start_needs_no_network(
    client: httpx.Client, variant: Variant
) -> None:
    info = client.get("/model-info").json()
    assert (info["weights"], info["classes"]) == ("imagenet", 1000)
    assert (info["alpha"], info["resolution"]) == (variant.alpha, variant.resolution)


def predictions(response: httpx.Response) -> list[list[dict[str, Any]]]:
    assert response.status_code == 200, response.text
    return [result["predictions"] for result in response.json()["results"]]


def test_the_hundred_photos_get_their_labels_and_the_same_in_all_three_forms(
    client: httpx.Client, variant: Variant
) -> None:
    photos, truth = zip(*samples(), strict=True)
    raw = [predictions(client.post("/predict", content=photo, headers=JPEG))[0] for photo in photos]
    right = sum(best[0]["class_id"] == index for best, index in zip(raw, truth, strict=True))
    assert right >= AT_LEAST[variant.alpha]
    assert all(len(best) == 5 for best in raw)
    some = photos[:25]
    files = [("image", (f"{number}.jpg", photo, "image/jpeg")) for number, photo in enumerate(some)]
    body = {"images": [base64.b64encode(photo).decode() for photo in some]}
    for response in (client.post("/predict", files=files), client.post("/predict", json=body)):
        assert same(raw[: len(some)], predictions(response))


def same(some: list[list[dict[str, Any]]], others: list[list[dict[str, Any]]]) -> bool:
    """Whether all top 5 have the same classes, with probabilities within 1e-5."""
    for first, second in zip(some, others, strict=True):
        by_class = {item["class_id"]: item["probability"] for item in second}
        for item in first:
            if abs(by_class.get(item["class_id"], -1.0) - item["probability"]) > 1e-5:
                return False
    return True


def test_without_a_network_the_start_ends_in_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = subprocess.run(
        mobilenet("serve"),
        env=environment(WEIGHTS="imagenet", WEIGHTS_URL=url, CACHE=tmp_path, PORT=0),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    name = "mobilenet_5_0_160_tf.h5"
    assert last.startswith(f"mobilenet: cannot fetch {url}/{name}: ")
    assert last.endswith(f"; get {name} from elsewhere and put it into {tmp_path}")
    assert "Traceback" not in done.stderr
