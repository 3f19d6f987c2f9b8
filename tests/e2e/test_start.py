"""How the real process starts, and how it says in one line that it cannot."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.data import REPOSITORY
from tests.support.processes import Process, environment, mobilenet, under_uvicorn, wait_for

pytestmark = pytest.mark.tensorflow


def test_uvicorn_serves_the_application_too_and_lets_it_reload(own: dict[str, object], cache: Path) -> None:
    settings = environment(**own, CACHE=cache)
    with under_uvicorn("app.main:app", settings, stderr=subprocess.DEVNULL, cwd="/") as (url, popen):
        popen.send_signal(signal.SIGHUP)
        swapped = 'mobilenet_reloads_total{outcome="swapped"} 1.0'
        wait_for(lambda: swapped in httpx.get(f"{url}/metrics").text)


def fails_to_start(command: list[str], settings: dict[str, object]) -> str:
    done = subprocess.run(command, env=environment(**settings), capture_output=True, text=True, timeout=60, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"THREADS": 1}, "MOBILENET_THREADS is now MOBILENET_MODEL_WORKERS (processes that decode and classify)"),
        ({"ALPHA": 0.5}, "network.weights.h5 has weights of α 0.25, but MOBILENET_ALPHA is 0.5"),
        ({"WEIGHTS": "/nowhere/own.h5"}, "MOBILENET_WEIGHTS=own.h5: cannot read /nowhere/own.h5: No such file"),
        ({"LABELS": "/nowhere/labels.txt"}, "cannot read the labels /nowhere/labels.txt: No such file or directory"),
        ({"LABELS": "/nowhere/labels.txt", "HTTP_WORKERS": 2}, "cannot read the labels /nowhere/labels.txt"),
        ({"WEIGHTS": "/nowhere/own.h5", "HTTP_WORKERS": 2, "MODEL_WORKERS": 0}, "cannot read /nowhere/own.h5"),
        ({"HOST": "203.0.113.1", "HTTP_WORKERS": 2}, "MOBILENET_HOST=203.0.113.1 MOBILENET_PORT=0: cannot listen"),
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
    assert first == "mobilenet: MOBILENET_ALPHA=0.3: alpha 0.3 is not one of 1, 0.75, 0.5, 0.25"
    assert second.startswith("mobilenet: MOBILENET_PORT=high: ")


def test_a_port_that_is_taken_is_one_line_and_exit_code_2(server: Process, own: dict[str, object], cache: Path) -> None:
    port = server.url.rsplit(":", 1)[1]
    line = fails_to_start(mobilenet("serve"), {**own, "CACHE": cache, "PORT": port})
    assert f"MOBILENET_PORT={port}: cannot listen there: Address already in use" in line


def test_damaged_weights_are_one_line_and_exit_code_2(own: dict[str, object], tmp_path: Path) -> None:
    whole = Path(str(own["WEIGHTS"])).read_bytes()
    (tmp_path / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    settings = {**own, "WEIGHTS": tmp_path / "truncated.h5", "CACHE": tmp_path, "PORT": 0}
    assert "truncated.h5 is not a Keras weight file, or it is damaged" in fails_to_start(mobilenet("serve"), settings)


def test_a_bad_setting_stops_uvicorn_in_one_line_too() -> None:
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]
    assert "MOBILENET_ALPHA=0.3" in fails_to_start(command, {"ALPHA": 0.3})


def test_make_hands_its_variables_to_the_service_as_they_are_and_shows_none(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("installed", "bin/uv"):
        (tmp_path / name).touch()  # newer than what they are made of
    program = tmp_path / "bin" / "mobilenet"
    program.write_text("#!/bin/sh\nenv | grep ^MOBILENET_ | sort\n")
    program.chmod(0o755)
    # Not as a part of the `make` that may run this test: it would say which folder it enters.
    alone = {name: value for name, value in environment().items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
    command = ["make", "run", f"VENV={tmp_path}", "PORT=9000", "API_KEYS=a&b$c d;e"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, env=alone)
    assert done.stdout.splitlines() == ["MOBILENET_API_KEYS=a&b$c d;e", "MOBILENET_PORT=9000"]
