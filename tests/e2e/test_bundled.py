"""What a newcomer gets: the bundled weights, with no settings but the width."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.config import MODEL_WEIGHTS, Settings
from app.engines.weights import bundled_name
from app.mobilenet.variants import ALPHAS, RESOLUTIONS
from tests.support import needs
from tests.support.data import SHARED, solid
from tests.support.processes import Process, Serve, environment, mobilenet

pytestmark = [pytest.mark.e2e, pytest.mark.tensorflow]

BUNDLED = [alpha for alpha in ALPHAS if (MODEL_WEIGHTS / bundled_name(alpha)).is_file()]
PHOTOS_A_CLASS = 20
AT_LEAST = 0.8


CHOICES = [(alpha, precision) for alpha in BUNDLED for precision in ("float32", "int8")]


@pytest.fixture(scope="module", params=CHOICES, ids=lambda choice: f"{choice[0]:g}-{choice[1]}")
def bundled(request: pytest.FixtureRequest, serve: Serve) -> Iterator[Process]:
    alpha, precision = request.param
    process = serve(ALPHA=alpha, PRECISION=precision)
    assert httpx.get(f"{process.url}/model-info").json()["precision"] == precision
    yield process
    assert process.stop() == 0


def test_int8_starts_with_nothing_to_compile_and_no_cache(serve: Serve, tmp_path: Path) -> None:
    process = serve(PRECISION="int8", CACHE=tmp_path / "none")
    assert process.stop() == 0
    assert not (tmp_path / "none").exists()


def test_compiling_ahead_prints_size_time_and_agreement(tmp_path: Path) -> None:
    def run(*arguments: str, **settings: object) -> list[str]:
        done = subprocess.run(
            mobilenet("compile", *arguments),
            env=environment(CACHE=tmp_path, **settings),
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        return done.stdout.splitlines()

    head, line = run(RESOLUTION=32)
    assert re.split(r" {2,}", head) == [
        "variant",
        "precision",
        "size",
        "time",
        "same top-1 as Keras",
        "largest difference",
    ]
    assert re.fullmatch(r"α 0\.5 @ 32 +float32 +3\.\d\d MB +\d+\.\d s +100 of 100 +\d(\.\d)?e-0[5-8]", line)
    (model,) = tmp_path.iterdir()
    assert run(RESOLUTION=32)[1].endswith(f"there already: {model}")
    every = run("--all", "--precision", "int8")[1:]
    assert [line.split()[1] for line in every] == [f"{alpha:g}" for alpha in BUNDLED for _ in RESOLUTIONS]


def test_the_default_weights_are_bundled() -> None:
    assert Settings().alpha in BUNDLED


def test_the_bundled_weights_answer_with_the_ten_classes_of_imagenette(bundled: Process) -> None:
    info = httpx.get(f"{bundled.url}/model-info").json()
    assert (info["weights"], info["classes"], info["resolution"]) == ("imagenette", 10, Settings().resolution)
    assert "n03417042" in {label["wordnet_id"] for label in httpx.get(f"{bundled.url}/labels").json()}
    measured = info["accuracy"]["measured"]
    assert (measured["images"], measured["precision"], measured["alpha"]) == (2000, info["precision"], info["alpha"])
    assert measured["weights_sha256"] == info["weights_sha256"]
    answer = httpx.post(
        f"{bundled.url}/predict?top_k=10", content=solid((90, 120, 60)), headers={"Content-Type": "image/png"}
    )
    assert sum(item["probability"] for item in answer.json()["results"][0]["predictions"]) == pytest.approx(1, abs=1e-5)


@needs.REFERENCE_DATA.mark()
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
