"""From a folder of photos to a service that knows their classes, by the commands of docs/own-classes.md as written."""

import json
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.client import check_problem
from tests.support.data import REPOSITORY
from tests.support.processes import Serve, environment, heeding_interrupts, mobilenet

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(900)]  # it trains twice

COLOURS = {"red ones": (200, 40, 40), "2 green": (40, 170, 60), "10 blue": (50, 60, 200)}
PHOTOS = 44
"""Of each class, so that the photos that are held out are enough to say how familiar others look."""


def documented() -> tuple[list[str], list[str]]:
    """Return the commands of the document that train and serve; test_container.py starts that of Docker."""
    text = (REPOSITORY / "docs" / "own-classes.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    (_, *train), (_, *serve) = (words for block in blocks if (words := shlex.split(block))[0] == ".venv/bin/mobilenet")
    return train, serve


TRAIN, (SERVE, OPTION, WEIGHTS) = documented()
assert (TRAIN, SERVE, OPTION) == (["train", "photos"], "serve", "--weights")


def photo(path: Path, colour: tuple[int, ...], seed: int) -> None:
    """Write a photo of many shades of a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.random.default_rng(seed).integers(-40, 40, (6, 8, 3)) + np.array(colour)
    pixels = shades.clip(0, 255).astype(np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of three classes, and what was trained on them by a training that was interrupted and gone on with."""
    folder = tmp_path_factory.mktemp("own")
    for at, (name, colour) in enumerate(COLOURS.items()):
        for number in range(PHOTOS):
            photo(folder / "photos" / name / f"{number}.jpg", colour, 100 * at + number)
    (folder / "photos" / "red ones" / "notes.jpg").write_text("no photo")
    command = mobilenet(*TRAIN)
    with heeding_interrupts():
        popen = subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
    with popen:
        assert popen.stderr
        said = []
        for line in popen.stderr:
            if "epoch 1:" in line and line not in said:  # it is said twice if it is interrupted while it is said
                popen.send_signal(signal.SIGINT)
            said.append(line)
    assert popen.returncode == 130, "".join(said)
    assert any("notes.jpg" in line for line in said)
    assert (folder / WEIGHTS / "card.json").is_file(), "the best so far is written"
    command.append("--resume")
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [*said, *done.stderr.splitlines(), *done.stdout.splitlines()]
    assert [line for line in lines if not line.startswith("mobilenet: ")] == [], "libraries chatter"
    assert "epoch 1:" not in done.stderr
    assert "epoch 2:" in done.stderr
    assert f"serve it with: {shlex.join(['mobilenet', SERVE, OPTION, WEIGHTS])}\n" in done.stderr
    assert not (folder / f"{WEIGHTS}.training").exists()
    card = json.loads((folder / WEIGHTS / "card.json").read_bytes())
    seconds = [row["seconds"] for row in card["epochs"]]
    assert seconds == sorted(seconds), "those before the interruption count"
    assert 0 < seconds[0] <= seconds[-1] <= card["seconds"]
    return folder


def test_what_was_trained_is_served_with_its_figures(folder: Path, serve: Serve) -> None:
    process = serve(WEIGHTS=folder / WEIGHTS, MODEL_WORKERS=1)
    with process.client() as client:
        info = client.get("/model-info").json()
        assert (info["weights"], info["alpha"], info["resolution"], info["classes"]) == ("photos", 0.5, 160, 3)
        measured = info["accuracy"]["measured"]
        card = json.loads((folder / WEIGHTS / "card.json").read_text())
        assert measured["top1"] == next(
            one["top1"] for one in card["scores"] if (one["resolution"], one["precision"]) == (160, "float32")
        )
        labels = [one["label"] for one in client.get("/labels").json()]
        assert labels == ["2 green", "10 blue", "red ones"]
        right = 0
        for name in COLOURS:
            image = (folder / "photos" / name / "0.jpg").read_bytes()
            (result,) = client.post("/predict", content=image).json()["results"]
            right += result["predictions"][0]["label"] == name
            assert 0 <= result["familiarity"] <= 1
        assert right == len(COLOURS)
        check_problem(client.post("/predict", content=b"no photo"), 415, "unsupported_image")
    assert process.stop() == 0


def test_the_other_variants_and_int8_are_served_without_compiling(folder: Path, serve: Serve) -> None:
    process = serve(WEIGHTS=folder / WEIGHTS, RESOLUTION=192, PRECISION="int8", MODEL_WORKERS=1)
    assert httpx.get(f"{process.url}/model-info").json()["resolution"] == 192
    assert "compiling" not in process.log.read_text()
    assert process.stop() == 0


@pytest.mark.parametrize("damage", ["photos_0.5.float32.tflite", "golden/answers.json", "photos.labels.txt"])
def test_a_damaged_folder_is_refused_in_one_line(folder: Path, damage: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder / WEIGHTS, copy)
    (copy / damage).write_bytes((copy / damage).read_bytes()[:-20] + b"x" * 19)
    command, env = mobilenet("serve", "--weights", str(copy)), environment(PORT=0, MODEL_WORKERS=0)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert str(copy) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_classes_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "0.jpg", (1, 2, 3), 0)
    command = mobilenet("train", str(tmp_path / "photos"))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "put the photos of each class into a folder" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
