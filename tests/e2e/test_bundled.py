"""What a newcomer gets: the bundled weights, with no settings but the width."""

import httpx
import pytest

from app.config import MODEL_WEIGHTS
from app.engines.weights import bundled_name
from app.mobilenet.variants import ALPHAS
from tests.data import SHARED, needs_shared, solid
from tests.e2e.conftest import Process, Serve

pytestmark = [pytest.mark.e2e, pytest.mark.tensorflow]

BUNDLED = [alpha for alpha in ALPHAS if (MODEL_WEIGHTS / bundled_name(alpha)).is_file()]
PHOTOS_A_CLASS = 20
AT_LEAST = 0.8


@pytest.fixture(scope="module", params=BUNDLED)
def bundled(request: pytest.FixtureRequest, serve: Serve) -> Process:
    return serve(ALPHA=request.param)


def test_the_default_weights_are_bundled() -> None:
    assert 0.25 in BUNDLED


def test_the_bundled_weights_answer_with_the_ten_classes_of_imagenette(bundled: Process) -> None:
    info = httpx.get(f"{bundled.url}/model-info").json()
    assert (info["weights"], info["classes"], info["resolution"]) == ("imagenette", 10, 128)
    assert "n03417042" in {label["wordnet_id"] for label in httpx.get(f"{bundled.url}/labels").json()}
    answer = httpx.post(
        f"{bundled.url}/predict?top_k=10", content=solid((90, 120, 60)), headers={"Content-Type": "image/png"}
    )
    assert sum(item["probability"] for item in answer.json()["results"][0]["predictions"]) == pytest.approx(1, abs=1e-5)


@needs_shared
def test_the_bundled_weights_know_photos_they_were_not_trained_on(bundled: Process) -> None:
    right = total = 0
    with httpx.Client(base_url=bundled.url) as client:
        for folder in sorted((SHARED / "imagenette" / "val").iterdir()):
            for photo in sorted(folder.iterdir())[:PHOTOS_A_CLASS]:
                answer = client.post(
                    "/predict", content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"}
                ).json()
                right += answer["results"][0]["predictions"][0]["wordnet_id"] == folder.name
                total += 1
    assert total == 10 * PHOTOS_A_CLASS
    assert right / total >= AT_LEAST
