"""Starts a contender in an environment of its own, waits until it answers, and stops it with all its processes."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import httpx

from app.config import Settings
from tools.bench.answers import ask
from tools.bench.contenders import Contender, ContenderFailed
from tools.bench.environments import environment
from tools.bench.models import model_file
from tools.bench.peers import classify

START_S, STOP_S, POLL_S = 120, 10, 0.05


@contextmanager
def running(contender: Contender, settings: Settings, cpus: int, photo: bytes) -> Iterator[str]:
    """Run a contender until the block ends; yield its address as soon as it answers. Raises `ContenderFailed`."""
    port = _free_port()
    filled = {"program": str(environment(contender)), "port": str(port), "cpus": str(cpus)}
    command = [part.format(**filled) for part in contender.command]
    variables = {name: value.format(**filled) for name, value in contender.variables.items()}
    if contender.packages:
        variables |= {
            classify.MODEL: str(model_file(settings, contender)),
            classify.RESOLUTION: str(settings.resolution),
            "RAY_USAGE_STATS_ENABLED": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
    else:
        variables |= {"MOBILENET_ALPHA": str(settings.alpha), "MOBILENET_RESOLUTION": str(settings.resolution)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=contender.folder,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, url, photo, log)
            yield url
        finally:
            _stop(process)


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], url: str, photo: bytes, log: Any) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if ask(url, photo) is not None:
                return
        time.sleep(POLL_S)
    log.seek(0)
    raise ContenderFailed(f"{process.args!r} did not start:\n{log.read().decode(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with suppress(ProcessLookupError):  # the workers of some servers outlive them, so the whole group is killed
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
