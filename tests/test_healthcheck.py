"""The health check of the container: what it says of a service, and what it costs."""

import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app import healthcheck
from tests.support.data import REPOSITORY
from tests.support.webserver import serving


@pytest.fixture(autouse=True)
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the first process' command line, in a folder with nothing else, where the check runs."""
    monkeypatch.chdir(tmp_path)
    for name in ("MOBILENET_HOST", "MOBILENET_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(healthcheck, "FIRST_PROCESS", tmp_path / "cmdline")
    return tmp_path / "cmdline"


def check(monkeypatch: pytest.MonkeyPatch, port: str) -> int:
    monkeypatch.setenv("MOBILENET_PORT", port)
    return healthcheck.main()


def test_a_ready_service_is_healthy_and_any_other_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"/readyz": b"ready"}) as site:
        port = site.url.rsplit(":", 1)[1]
        assert check(monkeypatch, port) == 0
        site.statuses = [503]
        assert check(monkeypatch, port) == 1
    assert check(monkeypatch, port) == 1, "nobody listens there any more"


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", ""])
def test_it_asks_where_the_service_listens(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_HOST", host)
    with serving({"/readyz": b"ready"}) as site:
        assert check(monkeypatch, site.url.rsplit(":", 1)[1]) == 0
    monkeypatch.setenv("MOBILENET_HOST", "127.0.0.2")
    with serving({"/readyz": b"ready"}) as site:
        assert check(monkeypatch, site.url.rsplit(":", 1)[1]) == 1, "it listens on 127.0.0.1 alone"


def test_a_unix_socket_is_asked_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    monkeypatch.setenv("MOBILENET_HOST", f"unix:{path}")
    assert healthcheck.main() == 1, "nobody listens there"
    with socketserver.UnixStreamServer(str(path), Ready) as server:
        threading.Thread(target=server.handle_request).start()
        assert healthcheck.main() == 0


class Ready(socketserver.StreamRequestHandler):
    """Answers any request."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    "command",
    [
        "/app/.venv/bin/python\0-m\0app\0serve\0--port\0{port}\0",
        "mobilenet\0serve\0--host\x00127.0.0.1\0--port={port}\0",
        "/sbin/docker-init\0--\0mobilenet\0serve\0--port\0{port}\0--degrade\0",
        "sh\0-c\0mobilenet serve --port {port}\0",
    ],
)
def test_a_flag_of_the_service_counts_most(
    command: str, container: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving({"/readyz": b"by its flag"}) as site:
        container.write_text(command.format(port=site.url.rsplit(":", 1)[1]))
        assert check(monkeypatch, "1") == 0
    assert capsys.readouterr().out == "200 by its flag\n"


@pytest.mark.parametrize("command", ["", "/sbin/init\0--port\0001\0", "mobilenet\0serve\0--port\0", "serve"])
def test_a_first_process_that_names_no_port_is_no_answer(
    command: str, container: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.write_text(command)
    with serving({"/readyz": b"ready"}) as site:
        assert check(monkeypatch, site.url.rsplit(":", 1)[1]) == 0


def test_the_file_of_settings_counts_where_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"/readyz": b"ready"}) as site:
        Path(".env").write_text(f"MOBILENET_PORT={site.url.rsplit(':', 1)[1]}\n")
        assert healthcheck.main() == 0
        assert check(monkeypatch, "1") == 1


@pytest.mark.parametrize("there", ["environment", "file"])
def test_the_names_of_variables_may_be_in_small_letters_as_in_the_service(
    there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({"/readyz": b"ready"}) as site:
        port = site.url.rsplit(":", 1)[1]
        if there == "file":
            Path(".env").write_text(f"mobilenet_port={port}\n")
        else:
            monkeypatch.setenv("mobilenet_port", port)
        assert healthcheck.main() == 0


def test_a_service_that_takes_the_connection_and_never_answers_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "PATIENCE_S", 0.1)
    with serving({"/readyz": b"ready"}) as site:
        site.silent, site.cuts = True, [0]
        assert check(monkeypatch, site.url.rsplit(":", 1)[1]) == 1


def test_the_check_loads_nothing_of_the_service() -> None:
    code = "import sys, app.healthcheck; print(*(set(sys.modules) & {'pydantic', 'numpy', 'fastapi', 'app.config'}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
