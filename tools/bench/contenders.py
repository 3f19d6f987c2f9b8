"""The servers that are compared: what each consists of, and the command that starts it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from app.mobilenet.variants import Precision
from tools.bench.peers import classify
from tools.bench.results import EARLIER, FASTIFY, OPENVINO, OURS, PILLOW

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "bench"

Decoder = Literal["service", "pillow", "sharp"]


class ContenderFailed(Exception):
    """A contender cannot be installed, does not start, or gives other answers than the service's own model."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server. Without `packages` it is this service, run in the environment of this process.

    `{program}` (the Python, or Node.js, of its environment), `{port}` and `{cpus}` are replaced in `command` and in the
    values of `variables`. `model` is the kind of file that it serves, and `decoder` what it decodes photos with.
    """

    name: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "float32"
    engine: Literal["litert", "openvino"] = "litert"
    model: Literal["tflite", "keras", "onnx"] = "tflite"
    decoder: Decoder = "service"
    folder: Path = REPOSITORY
    """The folder that it runs in."""


RUNTIME = ("ai-edge-litert", "cykooz.resizer", "numpy", "pillow", "simplejpeg")


def _ours(precision: Precision, kind: str = "", **more: str) -> Contender:
    variables = {"MOBILENET_PRECISION": precision, "MOBILENET_PORT": "{port}", "MOBILENET_LOG_LEVEL": "warning"}
    command = str(Path(sys.executable).with_name("mobilenet")), "serve"
    return Contender(f"{OURS}{precision}{kind}", command, (), variables | more, precision)


def _with_openvino(precision: Precision) -> Contender:
    contender = _ours(precision, MOBILENET_ENGINE="openvino")
    return replace(contender, name=f"{OURS}{OPENVINO} {precision}", engine="openvino")


def ours_in(folder: Path) -> Contender:
    """Return the service as it is in another checkout, such as that of an earlier version, run in this environment."""
    variables = {"MOBILENET_PORT": "{port}", "MOBILENET_LOG_LEVEL": "warning", "PYTHONPATH": str(folder)}
    return Contender(f"{EARLIER}{folder}", ("{program}", "-m", "app", "serve"), (), variables, folder=folder)


PEER = {classify.PORT: "{port}", classify.CPUS: "{cpus}", "PYTHONPATH": str(REPOSITORY)}


def _peer(
    name: str,
    module: str,
    *packages: str,
    arguments: Sequence[str] = (),
    model: Literal["tflite", "keras"] = "tflite",
    decoder: Decoder = "service",
) -> Contender:
    command = ("{program}", "-m", f"{classify.__package__}.{module}", *arguments)
    return Contender(name, command, packages, PEER | {classify.DECODER: decoder}, model=model, decoder=decoder)


ADDRESS = "--host", "127.0.0.1", "--port", "{port}"
BENTOML = "{program}", "-m", "bentoml", "serve", f"{classify.__package__}.bentoml:Classify", *ADDRESS
INLINE = {"MOBILENET_HTTP_WORKERS": "{cpus}", "MOBILENET_MODEL_WORKERS": "0"}
MOSEC = ("mosec==0.9.8", *RUNTIME)
MOSEC_ADDRESS = ("--address", "127.0.0.1", "--port", "{port}")
SERVER_MJS = str(FOLDER / "fastify" / "server.mjs")

CONTENDERS = (
    _ours("float32"),
    _ours("float32", ", inline", **INLINE),
    _ours("int8"),
    _ours("int8", ", inline", **INLINE),
    _with_openvino("float32"),
    _with_openvino("int8"),
    _with_openvino("bfloat16"),
    _peer("mosec", "mosec", *MOSEC, arguments=MOSEC_ADDRESS),
    _peer(PILLOW, "mosec", *MOSEC, arguments=MOSEC_ADDRESS, decoder="pillow"),
    # Its packages and their versions are in peers/fastify/package.json.
    Contender(FASTIFY, ("{program}", SERVER_MJS), ("fastify",), PEER, model="onnx", decoder="sharp"),
    _peer("LitServe", "litserve", "litserve==0.2.19", "fastapi", "uvicorn", "uvloop", "httptools", *RUNTIME),
    # MLServer's workers do not start with a newer uvloop.
    _peer("MLServer", "mlserver", "mlserver==1.7.1", "uvloop==0.21.0", *RUNTIME),
    Contender("BentoML", BENTOML, ("bentoml==1.4.40", *RUNTIME), PEER),
    _peer("Ray Serve", "ray", "ray[serve]==2.60.0", *RUNTIME),
    _peer("FastAPI + Keras", "tutorial", "fastapi", "uvicorn", "tensorflow", "keras", *RUNTIME[1:], model="keras"),
)
"""Packages without a version get the version that the service has, so that decoder and runtime are the same."""


def chosen(contenders: Sequence[str], only: Sequence[str]) -> list[str]:
    """Return the names that were asked for: of each word the one of this name, or else all that have it in them.

    Without words they are all but those with OpenVINO, which not every processor can run in each precision. Raises
    `ContenderFailed` for a word that is in none of the names.
    """
    found: set[str] = set()
    for word in only:
        named = {name for name in contenders if name == word} or {name for name in contenders if word in name}
        if not named:
            raise ContenderFailed(f"{word} is in no name of a contender; they are: {'; '.join(contenders)}")
        found |= named
    return [name for name in contenders if (name in found if only else not name.startswith(OURS + OPENVINO))]
