"""A service with OpenVINO: the same answers, however its processes are arranged, and whatever becomes of them."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.machine import instructions
from tests.support import needs
from tests.support.data import PNG, RED
from tests.support.processes import Process, Serve, environment, mobilenet, wait_for

pytestmark = [needs.OPENVINO.mark(), pytest.mark.tensorflow]


def asked(process: Process, times: int = 1) -> list[list[tuple[str, float]]]:
    """Ask for the classes of the same image several times, on a connection each."""
    found = []
    for _ in range(times):
        answer = httpx.post(f"{process.url}/predict", content=RED, headers=PNG, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"]["precision"] == "float32"
        found.append([(one["label"], one["probability"]) for one in answer.json()["results"][0]["predictions"]])
    return found


def opened(number: int) -> bool:
    """Whether a process has loaded OpenVINO's kernels."""
    return "libopenvino_intel_cpu" in Path(f"/proc/{number}/maps").read_text()


def forked(process: Process) -> list[int]:
    """Return the workers that were forked from another, which is their template."""
    workers, found = process.workers(), []
    for number in workers:
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1]) in workers:
                found.append(number)
    return found


def expected(server: Process) -> list[tuple[str, Any]]:
    (found,) = asked(server)
    return [(label, pytest.approx(share, abs=1e-4)) for label, share in found]


@pytest.fixture(
    scope="module",
    params=[{"MODEL_WORKERS": 2}, {"MODEL_WORKERS": 0}, {"HTTP_WORKERS": 2, "MODEL_WORKERS": 1}],
    ids=str,
)
def process(request: pytest.FixtureRequest, serve: Serve, own: dict[str, object]) -> Process:
    return serve(**own, **request.param, ENGINE="openvino")


def test_it_answers_as_litert_does_and_says_what_answered(process: Process, server: Process) -> None:
    assert asked(process, 4) == [expected(server)] * 4
    info = httpx.get(f"{process.url}/model-info").json()
    assert (info["engine"], info["precision"], "openvino" in info["versions"]) == ("openvino", "float32", True)
    (line,) = [
        one for one in httpx.get(f"{process.url}/metrics").text.splitlines() if one.startswith("mobilenet_model_info{")
    ]
    assert 'engine="openvino"' in line
    assert 'precision="float32"' in line


def test_it_is_opened_where_it_runs_and_nowhere_else(process: Process) -> None:
    asked(process, 4)
    running = forked(process)
    templates = set(process.workers()) - set(running)
    taking = process.children() or [process.popen.pid]
    if not templates:
        assert all(map(opened, taking))
        return
    assert running
    assert all(map(opened, running))
    assert not any(map(opened, [process.popen.pid, *taking, *templates]))
    assert all(len(os.listdir(f"/proc/{number}/task")) == 1 for number in templates)


def test_after_a_reload_and_the_death_of_a_worker_the_answers_are_the_same(process: Process, server: Process) -> None:
    before = process.log.read_text().count("reloaded")
    os.kill(process.popen.pid, signal.SIGHUP)
    wait_for(lambda: process.log.read_text().count("reloaded") > before)
    assert asked(process, 4) == [expected(server)] * 4
    for number in forked(process):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    assert asked(process, 4) == [expected(server)] * 4
    assert "Traceback" not in process.log.read_text()


def test_a_precision_that_cannot_be_computed_in_is_one_line_and_exit_code_2(
    own: dict[str, object], cache: Path
) -> None:
    if instructions() & {"avx512_bf16", "amx_bf16"}:
        pytest.skip("needs a processor without bfloat16: test on one with AVX2 only")
    settings = environment(**own | {"PORT": 0, "CACHE": cache, "ENGINE": "openvino", "PRECISION": "bfloat16"})
    done = subprocess.run(mobilenet("serve"), env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("mobilenet: MOBILENET_PRECISION=bfloat16: this processor (")
    assert line.endswith("; set MOBILENET_PRECISION=float32")
