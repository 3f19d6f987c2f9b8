"""gRPC of the real process: while workers die, models are swapped and it stops; and of several at one port."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc.methods import SERVICE
from tests.support.client import parsed
from tests.support.data import solid
from tests.support.grpc import raw_files
from tests.support.processes import PATIENCE_S, Process, Serve, environment, files, mobilenet, wait_for

BUNDLED = {"PRECISION": "int8", "ALPHA": 0.25, "RESOLUTION": 128, "GRPC_PORT": 0}
REQUEST = raw_files(solid((220, 30, 30)))
ALONE = [("grpc.use_local_subchannel_pool", 1)]
ROUTE = f"/{SERVICE}/ModelInfer"
OK, GONE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


def infer(channel: grpc.Channel, wait: bool = False) -> grpc.StatusCode:
    method = channel.unary_unary(
        ROUTE,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )
    try:
        method(REQUEST, timeout=PATIENCE_S, wait_for_ready=wait)
    except grpc.RpcError as exc:
        return exc.code()
    return OK


@contextmanager
def asking(process: Process) -> Iterator[Counter[grpc.StatusCode]]:
    """Ask over three connections, and count what comes of it, until the context ends."""
    found: Counter[grpc.StatusCode] = Counter()
    ended = threading.Event()

    def ask() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{process.grpc_port}", ALONE) as channel:
            while not ended.is_set():
                code = infer(channel)
                found[code] += 1
                if code != OK:
                    time.sleep(0.05)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: found[OK] >= 10)
        yield found
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def listens(number: int, port: int) -> bool:
    """Whether a process listens on a port."""
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]  # gRPC maps addresses to IPv6
    fields = [line.split() for table in tables for line in table.splitlines()[1:]]
    sockets = {f"socket:[{field[9]}]" for field in fields if field[1].endswith(f":{port:04X}") and field[3] == "0A"}
    return bool(sockets & files(number))


@pytest.fixture(scope="module")
def process(serve: Serve) -> Process:
    return serve(**BUNDLED)


def test_a_worker_that_is_killed_is_replaced_and_no_call_is_lost(process: Process) -> None:
    with asking(process) as found:
        for _ in range(3):
            template, killed, *_ = process.workers()
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda killed=killed: killed not in process.workers())  # type: ignore[misc]
            before = found[OK]
            wait_for(lambda before=before: found[OK] > before + 10)  # type: ignore[misc]
            assert template in process.workers()
    assert set(found) == {OK}


def test_models_are_swapped_and_no_call_is_lost(process: Process) -> None:
    with asking(process) as found:
        process.popen.send_signal(signal.SIGHUP)
        wait_for(lambda: "reloaded: " in process.log.read_text())
        before = found[OK]
        wait_for(lambda: found[OK] > before + 10)
    assert set(found) == {OK}


def test_told_to_stop_it_answers_what_it_has_or_says_that_it_stops_and_exits_0(process: Process) -> None:
    with asking(process) as found:
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(PATIENCE_S) == 0
        wait_for(lambda: found[GONE])
    assert set(found) == {OK, GONE}
    assert "Traceback" not in process.log.read_text()


def test_several_processes_share_the_port_and_one_that_is_killed_is_replaced(serve: Serve) -> None:
    process = serve(HTTP_WORKERS=2, **BUNDLED)
    wait_for(lambda: process.log.read_text().count("gRPC on") == 2)
    port = process.grpc_port

    def ask(count: int) -> None:
        for _ in range(count):
            with grpc.insecure_channel(f"127.0.0.1:{port}", ALONE) as channel:
                assert infer(channel, wait=True) == OK

    assert all(listens(child, port) for child in process.children())
    ask(20)  # connections
    wait_for(lambda: parsed(httpx.get(f"{process.url}/metrics").text)["mobilenet_requests_total", ROUTE, "200"] == 20)
    killed = process.children()[0]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: process.log.read_text().count("gRPC on") == 3)
    ask(5)
    assert process.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shared", [False, True], ids=["", "shared"])
def test_a_port_that_another_has_is_one_line_and_exit_code_2_even_if_it_would_be_shared(
    workers: int, shared: bool
) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = environment(PORT=0, **BUNDLED | {"GRPC_PORT": port, "HTTP_WORKERS": workers})
        done = subprocess.run(mobilenet("serve"), env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    says = (
        f"mobilenet: MOBILENET_HOST=127.0.0.1 MOBILENET_GRPC_PORT={port}: cannot listen there: Address already in use"
    )
    assert done.stderr.splitlines() == [says]
