"""What some tests need that not every machine has, and the command that gets it.

A test without what it needs is skipped, for a reason of one form; `tests.support.skips` lists them all at the end.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec

import pytest

from tests.support.data import REPOSITORY, SAMPLES

CLIENTS = REPOSITORY / "build" / "clients"


@dataclass
class Need:
    """Something from outside the environment of the tests; `command` gets it, on Debian as root."""

    what: str
    command: str
    look: Callable[[], object]
    """Returns something true where it is there."""

    @cached_property
    def met(self) -> bool:
        """Whether it is there; looked for once."""
        return bool(self.look())

    @property
    def reason(self) -> str:
        """Why a test without it is skipped."""
        return f"needs {self.what}: {self.command}"

    def mark(self) -> pytest.MarkDecorator:
        """Return the mark of a test, or of a module, that needs it."""
        return pytest.mark.skipif(not self.met, reason=self.reason)

    def check(self) -> None:
        """Skip the test that calls this, or whose fixture does, where it is missing."""
        if not self.met:
            pytest.skip(self.reason)


def program(name: str, what: str, package: str) -> Need:
    """Return the need of a program of a Debian package."""
    return Need(what, f"apt-get install {package}", lambda: shutil.which(name))


def extra(name: str, what: str, package: str) -> Need:
    """Return the need of an extra of this project, which brings a package."""
    return Need(what, f"pip install --editable '.[{name}]'", lambda: find_spec(package))


def client(name: str, what: str) -> Need:
    """Return the need of somebody else's client, which has an environment of its own below `build/clients`."""
    folder = CLIENTS / name
    return Need(what, f"make {folder.relative_to(REPOSITORY)}/installed", (folder / "bin" / "python").exists)


def chromium() -> str | None:
    """Return the path of a Chromium."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@cache
def compose() -> list[str] | None:
    """Return the command that is Docker Compose here, where a Docker engine runs."""
    if not _succeeds("docker", "info"):
        return None
    return next((tool for tool in (["docker", "compose"], ["docker-compose"]) if _succeeds(*tool, "version")), None)


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return not subprocess.run(command, capture_output=True, check=False).returncode


def _arm64() -> bool:
    """Whether the engine has the image for arm64, and its processes run here: on such a machine, or emulated."""
    machine = ("docker", "run", "--rm", "--platform", "linux/arm64", "--entrypoint", "uname", ARM64_IMAGE, "-m")
    return _succeeds("docker", "image", "inspect", ARM64_IMAGE) and _succeeds(*machine)


ARM64_IMAGE = "mobilenet-service:arm64"
ARM64 = Need("the image for arm64", 'build it as docs/deployment.md says, "Other processors"', _arm64)
BROWSER = Need("a browser", "apt-get install chromium", chromium)
CURL = program("curl", "curl", "curl")
DOCKER = Need("a Docker engine with Compose", "apt-get install docker.io docker-compose", compose)
FAISS = client("faiss", "FAISS")
GENERATOR = client("openapi", "a generator of clients from OpenAPI")
GLIBC = Need("glibc", "test on Debian", lambda: "glibc" in platform.libc_ver()[0])
KSERVE = client("kserve", "KServe's client")
KUBECTL = program("kubectl", "kubectl", "kubernetes-client")
FIRST_PROCESS = ("unshare", "--map-root-user", "--pid", "--fork", "--kill-child")
"""Runs a command as process 1 of a namespace, as a container does."""
NAMESPACES = Need("namespaces of processes", "allow them to users", lambda: _succeeds(*FIRST_PROCESS, "true"))
MOTO = client("moto", "a server that speaks S3")
NODES = Need("a minute for three nodes of Ray", "make test-nodes", lambda: os.environ.get("TEST_NODES"))
OPENTELEMETRY = extra("otel", "OpenTelemetry", "opentelemetry")
OPENVINO = extra("openvino", "OpenVINO", "openvino")
PROMETHEUS = program("prometheus", "Prometheus", "prometheus")
PYTORCH = Need("PyTorch", "make test-distil", lambda: find_spec("torch"))
RAY = extra("ray", "Ray", "ray")
REFERENCE_DATA = Need("the reference photos and weights", "bring ../shared/data", SAMPLES.is_dir)
SIMD = Need("cykooz-resizer", "test on x86-64", lambda: find_spec("cykooz_resizer"))
SYSTEMD = program("systemd-analyze", "systemd", "systemd")
TENSORFLOW = extra("tensorflow", "TensorFlow", "tensorflow")
TRITON = client("triton", "Triton's client")
WRK = program("wrk", "wrk", "wrk")
