"""The process under fire: hanging models, killed workers, stops under load, and chaos."""

import asyncio
import base64
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.support.client import check_problem
from tests.support.data import PNG, RED, REPOSITORY, solid
from tests.support.images import encoded, png
from tests.support.processes import (
    PATIENCE_S,
    Process,
    Serve,
    answers,
    environment,
    half_sent,
    mobilenet,
    under_uvicorn,
    wait_for,
)

pytestmark = pytest.mark.tensorflow


BLACK, LARGE_BLACK = solid((0, 0, 0)), png(4000, 3001, depth=1, colour=0, rows=bytes(501 * 3001))
LARGE_WHITE = png(4000, 3001, depth=1, colour=0, rows=(b"\0" + b"\xff" * 500) * 3001)


@contextmanager
def hanging(**variables: object) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run a service that hangs on black images; give its address and its process."""
    settings = environment(PRECISION="int8", ALPHA=0.25, RESOLUTION=128, REQUEST_TIMEOUT_MS=2000)
    settings |= {name: str(value) for name, value in variables.items()}
    with under_uvicorn("tests.e2e.hanging:app", settings, cwd=REPOSITORY) as (url, popen):
        wait_for(lambda: httpx.post(f"{url}/predict", content=RED, headers=PNG).status_code == 200)
        yield url, popen


@pytest.fixture(scope="module")
def hanging_workers() -> Iterator[str]:
    """Give the address of a service that hangs on black images, and at the end is told to stop and does."""
    with hanging(MOBILENET_MODEL_WORKERS=1) as (url, popen):
        yield url
        popen.send_signal(signal.SIGTERM)
        popen.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("path", "image"),
    [
        pytest.param("/predict", BLACK, id="small"),
        pytest.param("/predict", LARGE_BLACK, id="large"),
        pytest.param("/preview", BLACK, id="preview"),
    ],
)
def test_a_worker_that_an_image_hangs_is_replaced_and_the_service_is_well_again(
    hanging_workers: str, path: str, image: bytes
) -> None:
    url = hanging_workers
    check_problem(httpx.post(url + path, content=image, headers=PNG), 504, "deadline_exceeded")
    wait_for(lambda: httpx.post(f"{url}/predict", content=RED, headers=PNG).status_code == 200)
    wait_for(lambda: httpx.post(f"{url}/predict", content=LARGE_WHITE, headers=PNG).status_code == 200)
    assert answers(f"{url}/healthz")


def test_an_image_that_hangs_a_thread_fails_the_probes_and_does_not_keep_the_process_from_stopping() -> None:
    with hanging(HANGING_THREADS=1) as (url, popen):
        check_problem(httpx.post(f"{url}/predict", content=BLACK, headers=PNG), 504, "deadline_exceeded")
        wait_for(lambda: answers(f"{url}/healthz", 503))
        assert "hangs" in httpx.get(f"{url}/readyz").json()["detail"]
        popen.send_signal(signal.SIGTERM)
        popen.wait(PATIENCE_S)


def test_an_image_that_hangs_ends_a_process_that_decodes_itself() -> None:
    with hanging(MOBILENET_MODEL_WORKERS=0) as (url, popen):
        with suppress(httpx.TransportError):  # while a small image is decoded nothing is answered
            check_problem(httpx.post(f"{url}/predict", content=BLACK, headers=PNG), 504, "deadline_exceeded")
        assert popen.wait(PATIENCE_S) == -signal.SIGALRM


@contextmanager
def asking(process: Process, clients: int) -> Iterator[tuple[list[list[int]], Callable[[], None]]]:
    """Have clients ask without a pause; give the codes that each got, and what waits until each has got another one.

    No request may fail but by its code.
    """
    enough = threading.Event()
    answered: list[list[int]] = [[] for _ in range(clients)]

    def ask(codes: list[int]) -> None:
        with httpx.Client(base_url=process.url, timeout=60) as client:
            while not enough.is_set():
                codes.append(client.post("/predict", content=RED, headers=PNG).status_code)

    with ThreadPoolExecutor(clients) as threads:
        running = [threads.submit(ask, codes) for codes in answered]

        def wait_until_each_goes_on() -> None:
            before = [len(codes) for codes in answered]

            def each_goes_on() -> bool:
                return all(len(now) > then for now, then in zip(answered, before, strict=True))

            wait_for(lambda: each_goes_on() or any(one.done() for one in running))

        try:
            yield answered, wait_until_each_goes_on
        finally:
            enough.set()
        for one in running:
            one.result()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_pause_of_all_processes_loses_no_request(serve: Serve, own: dict[str, object], processes: int) -> None:
    process = serve(**own, MODEL_WORKERS=0, HTTP_WORKERS=processes, REQUEST_TIMEOUT_MS=2500)
    with asking(process, 4) as (answered, wait_until_each_goes_on):
        wait_until_each_goes_on()
        before = process.tree()
        for number in before:
            os.kill(number, signal.SIGSTOP)
        time.sleep(7)  # longer than the patience of 5 s
        for number in before:
            os.kill(number, signal.SIGCONT)
        wait_until_each_goes_on()
    # What was under way meanwhile is past its deadline.
    assert {code for codes in answered for code in codes} <= {200, 504}
    assert process.tree().keys() == before.keys()
    assert "ERROR" not in process.log.read_text()
    assert process.stop() == 0


def runs(number: int) -> bool:
    """Tell whether a process runs; one that has ended may be there until whoever inherited it looks."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("threads", [0, 1])
def test_nothing_outlives_a_parent_of_several_that_is_killed(
    serve: Serve, own: dict[str, object], threads: int
) -> None:
    process = serve(**own, HTTP_WORKERS=2, MODEL_WORKERS=threads)
    running = list(process.tree())
    assert len(running) > 2
    process.popen.kill()
    process.popen.wait()
    wait_for(lambda: not any(map(runs, running)))


@pytest.fixture(scope="module", params=[0, 1])
def several(request: pytest.FixtureRequest, serve: Serve, own: dict[str, object]) -> Iterator[Process]:
    """Two HTTP processes, without model workers and with one each; whatever the tests end of it, it stops in order."""
    process = serve(**own, HTTP_WORKERS=2, MODEL_WORKERS=request.param)
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.log.read_text()


def test_a_killed_worker_of_several_is_survived_and_replaced(several: Process) -> None:
    before, started = several.children(), several.starts()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    for _ in range(20):  # those on the dead worker's connections fail at once, new ones are answered
        wait_for(lambda: answers(f"{several.url}/readyz"))
    wait_for(lambda: len(several.children()) == 2 and before[0] not in several.children())
    assert f"HTTP process {before[0]} was ended by signal 9 (Killed)" in several.log.read_text()
    assert httpx.post(f"{several.url}/predict", content=RED, headers=PNG).status_code == 200
    wait_for(lambda: several.starts() == started + 1)


@pytest.mark.parametrize("several", [1], indirect=True)
def test_one_of_several_whose_models_are_gone_is_replaced(several: Process) -> None:
    before, started = several.children(), several.starts()
    os.kill(template(several), signal.SIGKILL)
    wait_for(lambda: len(set(several.children()) - set(before)) == 1 and len(several.children()) == 2)
    wait_for(lambda: several.starts() == started + 1)
    for _ in range(20):
        assert httpx.post(f"{several.url}/predict", content=RED, headers=PNG).status_code == 200


@pytest.mark.timeout(240)  # a process starts, beside clients that never rest
@pytest.mark.parametrize("several", [1], indirect=True)
def test_an_http_process_that_is_told_to_end_is_replaced_and_loses_no_request_of_a_new_connection(
    several: Process,
) -> None:
    first, enough = several.children(), threading.Event()

    def ask() -> Counter[object]:
        answers: Counter[object] = Counter()
        while not enough.is_set():
            connection = HTTPConnection(several.url.removeprefix("http://"), timeout=30)
            try:
                connection.request("POST", "/predict", RED, PNG)
                answers[connection.getresponse().status] += 1
            except (OSError, HTTPException) as exc:
                answers[repr(exc)] += 1
            connection.close()
            time.sleep(0.02)  # meanwhile this machine has processes to start
        return answers

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask) for _ in range(2)]
        try:
            os.kill(first[0], signal.SIGTERM)
            wait_for(lambda: len(several.children()) == 2 and first[0] not in several.children())
            time.sleep(0.5)
        finally:
            enough.set()
        answers = sum((one.result() for one in asking), Counter[object]())
    assert set(answers) == {200}, answers


FEW_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.argv[2], sys.argv[2:])
"""


def with_files(limit: int) -> list[str]:
    """Return the command that starts the one behind it with a limit of open files."""
    return [sys.executable, "-c", FEW_FILES, str(limit)]


@pytest.mark.parametrize("processes", [1, 2])
def test_more_connections_than_there_are_files_for_wait_and_no_request_is_lost(
    serve: Serve, own: dict[str, object], processes: int
) -> None:
    process = serve(behind=with_files(64), **own, HTTP_WORKERS=processes, MODEL_WORKERS=2)
    files = {number: _files(number) for number in (process.popen.pid, *process.children())}
    host, port = process.url.removeprefix("http://").split(":")
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(RED)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((host, int(port)), timeout=60)) for _ in range(80)]
        for client in clients:  # all stay open until the service closes those that have been idle for a while
            client.sendall(head + RED)
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    log = process.log.read_text()
    assert "28 connections are open, as many as the limit of open files allows" in log
    assert "Too many open files" not in log
    assert "mobilenet_connections_paused_total 0.0" not in httpx.get(f"{process.url}/metrics").text
    # The sockets of workers are made when the first requests come.
    wait_for(lambda: all(_files(number) <= before + 8 for number, before in files.items()))
    assert process.stop() == 0
    assert "Traceback" not in process.log.read_text()


def _files(number: int) -> int:
    return len(list(Path(f"/proc/{number}/fd").iterdir()))


def test_with_too_few_files_it_does_not_start_and_says_how_many_it_needs(own: dict[str, object]) -> None:
    command = [*with_files(32), *mobilenet("serve")]
    done = subprocess.run(
        command, env=environment(**own, MODEL_WORKERS=2), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        "mobilenet: this process may have 32 open files (ulimit -n); with 2 model workers it needs at least 44\n"
    )


def template(process: Process) -> int:
    return process.workers()[0]


def test_a_process_whose_models_are_gone_ends_itself(serve: Serve, own: dict[str, object]) -> None:
    process = serve(**own)
    os.kill(template(process), signal.SIGKILL)
    assert process.popen.wait(PATIENCE_S) == 1
    assert "the process that forks the workers ended; this process ends" in process.log.read_text()


def test_a_process_whose_models_are_gone_is_kept_where_a_setting_says_so(serve: Serve, own: dict[str, object]) -> None:
    process = serve(**own, EXIT_ON_FAULT="false")
    os.kill(template(process), signal.SIGKILL)
    wait_for(lambda: answers(f"{process.url}/healthz", 503))
    assert answers(f"{process.url}/readyz", 503)
    with httpx.Client() as client:
        refused = client.post(f"{process.url}/predict", content=RED, headers=PNG)
    check_problem(refused, 503, "unavailable")
    assert refused.headers["connection"] == "close"
    time.sleep(3)
    assert answers(f"{process.url}/healthz", 503)
    assert process.stop() == 0
    assert "Traceback" not in process.log.read_text()


def test_without_what_forks_the_http_processes_the_service_ends_with_exit_code_1(
    serve: Serve, own: dict[str, object]
) -> None:
    process = serve(**own, HTTP_WORKERS=2)
    running = list(process.tree())
    under_way = [half_sent(process.url, RED) for _ in range(4)]
    wait_for(lambda: "mobilenet_requests_in_flight 5.0" in httpx.get(f"{process.url}/metrics").text)
    os.kill(process.http_template(), signal.SIGKILL)
    wait_for(lambda: "forks the HTTP processes ended" in process.log.read_text())
    assert process.popen.poll() is None  # it ends last: in a container all others end with it
    for connection in under_way:  # what was accepted is answered nevertheless
        connection.sendall(RED[50:])
        connection.settimeout(20)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        connection.close()
    assert process.popen.wait(PATIENCE_S) == 1
    wait_for(lambda: not any(map(runs, running)))
    assert "Traceback" not in process.log.read_text()


def test_http_processes_that_cannot_start_any_more_end_the_service_with_exit_code_2(
    serve: Serve, own: dict[str, object], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(Path(str(own["LABELS"])).read_text())
    process = serve(**own | {"LABELS": labels}, HTTP_WORKERS=2)
    wait_for(lambda: process.log.read_text().count(" ready: ") == 2)
    labels.unlink()
    process.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: "not reloaded" in process.log.read_text())
    assert httpx.post(f"{process.url}/predict", content=RED, headers=PNG).status_code == 200
    os.kill(process.children()[0], signal.SIGKILL)
    assert process.popen.wait(PATIENCE_S) == 2
    assert f"cannot read the labels {labels}" in process.log.read_text()
    assert not process.tree().keys() - {process.popen.pid}


@pytest.fixture(scope="module")
def under_fire(serve: Serve, own: dict[str, object]) -> Iterator[Process]:
    """Two model workers; whatever the tests do to them, and to the service, it stops in order."""
    process = serve(**own, MODEL_WORKERS=2, LOG_LEVEL="warning")
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.log.read_text()
    assert "never awaited" not in process.log.read_text()


def test_workers_that_are_killed_under_load_lose_no_request(under_fire: Process) -> None:
    def kill() -> int:
        killed = 0
        for worker in under_fire.workers()[1:]:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        return killed

    with asking(under_fire, 8) as (answered, wait_until_each_goes_on):
        for _ in range(5):
            wait_for(kill)
            wait_until_each_goes_on()  # an image that loses two workers would be taken to be the reason
    assert {code for codes in answered for code in codes} == {200}


def test_an_image_that_kills_whatever_decodes_it_fails_alone(under_fire: Process) -> None:
    large = encoded(Image.new("RGB", (7000, 7000)), "WEBP")  # takes long enough to be caught
    with httpx.Client(base_url=under_fire.url) as client, ThreadPoolExecutor(1) as threads:
        assert client.post("/predict", content=RED, headers=PNG).status_code == 200
        answer = threads.submit(client.post, "/predict", content=large)
        while not answer.done():
            for worker in under_fire.workers()[1:]:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        assert "ended its process, twice" in check_problem(answer.result(), 422, "undecodable_image")
        assert client.post("/predict", content=RED, headers=PNG).status_code == 200
        assert client.get("/healthz").status_code == 200


TENSOR = json.dumps(
    {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(RED).decode()]}]}
).encode()


def received(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the head and the body of a response, which may come in pieces."""
    data = b""
    while True:
        more = connection.recv(65536)
        assert more, "the connection was closed"
        data += more
        head, gap, body = data.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if gap and len(body) == lengths[0]:
            return head, body


@pytest.fixture(scope="module")
def narrow(serve: Serve, own: dict[str, object]) -> Iterator[Process]:
    """Room for one image and nothing else."""
    process = serve(**own, MAX_QUEUE=1, MAX_IMAGES=1, MODEL_WORKERS=1, REQUEST_TIMEOUT_MS=60_000)
    yield process
    assert process.stop() == 0


def refusals(process: Process) -> float:
    """Return how many images found the queue full so far."""
    found = re.search(r'^mobilenet_rejected_total\{reason="queue_full"\} (.+)$', metrics(process), re.M)
    return float(found[1]) if found else 0


def metrics(process: Process) -> str:
    return httpx.get(f"{process.url}/metrics").text


@pytest.mark.parametrize(("path", "sent"), [("/predict", RED), ("/v2/models/mobilenet/infer", TENSOR)])
def test_a_full_queue_refuses_at_the_head_of_a_request_and_the_connection_goes_on(
    narrow: Process, path: str, sent: bytes
) -> None:
    before = refusals(narrow)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\nContent-Length: {len(sent)}\r\n\r\n".encode()
    with httpx.Client(base_url=narrow.url) as client, ThreadPoolExecutor(1) as thread:
        assert client.post(path, content=sent).status_code == 200
        _, worker = narrow.workers()
        os.kill(worker, signal.SIGSTOP)
        crowd = thread.submit(httpx.post, f"{narrow.url}/predict", content=RED, timeout=60)
        wait_for(lambda: "mobilenet_queue_images 1.0" in metrics(narrow))
        with socket.create_connection((client.base_url.host, client.base_url.port), 20) as connection:
            connection.sendall(head)  # and no body
            lines, body = received(connection)
            connection.sendall(sent + head + sent)  # of the body, once it has come, the connection goes on
            assert received(connection)[0].startswith(b"HTTP/1.1 429")
        os.kill(worker, signal.SIGCONT)
        assert crowd.result().status_code == 200
        fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines.split(b"\r\n")[1:])]
        refused = httpx.Response(429, headers=fields, content=body)
        check_problem(refused, 429, "queue_full", protocol=path.startswith("/v2"))
        assert refused.headers["x-request-id"] == "mine"
        assert int(refused.headers["retry-after"]) >= 1
        assert client.post(path, content=sent).status_code == 200
        assert refusals(narrow) == before + 2


def test_no_worker_outlives_a_service_that_was_killed(serve: Serve, own: dict[str, object]) -> None:
    process = serve(**own)
    assert httpx.post(f"{process.url}/predict", content=RED, headers=PNG).status_code == 200
    workers = process.workers()
    assert len(workers) == 2
    process.popen.kill()
    process.popen.wait()
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


REQUESTS = int(os.environ.get("CHAOS_REQUESTS", "3000"))
CLIENTS = 16
GARBAGE = (b"", b"text", b"<html>", RED[: len(RED) // 2], b"\x89PNG\r\n\x1a\n" + bytes(64), b"GIF89a" + bytes(20))


class Chaos:
    """A client that sends good and bad requests, waits too short for some answers and leaves others unread."""

    def __init__(self, process: Process, seed: int, outcomes: "Counter[str]") -> None:
        host, port = process.url.removeprefix("http://").split(":")
        self.address = (host, int(port))
        self.choice = random.Random(seed)
        self.outcomes = outcomes

    async def run(self, requests: int) -> None:
        for _ in range(requests):
            kind = self.choice.choices(("good", "garbage", "impatient", "leaver"), (60, 33, 4, 3))[0]
            await getattr(self, kind)()

    async def ask(self, body: bytes, extra: str = "", wait: float = 30) -> int:
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            head = (
                f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
            )
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), wait)
            return int(answer.split(b" ", 2)[1])
        finally:
            writer.close()

    async def good(self) -> None:
        self.outcomes[f"good {await self.ask(RED)}"] += 1

    async def garbage(self) -> None:
        self.outcomes[f"garbage {await self.ask(self.choice.choice(GARBAGE))}"] += 1

    async def impatient(self) -> None:
        extra = f"X-Request-Timeout-Ms: {self.choice.randint(1, 20)}\r\n"
        self.outcomes[f"impatient {await self.ask(RED, extra)}"] += 1

    async def leaver(self) -> None:
        try:
            await self.ask(RED, wait=self.choice.random() / 50)
        except TimeoutError:
            self.outcomes["left"] += 1


def descriptors(process: Process) -> int:
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


def test_chaos_leaves_nothing_behind(under_fire: Process) -> None:
    outcomes: Counter[str] = Counter()

    async def storm(requests: int, seed: int) -> None:
        clients = [Chaos(under_fire, seed + number, outcomes) for number in range(CLIENTS)]
        await asyncio.gather(*(client.run(requests // CLIENTS) for client in clients))

    def still() -> bool:
        return "mobilenet_queue_images 0.0" in metrics(under_fire) and len(under_fire.workers()) == 3  # and a template

    asyncio.run(storm(1000, seed=0))  # what starts and grows with use has done so
    wait_for(still)
    before = under_fire.status("VmRSS"), under_fire.status("Threads"), descriptors(under_fire)
    outcomes.clear()
    asyncio.run(storm(REQUESTS, seed=1000))
    wait_for(still)
    wait_for(lambda: descriptors(under_fire) <= before[2])
    assert under_fire.status("Threads") <= before[1]
    assert under_fire.status("VmRSS") <= 1.1 * before[0]
    assert set(outcomes) <= {
        "good 200",
        *(f"garbage {code}" for code in (400, 415, 422)),
        "impatient 200",
        "impatient 504",
        "left",
    }
    assert outcomes["good 200"] > REQUESTS / 2
    assert outcomes["left"] > 0
    assert httpx.post(f"{under_fire.url}/predict", content=RED, headers=PNG).status_code == 200
