"""The real process on a Unix socket, and on a socket that it is started with."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.data import RED
from tests.support.processes import Environment, Process, Serve, environment, files, mobilenet

pytestmark = pytest.mark.tensorflow

HTTP_1_0 = b"POST /predict HTTP/1.0\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%b"
ACTIVATE = """
import os, sys
descriptor, number, *command = sys.argv[1:]
os.dup2(int(descriptor), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": number, "LISTEN_FDNAMES": "http"}
os.execv(command[0], command)
"""
"""What systemd does, in the process that becomes the service."""


def activated(by: socket.socket, number: int = 1) -> list[str]:
    """Return the command that starts the one behind it with a socket, and tells it of so many."""
    return [sys.executable, "-c", ACTIVATE, str(by.fileno()), str(number)]


def variables(pid: int) -> Environment:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def healthy(address: str) -> bool:
    command = [sys.executable, "-m", "app.healthcheck"]
    return subprocess.run(command, env=environment(HOST=address), capture_output=True, check=False).returncode == 0


def check_served(process: Process) -> None:
    """Check that a client without an address gets what any other gets."""
    with process.client() as client:
        for path in ("/", "/docs", "/openapi.json", "/metrics", "/v2/health/ready", "/variants"):
            assert client.get(path, headers={"X-Forwarded-Prefix": "/vision"}).status_code == 200, path
        assert client.post("/predict", content=RED).status_code == 200
        assert client.post("/predict", content=b"no image").status_code == 415


@pytest.fixture(scope="module", params=[1, 2])
def on_a_unix_socket(
    request: pytest.FixtureRequest, serve: Serve, own: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """One HTTP process, or two, on a socket that is gone when it has stopped."""
    path = tmp_path_factory.mktemp("on") / "socket"
    process = serve(**own, HOST=f"unix:{path}", HTTP_WORKERS=request.param)
    assert process.url == f"unix:{path}"
    yield process
    assert process.stop() == 0
    assert not path.exists()
    assert "Traceback" not in process.log.read_text()


def test_on_a_unix_socket_it_serves_as_on_a_port(on_a_unix_socket: Process) -> None:
    assert healthy(on_a_unix_socket.url)
    check_served(on_a_unix_socket)
    with socket.socket(socket.AF_UNIX) as raw:  # without a `Host`
        raw.connect(on_a_unix_socket.url.removeprefix("unix:"))
        raw.sendall(HTTP_1_0 % (len(RED), RED))
        assert raw.recv(65536).startswith(b"HTTP/1.1 200 OK")


@needs.CURL.mark()
@pytest.mark.parametrize("on_a_unix_socket", [1], indirect=True)
def test_curl_asks_a_unix_socket(on_a_unix_socket: Process, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(RED)
    command = ["curl", "--silent", "--unix-socket", on_a_unix_socket.url.removeprefix("unix:"), "--data-binary"]
    command += [f"@{tmp_path}/photo.png", "http://localhost/predict"]
    assert '"predictions"' in subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_socket_of_a_killed_service_is_replaced_and_that_of_one_that_runs_is_not(
    serve: Serve, own: dict[str, object], cache: Path, tmp_path: Path
) -> None:
    settings = {**own, "HOST": f"unix:{tmp_path}/socket"}
    killed = serve(**settings)
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    process = serve(**settings)
    done = subprocess.run(
        mobilenet("serve"), env=environment(**settings, CACHE=cache), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"mobilenet: MOBILENET_HOST={process.url}: cannot listen there: Address already in use\n"
    check_served(process)
    assert process.stop() == 0


@pytest.mark.parametrize(("family", "processes"), [(socket.AF_INET, 1), (socket.AF_UNIX, 2)], ids=["tcp", "unix"])
def test_on_a_socket_that_it_is_started_with_it_serves_and_leaves_it_to_its_owner(
    serve: Serve, own: dict[str, object], tmp_path: Path, family: socket.AddressFamily, processes: int
) -> None:
    path = tmp_path / "socket"
    with socket.socket(family) as ours:
        ours.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(path))
        ours.listen()
        process = serve(behind=activated(ours), pass_fds=[ours.fileno()], **own, HTTP_WORKERS=processes)
        assert process.url == (f"unix:{path}" if family == socket.AF_UNIX else f"http://127.0.0.1:{_port(ours)}")
        check_served(process)
        descendants = [pid for pid in process.tree() if pid != process.popen.pid]
        assert len(descendants) > 1
        for pid in descendants:
            assert f"socket:[{os.fstat(ours.fileno()).st_ino}]" not in files(pid)
        for pid in process.workers():  # what is forked shows the variables that its parent was started with
            assert not [name for name in variables(pid) if name.startswith("LISTEN_")]
        assert process.stop() == 0
        assert path.exists() == (family == socket.AF_UNIX)
        with socket.socket(family) as client:
            client.connect(ours.getsockname())
            ours.accept()[0].close()


def _port(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


@pytest.mark.parametrize("number", [1, 2])
def test_sockets_that_it_cannot_serve_on_are_one_line_and_exit_code_2(own: dict[str, object], number: int) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        command = [*activated(silent, number), *mobilenet("serve")]
        done = subprocess.run(
            command, env=environment(**own), pass_fds=[silent.fileno()], capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mobilenet: LISTEN_FDS={number}: ")
