"""The servers that are compared: how each is installed, started and stopped, and whether its answers are right."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from app.config import Settings
from app.engines.base import Probabilities
from app.engines.tflite.compile import compiled
from app.engines.weights import locate
from app.mobilenet.variants import Precision
from tools.bench.peers import classify

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "bench"
START_S, STOP_S, POLL_S = 120, 10, 0.05
TOLERANCE = 0.01
"""How far a probability may be off. Other threads and versions round differently; another model is off by far more."""


class ContenderFailed(Exception):
    """A contender cannot be installed, does not start, or gives other answers than the service's own pipeline."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server. Without `packages` it is this service, run in the environment of this process.

    `{python}`, `{port}` and `{cpus}` are replaced in `command` and in the values of `variables`.
    """

    name: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "float32"
    keras: bool = False
    folder: Path = REPOSITORY
    """The folder that it runs in."""


RUNTIME = ("ai-edge-litert", "cykooz.resizer", "numpy", "pillow", "simplejpeg")


def _ours(precision: Precision, kind: str = "", **more: str) -> Contender:
    variables = {"MOBILENET_PRECISION": precision, "MOBILENET_PORT": "{port}", "MOBILENET_LOG_LEVEL": "warning"}
    command = str(Path(sys.executable).with_name("mobilenet")), "serve"
    return Contender(f"this service, {precision}{kind}", command, (), variables | more, precision)


def ours_in(folder: Path) -> Contender:
    """Return the service as it is in another checkout, such as that of an earlier version, run in this environment."""
    variables = {"MOBILENET_PORT": "{port}", "MOBILENET_LOG_LEVEL": "warning", "PYTHONPATH": str(folder)}
    return Contender(f"the service in {folder}", ("{python}", "-m", "app", "serve"), (), variables, folder=folder)


PEER = {classify.PORT: "{port}", classify.CPUS: "{cpus}", "PYTHONPATH": str(REPOSITORY)}


def _peer(name: str, module: str, *packages: str, arguments: Sequence[str] = (), keras: bool = False) -> Contender:
    command = ("{python}", "-m", f"{classify.__package__}.{module}", *arguments)
    return Contender(name, command, packages, PEER, keras=keras)


ADDRESS = "--host", "127.0.0.1", "--port", "{port}"
BENTOML = "{python}", "-m", "bentoml", "serve", f"{classify.__package__}.bentoml:Classify", *ADDRESS
INLINE = {"MOBILENET_HTTP_WORKERS": "{cpus}", "MOBILENET_MODEL_WORKERS": "0"}

CONTENDERS = (
    _ours("float32"),
    _ours("float32", ", inline", **INLINE),
    _ours("int8"),
    _ours("int8", ", inline", **INLINE),
    _peer("mosec", "mosec", "mosec==0.9.8", *RUNTIME, arguments=("--address", "127.0.0.1", "--port", "{port}")),
    _peer("LitServe", "litserve", "litserve==0.2.19", "fastapi", "uvicorn", "uvloop", "httptools", *RUNTIME),
    # MLServer's workers do not start with a newer uvloop.
    _peer("MLServer", "mlserver", "mlserver==1.7.1", "uvloop==0.21.0", *RUNTIME),
    Contender("BentoML", BENTOML, ("bentoml==1.4.40", *RUNTIME), PEER),
    _peer("Ray Serve", "ray", "ray[serve]==2.60.0", *RUNTIME),
    _peer("FastAPI + Keras", "tutorial", "fastapi", "uvicorn", "tensorflow", "keras", *RUNTIME[1:], keras=True),
)
"""Packages without a version get the version that the service has, so that decoder and runtime are the same."""


def environment(contender: Contender) -> Path:
    """Return the Python that runs a contender; install its environment if needed. Raises `ContenderFailed`."""
    if not contender.packages:
        return Path(sys.executable)
    packages = pinned(contender.packages)
    stamp = "\n".join(packages)
    folder = FOLDER / contender.command[2].rsplit(".", 1)[-1]
    marker, python = folder / "installed", folder / "bin" / "python"
    if marker.is_file() and marker.read_text() == stamp:
        return python
    uv = str(Path(sys.executable).with_name("uv"))
    _installed(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    _installed(uv, "pip", "install", "--quiet", "--python", str(python), *packages)
    marker.write_text(stamp)
    return python


def pinned(packages: Sequence[str]) -> list[str]:
    """Return the packages with versions; a package without one gets the version installed here."""
    return [name if "==" in name else f"{name}=={version(name)}" for name in packages]


def _installed(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContenderFailed(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")


def model_file(settings: Settings, keras: bool) -> Path:
    """Return the model that a peer serves: the `.tflite` of the service, or the same network as a Keras file.

    It is made now if it does not exist yet.
    """
    weights = locate(settings)
    if not keras:
        return compiled(weights, settings.variant, settings.cache).path
    name = f"{weights.sha256[:16]}-{settings.alpha:g}-{settings.resolution}.keras"
    path = FOLDER / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments = (str(weights.path), str(settings.alpha), str(settings.resolution), str(path))
        _installed(sys.executable, "-m", "tools.bench.keras_file", *arguments)
    return path


@contextmanager
def running(contender: Contender, settings: Settings, cpus: int, photo: bytes) -> Iterator[str]:
    """Run a contender until the block ends; yield its address as soon as it answers. Raises `ContenderFailed`."""
    port = _free_port()
    filled = {"python": str(environment(contender)), "port": str(port), "cpus": str(cpus)}
    command = [part.format(**filled) for part in contender.command]
    variables = {name: value.format(**filled) for name, value in contender.variables.items()}
    if contender.packages:
        variables |= {
            classify.MODEL: str(model_file(settings, contender.keras)),
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


def ask(url: str, photo: bytes) -> dict[int, float] | None:
    """Return the probabilities that a contender answers, by class; None if its status is not 200."""
    headers = {"Content-Type": "application/octet-stream"}
    response = httpx.post(f"{url}/predict", content=photo, headers=headers, timeout=30)
    return probabilities(response.json()) if response.status_code == httpx.codes.OK else None


def probabilities(answer: Any) -> dict[int, float]:
    """Return the probabilities in the answer to one image, by class."""
    return {each["class_id"]: each["probability"] for each in answer["results"][0]["predictions"]}


def difference(found: Mapping[int, float], expected: Probabilities) -> float:
    """Return the largest error of the probabilities `found`; 1 if the most probable classes are not among them."""
    missed = max((value for index, value in enumerate(expected) if index not in found), default=0.0)
    if not found or missed > min(found.values()) + TOLERANCE:
        return 1.0
    return max(abs(value - float(expected[index])) for index, value in found.items())


def check(name: str, url: str, photos: Sequence[bytes], expected: Sequence[Probabilities]) -> None:
    """Compare the answers to these photos with the expected ones. Raises `ContenderFailed`."""
    for photo, wanted in zip(photos, expected, strict=True):
        found = ask(url, photo) or {}
        if (off := difference(found, wanted)) > TOLERANCE:
            raise ContenderFailed(f"{name} answers {found}, of which a probability is wrong by {off:.3f}")
