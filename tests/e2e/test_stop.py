"""Told to stop, the real process accepts no more, answers what it accepted, and exits with 0."""

import os
import signal
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.data import PNG, RED
from tests.support.processes import PATIENCE_S, Process, Serve, environment, half_sent, mobilenet, wait_for

pytestmark = pytest.mark.tensorflow


def listening(url: str) -> bool:
    """Tell whether a new connection is accepted."""
    try:
        httpx.get(f"{url}/healthz")
    except httpx.ConnectError:
        return False
    except httpx.TransportError:
        return True
    return True


@pytest.mark.parametrize(
    ("processes", "number"),
    [
        ({}, signal.SIGTERM),
        ({}, signal.SIGINT),
        ({"HTTP_WORKERS": 2}, signal.SIGTERM),
        ({"HTTP_WORKERS": 2, "MODEL_WORKERS": 0}, signal.SIGINT),
    ],
    ids=str,
)
def test_told_to_stop_it_accepts_no_more_finishes_what_it_accepted_and_exits_0(
    serve: Serve, own: dict[str, object], processes: dict[str, int], number: int
) -> None:
    process = serve(**own, **processes, REQUEST_TIMEOUT_MS=60_000)
    under_way = [half_sent(process.url, RED) for _ in range(4)]
    wait_for(lambda: "mobilenet_requests_in_flight 5.0" in httpx.get(f"{process.url}/metrics").text)
    process.popen.send_signal(number)
    wait_for(lambda: not listening(process.url))
    for connection in under_way:
        connection.sendall(RED[50:])
    for connection in under_way:
        connection.settimeout(20)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        connection.close()
    assert process.popen.wait(PATIENCE_S) == 0
    assert "Traceback" not in process.log.read_text()


def test_told_to_stop_under_load_it_answers_every_request_that_it_accepted(
    serve: Serve, own: dict[str, object]
) -> None:
    process = serve(**own)
    outcomes: Counter[object] = Counter()
    stopped = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=process.url) as session:
            while not stopped.is_set():
                try:
                    outcomes[session.post("/predict", content=RED, headers=PNG).status_code] += 1
                except httpx.ConnectError:
                    return  # no longer listening: nothing was accepted
                except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as exc:
                    # An idle connection may be closed just when it is used again; a request of a new one may not.
                    outcomes[type(exc)] += 1
                    return

    with ThreadPoolExecutor(16) as threads:
        futures = [threads.submit(client) for _ in range(16)]
        wait_for(lambda: outcomes[200] > 100)
        code = process.stop()
        stopped.set()
        for future in futures:
            future.result()
    assert code == 0
    assert outcomes[200] > 100
    lines = process.log.read_text().splitlines()
    answered = [line for line in lines if "POST '/predict'" in line]
    assert {line.split("status=")[1].split()[0] for line in answered} <= {"200", "503"}
    assert sum("status=200" in line for line in answered) == outcomes[200], "each accepted request reached its client"


@pytest.mark.parametrize(
    ("processes", "number"),
    [
        ({}, signal.SIGTERM),
        ({}, signal.SIGINT),
        ({"HTTP_WORKERS": 2}, signal.SIGINT),
        ({"MODEL_WORKERS": 0}, signal.SIGTERM),
    ],
    ids=str,
)
def test_told_to_stop_while_it_compiles_all_of_it_ends_and_nothing_is_left(
    own: dict[str, object], tmp_path: Path, processes: dict[str, int], number: int
) -> None:
    settings = environment(**own, **processes, PORT=0, CACHE=tmp_path / "cache", HOST=f"unix:{tmp_path}/socket")
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            mobilenet("serve"), env=settings | {"TMPDIR": str(tmp_path)}, stderr=log, process_group=0
        ) as popen,
    ):
        process = Process(popen, "", tmp_path / "log")
        wait_for(lambda: any("app.engines.tflite.convert" in command for command in process.tree().values()))
        running = process.tree()
        # Ctrl-C reaches all processes of the terminal.
        os.killpg(popen.pid, number) if number == signal.SIGINT else popen.send_signal(number)
        assert popen.wait(PATIENCE_S) == 0
    assert "ready: " not in process.log.read_text()  # it did not wait for the compiler
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith("mobilenet: compiling ")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cache", "log"]
