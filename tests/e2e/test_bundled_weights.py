"""What a newcomer gets: the bundled weights of every width, in both precisions, and how they are compiled."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.engines.bundle import BUNDLED as BUNDLE
from app.mobilenet.variants import RESOLUTIONS
from tests.support import needs
from tests.support.client import check_problem
from tests.support.data import SHARED, rings, solid
from tests.support.processes import EVERY_WIDTH, Compiled, Process, Serve, environment, mobilenet, wait_for

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(600)]

BUNDLED = BUNDLE.alphas
RESOLUTION = Settings().resolution
PHOTOS_A_CLASS = 10
AT_LEAST = 0.8


def compile_(cache: Path, *arguments: str, **settings: object) -> list[str]:
    """Run `mobilenet compile` with an empty or a filled cache; return the lines that it printed."""
    command, env = mobilenet("compile", *arguments), environment(CACHE=cache, **settings)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module", params=["float32", "int8"])
def process(request: pytest.FixtureRequest, serve: Serve, bundled_float32: Compiled) -> Iterator[Process]:
    """The service with all widths loaded."""
    process = serve(**EVERY_WIDTH, PRECISION=request.param, CACHE=bundled_float32.cache)
    yield process
    assert process.stop() == 0


@pytest.fixture
def client(process: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=process.url, timeout=60) as client:
        yield client


def classes(client: httpx.Client, alpha: float, photo: bytes, top_k: int = 1) -> list[dict[str, Any]]:
    answer = client.post("/predict", params={"alpha": alpha, "top_k": top_k}, content=photo)
    assert (answer.status_code, answer.json()["model"]["alpha"]) == (200, alpha), answer.text
    predictions: list[dict[str, Any]] = answer.json()["results"][0]["predictions"]
    return predictions


def test_the_default_weights_are_bundled() -> None:
    assert Settings().alpha in BUNDLED


def test_int8_starts_with_nothing_to_compile_and_no_cache(serve: Serve, tmp_path: Path) -> None:
    process = serve(PRECISION="int8", CACHE=tmp_path / "none")
    assert process.stop() == 0
    assert not (tmp_path / "none").exists()


def test_compiling_ahead_compiles_all_that_are_set_and_prints_size_time_and_agreement(
    bundled_float32: Compiled,
) -> None:
    head, *lines = bundled_float32.lines
    assert re.split(r" {2,}", head) == [
        "variant",
        "precision",
        "size",
        "time",
        "same top-1 as Keras",
        "largest difference",
    ]
    assert [line.split()[1] for line in lines] == [f"{alpha:g}" for alpha in BUNDLED]
    for line in lines:
        said = r"α \S+ @ 160 +float32 +\d+\.\d\d MB +\d+\.\d s +100 of 100 +\d(\.\d)?e-0[5-8]"
        assert re.fullmatch(said, line), line
    assert len(list(bundled_float32.cache.iterdir())) == len(BUNDLED)


def test_what_is_compiled_is_not_compiled_again(bundled_float32: Compiled) -> None:
    _, line = compile_(bundled_float32.cache)
    (model,) = bundled_float32.cache.glob(f"*-{Settings().alpha:g}-*")
    assert line.endswith(f"there already: {model}")


def test_all_is_every_width_at_every_resolution(tmp_path: Path) -> None:
    _, *lines = compile_(tmp_path, "--all", "--precision", "int8")
    assert [line.split()[1] for line in lines] == [f"{alpha:g}" for alpha in BUNDLED for _ in RESOLUTIONS]


@pytest.mark.parametrize("alpha", BUNDLED)
def test_the_bundled_weights_answer_with_the_ten_classes_of_imagenette(client: httpx.Client, alpha: float) -> None:
    info = client.get("/model-info", params={"alpha": alpha, "resolution": RESOLUTION}).json()
    assert (info["weights"], info["classes"], info["alpha"]) == ("imagenette", 10, alpha)
    assert "n03417042" in {label["wordnet_id"] for label in client.get("/labels").json()}
    measured = info["accuracy"]["measured"]
    assert (measured["images"], measured["precision"], measured["alpha"]) == (2000, info["precision"], alpha)
    assert measured["weights_sha256"] == info["weights_sha256"]
    answer = classes(client, alpha, solid((90, 120, 60)), top_k=10)
    assert sum(one["probability"] for one in answer) == pytest.approx(1, abs=1e-5)


@needs.REFERENCE_DATA.mark()
@pytest.mark.parametrize("alpha", BUNDLED)
def test_the_bundled_weights_know_photos_they_were_not_trained_on(client: httpx.Client, alpha: float) -> None:
    right, photos = 0, 0
    for folder in sorted((SHARED / "imagenette" / "val").iterdir()):
        content = [photo.read_bytes() for photo in sorted(folder.iterdir())[:PHOTOS_A_CLASS]]
        answer = client.post("/predict", params={"alpha": alpha}, files=[("image", photo) for photo in content])
        best = [result["predictions"][0] for result in answer.json()["results"]]
        right += sum(one["wordnet_id"] == folder.name for one in best)
        photos += len(best)
    assert photos == 10 * PHOTOS_A_CLASS
    assert right / photos >= AT_LEAST


def familiarity(client: httpx.Client, photo: bytes, **params: float) -> tuple[float, bool]:
    answer = client.post("/predict", params={"top_k": 1, **params}, content=photo)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    return result["familiarity"], result.get("unfamiliar", False)


def test_a_drawing_of_a_class_is_familiar_and_one_of_something_else_is_not(client: httpx.Client) -> None:
    known = {"alpha": 0.5, "resolution": RESOLUTION}
    drawn = (BUNDLE.golden / name for name in ("golf-ball.webp", "parachute.png"))
    found = [familiarity(client, path.read_bytes(), **known) for path in drawn]
    assert all(share > 0.8 and not unfamiliar for share, unfamiliar in found)
    share, unfamiliar = familiarity(client, rings(), **known)
    assert share < 0.05
    assert unfamiliar


@needs.REFERENCE_DATA.mark()
@pytest.mark.parametrize("alpha", BUNDLED)
def test_most_hands_are_unfamiliar_and_few_photos_of_the_classes_are(client: httpx.Client, alpha: float) -> None:
    hands = sorted((SHARED / "signs" / "val").glob("*/*"))[::10]
    photos = [
        path for folder in sorted((SHARED / "imagenette" / "val").iterdir()) for path in sorted(folder.iterdir())[:2]
    ]
    assert len(hands) == len(photos) == 20
    of_hands, of_photos = (
        sum(familiarity(client, path.read_bytes(), alpha=alpha)[1] for path in paths) for paths in (hands, photos)
    )
    assert of_hands > 17
    assert of_photos < 5


def test_a_service_whose_model_answers_otherwise_than_pinned_runs_and_is_never_ready(
    serve: Serve, bundled_float32: Compiled, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(bundled_float32.cache, cache)
    small, large = (next(cache.glob(f"*-{alpha}-float32-*")) for alpha in ("0.25", "0.5"))
    large.write_bytes(small.read_bytes())
    process = serve(until_ready=False, CACHE=cache, ALPHA=0.5)
    wait_for(lambda: listening(process.url))  # it says where it serves before it listens
    with httpx.Client(base_url=process.url) as client:
        wait_for(lambda: "golden image" in client.get("/readyz").json()["detail"])
        assert (client.get("/readyz").status_code, client.get("/healthz").status_code) == (503, 200)
        check_problem(client.post("/predict", content=solid((220, 30, 30))), 503, "starting")
    assert process.stop() == 0


def listening(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.ConnectError:
        return False
    return True
