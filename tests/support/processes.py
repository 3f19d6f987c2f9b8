"""The real process, started as its user starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.config import UNIX, Settings
from app.engines.bundle import BUNDLED
from tests.support import needs
from tests.support.shared import made_once, shared_folder
from tests.support.weights import VARIANT, Converted, Saved

START_S = 300
PATIENCE_S = 150
"""Seconds to wait for what takes a few on an idle machine. Where three tests start processes at once it may be 40."""
Environment = dict[str, str]


@dataclass
class Process:
    """A running `mobilenet serve`, where it answers and what it printed."""

    popen: subprocess.Popen[bytes]
    url: str
    log: Path

    def client(self) -> httpx.Client:
        """Return a client of the process, wherever it listens."""
        if self.url.startswith(UNIX):
            transport = httpx.HTTPTransport(uds=self.url.removeprefix(UNIX))
            return httpx.Client(base_url="http://localhost", transport=transport)
        return httpx.Client(base_url=self.url)

    @property
    def grpc_port(self) -> int:
        """The port on which it takes gRPC."""
        found = re.search(r"gRPC on \S+:(\d+)$", self.log.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def listens(self) -> bool:
        """Whether it takes a connection. httpx leaves a Unix socket that refuses one unclosed, and a warning."""
        with socket.socket(socket.AF_UNIX) as probe:
            return not self.url.startswith(UNIX) or probe.connect_ex(self.url.removeprefix(UNIX)) == 0

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(PATIENCE_S)

    def tree(self) -> dict[int, str]:
        """Return the command line of the process and of each that came from it, by number, each after its parent."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(path.parent.name))
        found = {self.popen.pid: ""}
        descended = [self.popen.pid]
        for number in descended:  # which may be less than that of its parent: numbers begin anew at their limit
            with suppress(OSError):
                found[number] = Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
            descended += sorted(children.get(number, ()))
        return found

    def workers(self) -> list[int]:
        """Return the processes that decode and run the model, the template that they were forked from first."""
        return [number for number, command in self.tree().items() if "app.runtime.worker" in command]

    def children(self) -> list[int]:
        """Return the processes that take HTTP requests, where there are several."""
        return [number for number in self.tree() if name(number) == "http-process"]

    def starts(self) -> int:
        """Return how many HTTP processes have started, those that have ended included."""
        return self.log.read_text().count("Application startup complete.")

    def http_template(self) -> int:
        """Return the process that forks those, where there are several."""
        (found,) = (number for number in self.tree() if name(number) == "http-template")
        return found

    def cpu_s(self) -> float:
        """Return the CPU seconds that the processes which decode have taken so far, those that ended left out."""
        stats = [Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split() for number in self.workers()]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    def status(self, field: str) -> int:
        """Add up a number of the status of the process and its workers, such as `VmHWM`, the most memory, in kB.

        What forked workers share with their template counts once.
        """
        template, *forked = self.workers()
        memory = _status(template, "VmRSS") if field.startswith("Vm") else 0
        own = sum(max(0, _status(number, field) - memory) for number in forked)
        return _status(self.popen.pid, field) + _status(template, field) + own


def name(number: int) -> str:
    """Return the name of a process, by which forked ones can be told apart; nothing if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{number}/comm").read_text().strip()
    return ""


def _status(number: int, field: str) -> int:
    text = Path(f"/proc/{number}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(f"{field}:")).split()[1])


def mobilenet(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("mobilenet")), *arguments]


def environment(**settings: object) -> Environment:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MOBILENET_", "GRPC_"))}
    return outside | {f"MOBILENET_{name}": str(value) for name, value in settings.items()}


@contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Have processes that are started here heed SIGINT.

    A shell that starts the tests in the background has them ignore it, and what is ignored is inherited.
    """
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, inherited)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def under_uvicorn(
    application: str, variables: Environment, **options: Any
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run an application under plain uvicorn; give its address and its process, which is killed with the context.

    It gets a socket that listens already: a free port might be another's when it has been imported.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number, port = listener.fileno(), listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", application, "--fd", str(number), "--log-level", "error"]
        popen = subprocess.Popen(command, env=variables, pass_fds=[number], **options)
    with popen:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(f"{url}/readyz"))
            yield url, popen
        finally:
            popen.kill()


def files(number: int) -> set[str]:
    """Return what the descriptors of a process are, as in `socket:[1234]`; some may be closed meanwhile."""
    found = set()
    for path in Path(f"/proc/{number}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return found


def half_sent(url: str, png: bytes) -> socket.socket:
    """Open a request whose body is there but for what is after its first 50 bytes."""
    connection = socket.create_connection(url.removeprefix("http://").split(":"))  # type: ignore[arg-type]
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(png)}\r\n\r\n"
    connection.sendall(head.encode() + png[:50])
    return connection


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Wait until something is true; fail where it is not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def answers(url: str, status: int = 200) -> bool:
    """Whether a GET is answered with this status; no, where nothing is there yet or any more."""
    try:
        return httpx.get(url).status_code == status
    except httpx.TransportError:
        return False


def _address(log: Path, popen: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and popen.poll() is None:
        if found := re.search(r"serving on ((?:http|unix):[^,]+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"the service did not start:\n{log.read_text()}")


def _wait_until_ready(process: Process, several: int) -> None:
    """Wait until it is ready. Of several HTTP processes all are to be; the first answers while others still start."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with process.client() as client:
                is_ready = process.listens() and client.get("/readyz").status_code == 200
                if is_ready and process.starts() >= several:
                    return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"the service did not get ready:\n{process.log.read_text()}")


Serve = Callable[..., Process]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shared_folder(tmp_path_factory) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def serve(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Return a function that starts the service on a free port; what is still running at the end is killed.

    `behind` is a command that is started instead and becomes the service, `pass_fds` are descriptors for it.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start(
        *, until_ready: bool = True, behind: Sequence[str] = (), pass_fds: Sequence[int] = (), **settings: object
    ) -> Process:
        log = tmp_path_factory.mktemp("log") / "stderr"
        variables = environment(PORT=0, **{"CACHE": cache, **settings})
        with log.open("wb") as stderr:
            popen = subprocess.Popen([*behind, *mobilenet("serve")], env=variables, stderr=stderr, pass_fds=pass_fds)
        running.append(popen)
        process = Process(popen, _address(log, popen), log)
        if until_ready:
            _wait_until_ready(process, int(str(settings.get("HTTP_WORKERS", 0))))
        return process

    yield start
    for popen in running:
        popen.kill()
        popen.wait()


@pytest.fixture(scope="session")
def own(saved: Saved, float32_model: Converted, cache: Path) -> dict[str, object]:
    """Settings that serve weights made here, which the cache has compiled, with labels of their own."""
    with suppress(FileExistsError):
        (cache / float32_model.path.name).hardlink_to(float32_model.path)
    return {
        "WEIGHTS": saved.folder / "network.weights.h5",
        "LABELS": saved.labels,
        "ALPHA": VARIANT.alpha,
        "RESOLUTION": VARIANT.resolution,
    }


EVERY_WIDTH = {
    "ALPHA": BUNDLED.alphas[0],
    "RESOLUTION": Settings().resolution,
    "VARIANTS": ",".join(f"{alpha:g}/{Settings().resolution}" for alpha in BUNDLED.alphas[1:]),
}


class Compiled(NamedTuple):
    """A folder that has all widths of the bundled weights in float32, and what was said when they were compiled."""

    cache: Path
    lines: list[str]


@pytest.fixture(scope="session")
def bundled_float32(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    needs.TENSORFLOW.check()
    folder = made_once(shared_folder(tmp_path_factory) / "bundled", _compile_bundled)
    return Compiled(folder / "cache", (folder / "said").read_text().splitlines())


def _compile_bundled(folder: Path) -> None:
    command, env = mobilenet("compile"), environment(CACHE=folder / "cache", **EVERY_WIDTH)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)


@pytest.fixture(scope="session")
def server(serve: Serve, own: dict[str, object]) -> Process:
    return serve(**own)
