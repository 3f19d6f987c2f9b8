"""The commands of docs/tutorial.md, in its order and as written: from a photo to a service that knows other classes."""

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.documents.test_snippets import FAIL, SNIPPETS, lay_out
from tests.support.data import REPOSITORY
from tests.support.processes import Environment, Serve, environment

pytestmark = [pytest.mark.tensorflow, pytest.mark.e2e, pytest.mark.timeout(600)]  # it trains a classifier

FIRST, SECOND, CONTAINER = "127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8002"
COMMANDS = [
    one for one in SNIPPETS if one.in_order and one.language == "sh" and not one.left_out and CONTAINER not in one.text
]
SERVE = ".venv/bin/mobilenet serve "


def weights_to_serve(command: str) -> str:
    *_, option, weights, port, number = shlex.split(command)
    assert (option, port, number) == ("--weights", "--port", SECOND.rpartition(":")[2])
    return weights


def printed_by(command: str, folder: Path, settings: Environment) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", FAIL + command],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_the_commands_lead_from_a_photo_to_a_service_with_other_classes(
    tmp_path: Path, cache: Path, serve: Serve
) -> None:
    lay_out(tmp_path)
    settings = environment(PRECISION="int8", CACHE=cache) | {"PYTHONPATH": str(REPOSITORY)}  # int8 needs no compiling
    processes = {FIRST: serve(PRECISION="int8")}  # what `make run` starts
    printed = []
    for text in (one.text for one in COMMANDS):
        if text.startswith(SERVE):
            processes[SECOND] = serve(WEIGHTS=tmp_path / weights_to_serve(text), MODEL_WORKERS=1)
            continue
        command = text
        for address, process in processes.items():
            command = command.replace(address, process.url.removeprefix("http://"))
        printed.append(printed_by(command, tmp_path, settings))
    photo, folder, program, _, trained, own = printed
    assert '"predictions":[{"class_id":7,' in photo
    assert "model_weights/golden/street.jpg: gas pump" in folder
    assert "gas pump" in program
    assert "mobilenet serve --weights photos-weights" in trained
    assert [line for line in trained.splitlines() if not line.startswith("mobilenet: ")] == [], "libraries chatter"
    assert '"predictions":[{"class_id":1,"wordnet_id":null,"label":"ring"' in own
    assert [process.stop() for process in processes.values()] == [0, 0]
