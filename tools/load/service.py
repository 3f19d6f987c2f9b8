"""Runs the service as a process of its own: starts it on a free port, samples it through `/proc`, and stops it."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import httpx

T = TypeVar("T")

START_S = 120
"""Long enough to compile weights that have not been served before."""
STOP_S = 30
POLL_S = 0.05


class ServiceFailed(Exception):
    """The service did not start, did not answer, or ended while it was measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the service took of the machine at `at_s`, a time of `time.perf_counter`.

    `rss_mb` is its resident memory in MB (10⁶ bytes), and `fds` the number of its open files.
    """

    at_s: float
    rss_mb: float
    fds: int
    threads: int


@dataclass(frozen=True, slots=True)
class RunningService:
    """A running service: its process, its address, and the file with what it has printed."""

    popen: subprocess.Popen[bytes]
    url: str
    log: Path

    def sample(self) -> Sample:
        """Return what the process and its workers take together. Raises `ServiceFailed` if the process has ended."""
        if self.popen.poll() is not None:
            raise ServiceFailed(f"the service ended with code {self.popen.returncode}:\n{_tail(self.log)}")
        return sample(self.popen.pid)

    def model(self) -> str:
        """Return the name of the served model, for titles."""
        info = httpx.get(f"{self.url}/model-info").raise_for_status().json()
        return f"{info['weights']}, α {info['alpha']:g} @ {info['resolution']}, {info['precision']}"


def sample(pid: int) -> Sample:
    """Return what a process and its descendants take together; memory that they share is counted for each of them."""
    pids = list(tree(pid))
    status = [Path(f"/proc/{each}/status").read_text() for each in pids]
    return Sample(
        at_s=time.perf_counter(),
        rss_mb=sum(_field(text, "VmRSS") for text in status) * 1024 / 1e6,
        fds=sum(len(os.listdir(f"/proc/{each}/fd")) for each in pids),
        threads=sum(_field(text, "Threads") for text in status),
    )


def tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes have taken, without those of their children."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def pinned(cpus: Collection[int]) -> list[str]:
    """Return what is put in front of a command so that it runs only on these CPUs; nothing if there are none."""
    return ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []


def _field(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.M)
    return int(found[1]) if found else 0


@contextmanager
def serving(
    command: Sequence[str] = (), cpus: Collection[int] = (), settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[RunningService]:
    """Run `mobilenet serve` until the block ends, on a free port, with the settings of the environment but no keys.

    `settings`, by the names of their variables, replace those of the environment. With `cpus` it runs only on these,
    and has as many workers as if the machine had no others. It logs warnings and errors only, unless the environment
    says otherwise. Raises `ServiceFailed` if it does not become ready.
    """
    command = command or [str(Path(sys.executable).with_name("mobilenet")), "serve"]
    ours = {"MOBILENET_HOST": "127.0.0.1", "MOBILENET_PORT": "0"}
    open_to_all = {"MOBILENET_API_KEYS": "", "MOBILENET_API_KEYS_FILE": ""}
    environment = {"MOBILENET_LOG_LEVEL": "warning"} | os.environ | dict(settings) | ours | open_to_all
    with tempfile.TemporaryDirectory() as folder:
        # A file instead of a pipe, which would fill up because nobody reads it while the load runs.
        log = Path(folder) / "log"
        with log.open("wb") as stderr:
            popen = subprocess.Popen([*pinned(cpus), *command], env=environment, stderr=stderr)
        try:
            yield _ready(popen, log)
        finally:
            _stop(popen)


def _ready(popen: subprocess.Popen[bytes], log: Path) -> RunningService:
    deadline = time.monotonic() + START_S

    def until(attempt: Callable[[], T | None]) -> T:
        while popen.poll() is None and time.monotonic() < deadline:
            if (found := attempt()) is not None:
                return found
            time.sleep(POLL_S)
        raise ServiceFailed(f"the service did not become ready:\n{_tail(log)}")

    address = until(lambda: re.search(r"serving on (http://[^,\s]+)", log.read_text()))
    until(lambda: _answers(f"{address[1]}/readyz"))
    return RunningService(popen, address[1], log)


def _answers(url: str) -> bool | None:
    try:
        return httpx.get(url).status_code == httpx.codes.OK or None
    except httpx.TransportError:
        return None


def _tail(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-5:])


def _stop(popen: subprocess.Popen[bytes]) -> None:
    popen.terminate()
    try:
        popen.wait(STOP_S)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
