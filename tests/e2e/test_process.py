"""The real process on weights made here: its forms, its limits, how it starts and how it stops."""

import base64
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.data import REPOSITORY, solid
from tests.support.processes import Process, Serve, environment, half_sent, mobilenet

pytestmark = [pytest.mark.e2e, pytest.mark.tensorflow]

PNG = {"Content-Type": "image/png"}
RED = solid((220, 30, 30))


def colours(count: int) -> list[bytes]:
    choice = random.Random(0)
    return [solid((choice.randrange(256), choice.randrange(256), choice.randrange(256))) for _ in range(count)]


def probabilities(result: dict[str, Any]) -> dict[int, float]:
    return {item["class_id"]: item["probability"] for item in result["predictions"]}


def test_the_three_forms_give_the_same_answer(server: Process) -> None:
    with httpx.Client(base_url=server.url) as client:
        forms = [
            client.post("/predict", content=RED, headers=PNG),
            client.post("/predict", files={"image": ("red.png", RED, "image/png")}),
            client.post("/predict", json={"images": [base64.b64encode(RED).decode()]}),
        ]
    first, *others = (probabilities(form.json()["results"][0]) for form in forms)
    assert len(first) == 5
    for other in others:
        assert other == pytest.approx(first, abs=1e-5)


def test_concurrent_requests_form_batches_and_each_gets_its_own_answer(server: Process) -> None:
    images = colours(64)
    with httpx.Client(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=64)) as client:

        def ask(image: bytes) -> Any:
            return client.post("/predict", params={"top_k": 12}, content=image, headers=PNG).json()

        alone = [ask(image) for image in images]
        with ThreadPoolExecutor(64) as threads:
            together = list(threads.map(ask, images))
    assert max(answer["batch_size"] for answer in together) > 1
    for one, other in zip(alone, together, strict=True):
        assert probabilities(other["results"][0]) == pytest.approx(probabilities(one["results"][0]), abs=1e-5)
    assert len({tuple(probabilities(answer["results"][0])) for answer in alone}) > 1, "the images look all alike"


def test_a_request_of_several_images_is_batched_and_answered_in_order(server: Process) -> None:
    images = colours(20)
    body = {"images": [base64.b64encode(image).decode() for image in images]}
    with httpx.Client(base_url=server.url) as client:
        answer = client.post("/predict", json=body).json()
        singly = [client.post("/predict", content=image, headers=PNG).json()["results"][0] for image in images]
    assert answer["batch_size"] > 1
    for one, other in zip(answer["results"], singly, strict=True):
        assert probabilities(one) == pytest.approx(probabilities(other), abs=1e-5)


def test_an_image_of_20000_by_20000_is_refused_without_the_memory_for_it(server: Process) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(4096))) + chunk(b"IEND", b"")
    )
    before = server.status("VmHWM")
    for _ in range(3):
        response = httpx.post(f"{server.url}/predict", content=bomb, headers=PNG)
        assert (response.status_code, response.json()["code"]) == (413, "too_many_pixels")
    assert server.status("VmHWM") - before < 20_000, "kB"


def test_the_server_never_loads_tensorflow(server: Process) -> None:
    front, *workers = (Path(f"/proc/{number}/maps").read_text() for number in server.tree())
    assert "litert" not in front
    assert all("litert" in loaded for loaded in workers)
    assert all("tensorflow" not in loaded for loaded in (front, *workers))


def test_the_tensorflow_engine_gives_the_same_answers(serve: Serve, server: Process, own: dict[str, object]) -> None:
    reference = serve(**own, ENGINE="tensorflow")
    for image in colours(5):
        ours, theirs = (
            httpx.post(f"{process.url}/predict?top_k=12", content=image, headers=PNG).json()["results"][0]
            for process in (server, reference)
        )
        assert probabilities(ours) == pytest.approx(probabilities(theirs), abs=1e-4)
    assert httpx.get(f"{reference.url}/model-info").json()["engine"] == "tensorflow"
    assert reference.stop() == 0


def test_without_processes_for_the_model_the_answers_are_the_same(
    serve: Serve, server: Process, own: dict[str, object]
) -> None:
    inline = serve(**own, HTTP_WORKERS=2, MODEL_WORKERS=0)
    assert not inline.workers()
    for image in colours(5):
        ours, theirs = (
            httpx.post(f"{process.url}/predict?top_k=12", content=image, headers=PNG).json()["results"][0]
            for process in (server, inline)
        )
        assert probabilities(ours) == pytest.approx(probabilities(theirs), abs=1e-6)
    assert inline.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("processes", [{}, {"HTTP_WORKERS": 2}, {"HTTP_WORKERS": 2, "MODEL_WORKERS": 0}], ids=str)
def test_told_to_stop_it_accepts_no_more_finishes_what_it_accepted_and_exits_0(
    serve: Serve, own: dict[str, object], processes: dict[str, int], number: int
) -> None:
    process = serve(**own, **processes)
    under_way = [half_sent(process.url, RED) for _ in range(4)]
    time.sleep(0.5)
    process.popen.send_signal(number)
    time.sleep(1.5)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{process.url}/healthz")
    for connection in under_way:
        connection.sendall(RED[50:])
    for connection in under_way:
        connection.settimeout(20)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        connection.close()
    assert process.popen.wait(30) == 0
    assert "Traceback" not in process.log.read_text()


def test_uvicorn_serves_the_application_too(own: dict[str, object], cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port)]
    with subprocess.Popen(command, env=environment(**own, CACHE=cache), stderr=subprocess.DEVNULL, cwd="/") as popen:
        status = 0
        for _ in range(600):
            try:
                status = httpx.get(f"http://127.0.0.1:{port}/readyz").status_code
            except httpx.TransportError:
                assert popen.poll() is None
            if status == 200:
                break
            time.sleep(0.1)
        assert status == 200
        popen.terminate()


def fails_to_start(command: list[str], settings: dict[str, object]) -> str:
    done = subprocess.run(command, env=environment(**settings), capture_output=True, text=True, timeout=60, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ALPHA": 0.3}, "MOBILENET_ALPHA=0.3: alpha 0.3 is not one of 1, 0.75, 0.5, 0.25"),
        ({"THREADS": 1}, "MOBILENET_THREADS is now MOBILENET_MODEL_WORKERS (processes that decode and classify)"),
        ({"ALPHA": 0.5}, "network.weights.h5 has weights of α 0.25, but MOBILENET_ALPHA is 0.5"),
        ({"WEIGHTS": "/nowhere/own.h5"}, "MOBILENET_WEIGHTS=own.h5: cannot read /nowhere/own.h5: No such file"),
        ({"WEIGHTS": "README.md"}, "MOBILENET_WEIGHTS=README.md: allowed are imagenette, imagenet, or a path"),
        ({"LABELS": ""}, "network.weights.h5 has 12 classes; set MOBILENET_LABELS"),
        ({"LABELS": "/nowhere/labels.txt"}, "cannot read the labels /nowhere/labels.txt"),
        ({"CACHE": "/proc/nowhere"}, "MOBILENET_CACHE=/proc/nowhere: cannot write there"),
        ({"HOST": "203.0.113.1"}, "MOBILENET_HOST=203.0.113.1 MOBILENET_PORT=0: cannot listen there"),
        ({"HOST": "no such host"}, "MOBILENET_HOST=no such host"),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line_and_exit_code_2(
    settings: dict[str, object], says: str, own: dict[str, object], cache: Path, server: Process
) -> None:
    settings = {**own, "CACHE": cache, "PORT": 0, **settings}
    assert says in fails_to_start(mobilenet("serve"), settings)


def test_several_wrong_settings_are_a_line_each_and_exit_code_2() -> None:
    settings = environment(ALPHA=0.3, PORT="high")
    done = subprocess.run(mobilenet("serve"), env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith("mobilenet: MOBILENET_ALPHA=0.3: ")
    assert second.startswith("mobilenet: MOBILENET_PORT=high: ")


def test_a_port_that_is_taken_is_one_line_and_exit_code_2(server: Process, own: dict[str, object], cache: Path) -> None:
    port = server.url.rsplit(":", 1)[1]
    line = fails_to_start(mobilenet("serve"), {**own, "CACHE": cache, "PORT": port})
    assert f"MOBILENET_PORT={port}: cannot listen there: Address already in use" in line


@pytest.mark.parametrize("name", ["truncated.h5", "truncated.keras", "text.h5"])
def test_damaged_weights_are_one_line_and_exit_code_2(name: str, own: dict[str, object], tmp_path: Path) -> None:
    source = Path(str(own["WEIGHTS"])).with_name("network.keras" if name.endswith("keras") else "network.weights.h5")
    whole = source.read_bytes()
    (tmp_path / name).write_bytes(b"text" if name == "text.h5" else whole[: len(whole) // 2])
    line = fails_to_start(mobilenet("serve"), {**own, "WEIGHTS": tmp_path / name, "CACHE": tmp_path, "PORT": 0})
    assert f"{name} is not a Keras weight file, or it is damaged" in line


def test_a_bad_setting_stops_uvicorn_in_one_line_too() -> None:
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]
    assert "MOBILENET_ALPHA=0.3" in fails_to_start(command, {"ALPHA": 0.3})


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        mobilenet(*arguments), env=environment(**settings), capture_output=True, text=True, timeout=60, check=False
    )


def test_classify_prints_the_classes_of_files_and_fails_for_those_that_it_cannot_read(
    server: Process, own: dict[str, object], cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "text.jpg").write_bytes(b"text")
    served = httpx.post(f"{server.url}/predict", content=RED, headers=PNG).json()["results"][0]["predictions"][0]
    done = run("classify", str(tmp_path / "red.png"), str(tmp_path / "text.jpg"), "--top-k", "1", **own, CACHE=cache)
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path / 'red.png'}: {served['label']} {served['probability']:.1%}\n"
    assert f"{tmp_path / 'text.jpg'}: " in done.stderr


def test_compiling_to_int8_needs_photos_and_goes_on_after_a_variant_that_fails(
    own: dict[str, object], tmp_path: Path
) -> None:
    done = run("compile", "--all", "--precision", "int8", **own, CACHE=tmp_path)
    assert (done.returncode, done.stderr.count("network.weights.h5 is not compiled to int8")) == (2, 4)
    done = run("compile", "--precision", "int8", **own, CACHE=tmp_path)
    assert "network.weights.h5 is not compiled to int8 for α 0.25 @ 64; run `mobilenet compile" in done.stderr
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "red.png").write_bytes(RED)
    done = run("compile", "--precision", "int8", "--calibrate", str(tmp_path / "photos"), **own, CACHE=tmp_path)
    assert (done.returncode, list(tmp_path.glob("*-0.25-64-int8-*.tflite"))) == (0, list(tmp_path.glob("*.tflite")))


def test_info_prints_what_a_variant_costs_layer_by_layer() -> None:
    done = run("info", "--alpha", "0.5", "--resolution", "160", "--layers")
    assert done.returncode == 0
    for number in ("76,524,800", "153,049,600", "1,342,536", "1,331,592", "conv_pw_13"):
        assert number in done.stdout
    # A pipe cuts no line: strides, both shapes, share, activations, and the standard convolution with its ratio.
    line = next(line for line in done.stdout.splitlines() if "conv_dw_2" in line)
    cells = re.split(r"  +", line.strip())
    assert cells[:5] == ["conv_dw_2", "depthwise", "2", "80² × 32", "40² × 32"]
    assert cells[5:] == ["460,800", "0.6%", "416", "204,800", "29,491,200", "0.0156"]
    for ablation in (
        "full convolution +622,592,000 +8.136",
        "shallow +42,604,800",
        "stride on the pointwise +79,116,800",
    ):
        assert re.search(ablation, done.stdout)
    wrong = run("info", "--alpha", "0.3")
    assert (wrong.returncode, wrong.stderr) == (2, "mobilenet: alpha 0.3 is not one of 1, 0.75, 0.5, 0.25\n")


def test_make_hands_its_variables_to_the_service() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "run", "PORT=9000", "ALPHA=0.5"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "MOBILENET_PORT=9000" in done.stdout
    assert "MOBILENET_ALPHA=0.5" in done.stdout
    assert os.environ.get("MOBILENET_PORT") is None
