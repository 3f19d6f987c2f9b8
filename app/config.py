"""The table of settings: one frozen object, made once and passed in. `app.environment` fills it."""

import json
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    HttpUrl,
    ModelWrapValidatorHandler,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import install, without_password
from app.footprint import share_bytes
from app.keys import checked, keys_in, split
from app.machine import available_cpus, memory_limit_bytes
from app.mobilenet.variants import Precision, Variant

PREFIX = "MOBILENET_"
UNIX = "unix:"
"""What `MOBILENET_HOST` begins with if it is the path of a Unix socket."""
SECRETS = ("api_keys",)
QUEUE_PER_WORKER = 64
"""Room for this many images per model worker keeps the wait under overload at about twice that of full load."""
PHOTO_BYTES = 100_000_000
"""Memory for one photo in each process that decodes: 8 megapixels of a PNG, and many more of a JPEG, take as much."""
STALLED_AT_LEAST_S = 5.0
STALL_GRACE_S = 1.0
DAY_MS = 24 * 3600 * 1000
ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
ORIGIN = re.compile(r"\*|null|(?!http://[^/]*:80$|https://[^/]*:443$)[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]+")
"""What a browser sends as the origin of a page; `*` stands for all of them."""
WORKING = ("litert", "openvino")
"""The engines that run in model workers, and in the HTTP processes where there are none."""
ENGINES_OF: dict[Precision, tuple[str, ...]] = {
    "float32": (*WORKING, "tensorflow"),
    "int8": WORKING,
    "bfloat16": ("openvino",),
}
"""The engines that compute in each precision."""
CARD = "card.json"
"""What `mobilenet train` writes beside weights about them."""
MODEL_WEIGHTS = Path(__file__).parents[1] / "model_weights"


def _model_workers() -> int:
    """Return the default of `model_workers`, of which a memory limit may leave fewer."""
    return available_cpus()


def _model_threads(engine: str, model_workers: int, **_: Any) -> int:
    """Return the default of `model_threads`: what one run may use without taking it from others."""
    return available_cpus() if engine == "tensorflow" else max(1, model_workers)


def _has_grpc() -> bool:
    return all(find_spec(package) for package in ("grpc", "grpc_health", "grpc_reflection"))


def _engines(names: tuple[str, ...]) -> str:
    return f"{PREFIX}ENGINE={' or '.join(names)}"


def _listing(what: str, parse: Callable[[str], Any] = str) -> BeforeValidator:
    """Return what splits text at its commas. It refuses text without any part, which would pass for no setting."""

    def parsed(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = split(value)
        if value and not parts:
            raise ValueError(f"contains no {what}")
        return tuple(map(parse, parts))

    return BeforeValidator(parsed)


def _origin(text: str) -> str:
    if not ORIGIN.fullmatch(text):
        raise ValueError(
            f"{without_password(text)} is not an origin; write a scheme, a host and a port unless it is the usual "
            "one, in lower case and with nothing behind them, as in https://a.example"
        )
    return text


def _trained_for(folder: Path) -> dict[str, Any]:
    """Return the variant that the card of a folder of weights says it was trained for; nothing if there is no card.

    A damaged card is not noticed here: what reads all of it says so.
    """
    try:
        card = json.loads((folder / CARD).read_bytes())
        return {"alpha": card["alpha"], "resolution": card["resolution"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def expanded(path: Path) -> Path:
    """Return a path with the home folder in the place of `~`. One of a user that does not exist stays as it is."""
    return Path(os.path.expanduser(path))


Expanded = Annotated[Path, AfterValidator(expanded)]
Variants = Annotated[tuple[Variant, ...], NoDecode, _listing("variant", Variant.parse)]
Origins = Annotated[tuple[str, ...], NoDecode, _listing("origin", _origin)]
Keys = Annotated[tuple[SecretStr, ...], NoDecode, _listing("key")]


class Settings(BaseSettings):
    """What the service does, from environment variables with the prefix `MOBILENET_`.

    Raises `pydantic.ValidationError`, which `environment.load` turns into readable lines.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    alpha: float = Field(
        0.5, description="Width multiplier α: 1, 0.75, 0.5 or 0.25. A smaller one is faster and less accurate."
    )
    resolution: int = Field(
        160,
        description="Side of the network's input in pixels: a multiple of 32 from 32 to 2048. A smaller one is faster "
        "and less accurate.",
    )
    variants: Variants = Field(
        (),
        description="More variants to load, comma-separated, such as `0.25/128,0.75/192`. The one of "
        "`MOBILENET_ALPHA` and `MOBILENET_RESOLUTION` is the default of a request that names none.",
    )
    degrade: bool = Field(
        False,
        description="Whether a smaller loaded variant answers when the queue is full, instead of 429. A request can "
        "opt out with `degrade=never`.",
    )
    weights: Annotated[str, AfterValidator(os.path.expanduser)] = Field(
        "imagenette",
        min_length=1,
        description="`imagenette`: ten classes, bundled. `imagenet`: 1,000 classes, the file that Keras publishes for "
        "the variant, downloaded once. Otherwise a folder that `mobilenet train` has written, which sets the "
        "defaults of α and the resolution, or the path of a `.h5`, `.keras`, `.weights.h5` or `.tflite` file.",
    )
    weights_url: HttpUrl = Field(
        HttpUrl("https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"),
        description="Folder on the web from which `MOBILENET_WEIGHTS=imagenet` is downloaded, for example a mirror.",
    )
    labels: Expanded | None = Field(
        None,
        description="File with the labels of your own weights: text with one class per line, or a JSON list. Without "
        "it weights of 1,000 classes have the ImageNet labels.",
    )
    cache: Expanded = Field(
        MODEL_WEIGHTS / "cache",
        description="Folder for downloaded weights and compiled models. It may be read-only if it already holds what "
        "the other settings need.",
    )
    engine: Literal["litert", "openvino", "tensorflow"] = Field(
        "litert",
        description="`litert` compiles the weights once and serves without TensorFlow. `openvino` serves the same "
        "compiled models with Intel's kernels; it needs the extra `openvino`. `tensorflow` is the reference to compare "
        "with, and slower.",
    )
    precision: Precision = Field(
        "float32",
        description="`float32`, or `int8`: quantised, a third of the size, and usually faster on processors with "
        "instructions for it. Bundled for `imagenette`, and part of what `mobilenet train` writes; for other weights "
        "made by `mobilenet compile --precision int8 --calibrate FOLDER`. `bfloat16`, with OpenVINO alone: float32 "
        "with fewer digits, on processors with AMX or AVX512-BF16.",
    )
    max_batch_size: PositiveInt = Field(8, description="Largest number of images in one run of the model.")
    max_wait_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="Longest time in milliseconds that the first image of a batch waits for others. 0: a model that "
        "is idle runs at once.",
    )
    request_timeout_ms: PositiveInt = Field(
        10_000,
        le=DAY_MS,
        description="Deadline of a request in milliseconds, counted from the end of its headers. When it has "
        "passed, the answer is 504.",
    )
    max_body_bytes: PositiveInt = Field(
        20 * 2**20, description="Largest body of a request in bytes. A larger one is answered with 413."
    )
    max_pixels: PositiveInt = Field(
        8192 * 6144,
        description="Largest image, in pixels as held in memory; checked before decoding. A larger one is answered "
        "with 413. A JPEG is scaled while it is decoded and may have four times as many.",
    )
    max_images: PositiveInt = Field(
        32, description="Largest number of images in one request. More are answered with 413."
    )
    model_workers: NonNegativeInt = Field(
        default_factory=_model_workers,
        description="Processes that decode and classify. Default: the available CPUs, or as many as a memory limit has "
        "room for, with a photo in each. 0: the HTTP processes do it themselves. TensorFlow always runs in the HTTP "
        "processes.",
    )
    model_threads: PositiveInt = Field(
        default_factory=lambda data: _model_threads(**data),
        description="Threads of one run of the model; with LiteRT a run uses more than one only while no other "
        "run is in progress. Default: as many as model workers and at least 1; with TensorFlow the available CPUs.",
    )
    http_workers: PositiveInt = Field(
        1,
        description="Processes that take HTTP requests, each with a queue and model workers of its own. One is enough, "
        "even on several CPUs.",
    )
    exit_on_fault: bool = Field(
        True,
        description="Whether a process with a fault that only a restart can repair ends itself with exit code 1, so "
        "that whatever started it starts another. `false` keeps it, for debugging.",
    )
    max_queue: PositiveInt = Field(
        default_factory=lambda data: QUEUE_PER_WORKER * max(1, data["model_workers"]),
        description="Largest number of images admitted at once to a loaded variant, those that are being classified "
        "included; at least `MOBILENET_MAX_IMAGES`. Beyond it the answer is 429. Default: 64 for each model worker.",
    )
    api_keys: Keys = Field(
        (),
        description="Keys of callers, comma-separated. If there are any, a request needs one, as `Authorization: "
        "Bearer KEY` or `X-API-Key: KEY`; only the probes, the pages with their OpenAPI document, and `/metrics` need "
        "none.",
    )
    api_keys_file: Expanded | None = Field(
        None,
        description="File with keys of callers, one per line or comma-separated, such as a secret of Docker or "
        "Kubernetes. Not together with `MOBILENET_API_KEYS`.",
    )
    open_metrics: bool = Field(
        True, description="Whether `/metrics` can be read without a key, as the health probes can."
    )
    cors_origins: Origins = Field(
        (),
        description="Origins whose pages may call the service from a browser, comma-separated, also into a private "
        "network. `*`: all, but not that.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text` for people, `json` for one object per line."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged: `debug`, `info`, `warning` or `error`."
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. `0.0.0.0`: all IPv4 addresses. `unix:` and a path, such as "
        "`unix:/run/mobilenet.sock`: a Unix socket. If systemd passes a socket, the service "
        "listens on that one instead.",
    )
    root_path: str | None = Field(
        None,
        description="Path prefix below which a reverse proxy shows the service and which it strips, such as `/vision`. "
        "A proxy on this machine may say it with each request as `X-Forwarded-Prefix` instead.",
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="Port to listen on. 0: a free one, which is printed. It is ignored with a Unix socket.",
    )
    grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port for the Open Inference Protocol over gRPC, at the same address; needs the extra `grpc`. 0: a "
        "free one, which is logged. Default: none, and no gRPC.",
    )

    @field_validator("log_format", "log_level", "engine", "precision", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("alpha")
    @classmethod
    def _alpha(cls, alpha: float) -> float:
        return Variant(alpha, 32).alpha

    @field_validator("resolution")
    @classmethod
    def _resolution(cls, resolution: int) -> int:
        return Variant(1.0, resolution).resolution

    @model_validator(mode="before")
    @classmethod
    def _variant_of_folder(cls, given: dict[str, Any]) -> dict[str, Any]:
        weights = given.get("weights")
        return _trained_for(expanded(weights)) | given if weights else given

    @model_validator(mode="before")
    @classmethod
    def _keys_of_file(cls, given: dict[str, Any]) -> dict[str, Any]:
        path = given.get("api_keys_file")
        if not path:
            return given
        if given.get("api_keys"):
            raise ValueError(f"{PREFIX}API_KEYS and {PREFIX}API_KEYS_FILE exclude each other")
        return given | {"api_keys": keys_in(expanded(path))}

    @model_validator(mode="wrap")
    @classmethod
    def _within_memory(cls, given: dict[str, Any], made: ModelWrapValidatorHandler["Settings"]) -> "Settings":
        """Have no more model workers by default than a memory limit has room for, which all settings together say."""
        if (limit := memory_limit_bytes()) is None:
            return made(given)
        try:  # without the keys, since a pipe with them can be read once
            tried = made({name: value for name, value in given.items() if name != "api_keys_file"})
        except ValidationError:
            return made(given)  # which says all that is wrong
        if "model_workers" in tried.model_fields_set:
            return made(given)
        return made(given | {"model_workers": tried._most_workers(limit)})

    def _most_workers(self, limit: int) -> int:
        """Return how many model workers leave room for a photo in each process that decodes; at least 1."""
        for workers in range(self.model_workers, 1, -1):
            if share_bytes(limit, self.model_copy(update={"model_workers": workers})) >= PHOTO_BYTES:
                return workers
        return 1

    @field_validator("host")
    @classmethod
    def _host(cls, host: str) -> str:
        if host == UNIX:
            raise ValueError(f"{UNIX} needs a path, such as {UNIX}/run/mobilenet.sock")
        return host

    @field_validator("root_path")
    @classmethod
    def _root_path(cls, path: str | None) -> str | None:
        if path is not None and not ROOT_PATH.fullmatch(path):
            raise ValueError("must begin with a slash and not end with one, such as /vision")
        return path

    @field_validator("api_keys")
    @classmethod
    def _keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return checked(tuple(key.get_secret_value() for key in keys))

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        problems = []
        if self.max_images > self.max_queue:
            problems.append(f"{PREFIX}MAX_IMAGES={self.max_images} is over {PREFIX}MAX_QUEUE={self.max_queue}")
        if self.engine not in ENGINES_OF[self.precision]:
            problems.append(f"{PREFIX}PRECISION={self.precision} needs {_engines(ENGINES_OF[self.precision])}")
        if self.model_workers == 0 and self.engine not in WORKING:
            problems.append(f"{PREFIX}MODEL_WORKERS=0 needs {_engines(WORKING)}")
        if self.grpc_port is not None:
            problems += self._grpc_problems()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _grpc_problems(self) -> list[str]:
        given = f"{PREFIX}GRPC_PORT={self.grpc_port} needs"
        missing = [] if _has_grpc() else [f"{given} packages that are not installed; {install('grpc')}"]
        unix = [f"{given} an address as {PREFIX}HOST, which is {self.host}"] if self.host.startswith(UNIX) else []
        return missing + unix

    @property
    def patience_s(self) -> float:
        """Seconds after which a run of the model counts as hanging: twice the deadline of requests, at least 5 s."""
        return max(STALLED_AT_LEAST_S, 2 * self.request_timeout_ms / 1000)

    @property
    def stalled_after_s(self) -> float:
        """When a run that goes on is a fault of the process: a little after a worker that hangs is replaced."""
        return self.patience_s + STALL_GRACE_S

    @property
    def variant(self) -> Variant:
        """The variant of a request that names none."""
        return Variant(self.alpha, self.resolution)

    @property
    def lineup(self) -> tuple[Variant, ...]:
        """The variants to load, each once: the default one, then those of `variants`."""
        return tuple(dict.fromkeys((self.variant, *self.variants)))

    def serving(self, variant: Variant) -> "Settings":
        """Return the same settings with another default variant."""
        return self.model_copy(update={"alpha": variant.alpha, "resolution": variant.resolution})

    def without_keys(self) -> "Settings":
        """Return the settings for a process that has no need of the keys of callers, here or on another machine."""
        return self.model_copy(update={"api_keys": (), "api_keys_file": None})
