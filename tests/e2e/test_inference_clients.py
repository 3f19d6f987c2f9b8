"""The Open Inference Protocol as clients speak it that were written elsewhere: Triton's, and KServe's where it is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.config import Settings
from app.imaging import decode
from tests.support import needs
from tests.support.data import REPOSITORY, solid
from tests.support.processes import Process, Serve

SCRIPTS = REPOSITORY / "tests" / "e2e" / "clients"
FILES = [solid((220, 30, 30)), solid((30, 40, 210), "JPEG"), solid((30, 180, 40))]


@pytest.fixture(scope="module")
def server(serve: Serve) -> Process:
    # The bundled weights, which nobody needs to compile.
    return serve(PRECISION="int8", VARIANTS="0.25/128", GRPC_PORT=0)


@pytest.fixture(scope="module")
def model(server: Process) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/v2/models/mobilenet").json()
    return found


@pytest.fixture(scope="module")
def expected(server: Process) -> list[list[float]]:
    return predicted(server)


def predicted(server: Process, **variant: float) -> list[list[float]]:
    """Return the probabilities that `/predict` gives."""
    files = [("image", file) for file in FILES]
    classes = len(httpx.get(f"{server.url}/labels").json())
    answer = httpx.post(f"{server.url}/predict", files=files, params={"top_k": classes, **variant}).json()
    ordered = (sorted(result["predictions"], key=lambda item: item["class_id"]) for result in answer["results"])
    return [[item["probability"] for item in row] for row in ordered]


def over_http(server: Process) -> str:
    return server.url.removeprefix("http://")


def answers(client: str, script: str, address: str, model: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what a client gets, asked by its script in its own environment."""
    python = needs.CLIENTS / client / "bin" / "python"
    paths = []
    for number, file in enumerate(FILES):
        paths.append(folder / str(number))
        paths[-1].write_bytes(file)
    side = model["inputs"][1]["shape"][1]
    pixels = [decode.decode(file, resolution=side, max_pixels=Settings().max_pixels) for file in FILES]
    np.save(folder / "pixels.npy", np.stack(pixels))
    command = [python, SCRIPTS / script, address, model["versions"][0], folder / "pixels.npy", *paths]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check_answers(found: dict[str, Any], expected: list[list[float]], labels: list[dict[str, Any]]) -> None:
    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)
    for form, rows in found["probabilities"].items():
        assert np.allclose(rows, expected, atol=1e-5), form
    for rows in found["classes"]:
        for row, probabilities in zip(rows, expected, strict=True):
            chosen = [int(text.split(":")[1]) for text in row]
            assert chosen == list(np.argsort(-np.array(probabilities), kind="stable")[:2])
            assert [text.split(":", 2)[2] for text in row] == [labels[index]["label"] for index in chosen]
    assert found["id"] == "mine"


@needs.TRITON.mark()
def test_tritons_client_gets_what_predict_answers_and_reads_what_went_wrong(
    server: Process, model: dict[str, Any], expected: list[list[float]], tmp_path: Path
) -> None:
    found = answers("triton", "triton_http.py", over_http(server), model, tmp_path)
    check_answers(found, expected, httpx.get(f"{server.url}/labels").json())
    assert not found["another_ready"]
    assert np.allclose(found["last version"], predicted(server, alpha=0.25, resolution=128), atol=1e-5)
    assert found["model"] == model
    assert found["server"] == httpx.get(f"{server.url}/v2").json()
    said = [
        ("404", "mobilenet is served"),
        ("404", "served: 0.5@160, 0.25@128"),
        ("422", "between 1 and"),
        ("422", "image 0 of 3"),
    ]
    for (status, message), (code, part) in zip(found["errors"], [*said, ("415", "gzip")], strict=True):
        assert (status, part in message) == (code, True), message


@needs.TRITON.mark()
def test_tritons_client_gets_the_same_over_grpc(
    server: Process, model: dict[str, Any], expected: list[list[float]], tmp_path: Path
) -> None:
    found = answers("triton", "triton_grpc.py", f"127.0.0.1:{server.grpc_port}", model, tmp_path)
    check_answers(found, expected, httpx.get(f"{server.url}/labels").json())
    assert np.allclose(found["last version"], predicted(server, alpha=0.25, resolution=128), atol=1e-5)
    assert found["model"] == model
    assert found["server"] == httpx.get(f"{server.url}/v2").json() | {"extensions": ["classification"]}
    said = [
        ("NOT_FOUND", "mobilenet is served"),
        ("NOT_FOUND", "mobilenet is served"),
        ("NOT_FOUND", "served: 0.5@160, 0.25@128"),
        ("INVALID_ARGUMENT", "between 1 and"),
        ("INVALID_ARGUMENT", "image 0 of 3"),
        ("UNIMPLEMENTED", "gzip"),
    ]
    for (status, message), (code, part) in zip(found["errors"], said, strict=True):
        assert (status, part in message) == (f"StatusCode.{code}", True), message


@needs.KSERVE.mark()
def test_kserves_client_gets_what_predict_answers(
    server: Process, model: dict[str, Any], expected: list[list[float]], tmp_path: Path
) -> None:
    found = answers("kserve", "kserve_rest.py", over_http(server), model, tmp_path)
    check_answers(found, expected, httpx.get(f"{server.url}/labels").json())
    assert not found["another_ready"]
    assert found["errors"] == [["404", "there is no model 'resnet'; mobilenet is served"]]
