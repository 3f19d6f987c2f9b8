"""Settings from the environment: one frozen object, made once and passed in. Nothing else reads the environment."""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    HttpUrl,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import StartError
from app.mobilenet.variants import Precision, Variant

PREFIX = "MOBILENET_"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of Prometheus' client for the folder in which several processes count."""
OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""The variables of OpenTelemetry for where spans are sent."""
SECRETS = ("api_keys",)
QUEUE_A_THREAD = 64
"""So that what is admitted waits for no more than about twice as long at overload as at full load."""
STALLED_AT_LEAST_S = 5.0
MODEL_WEIGHTS = Path(__file__).parents[1] / "model_weights"


def available_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, or less where a cgroup (v2) has a quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cpus if quota == "max" else max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cpus


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _variants(value: Any) -> Any:
    return tuple(map(Variant.parse, _split(value))) if isinstance(value, str) else value


def _keys_in(path: Path) -> tuple[str, ...]:
    """Return the keys in a file. A lock without a key must not look as if it worked: `ValueError` if there is none."""
    try:
        keys: tuple[str, ...] = _split(path.read_text(encoding="utf-8").replace("\n", ","))
    except OSError as exc:
        raise ValueError(f"{PREFIX}API_KEYS_FILE={path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"{PREFIX}API_KEYS_FILE={path}: is no text") from exc
    if not keys:
        raise ValueError(f"{PREFIX}API_KEYS_FILE={path}: there is no key in it")
    return keys


Variants = Annotated[tuple[Variant, ...], NoDecode, BeforeValidator(_variants)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """What the service does, from environment variables with the prefix `MOBILENET_`.

    Raises `pydantic.ValidationError`; `load` turns that into one readable line.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    alpha: float = Field(0.5, description="width multiplier α: 1, 0.75, 0.5 or 0.25")
    resolution: int = Field(160, description="side of the network's input in pixels: a multiple of 32 from 32 up")
    variants: Variants = Field(
        (),
        description="more variants to keep loaded, comma separated, such as `0.25/128,0.75/192`; the one of "
        "`MOBILENET_ALPHA` and `MOBILENET_RESOLUTION` answers who names none",
    )
    degrade: bool = Field(
        False,
        description="whether a smaller loaded variant answers instead of 429, unless the request says `degrade=never`",
    )
    weights: str = Field(
        "imagenette",
        min_length=1,
        description="`imagenette` (bundled), `imagenet` (the published Keras file of the variant, fetched once), or "
        "the path of a `.h5`, `.keras` or `.weights.h5` file",
    )
    weights_url: HttpUrl = Field(
        HttpUrl("https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"),
        description="folder on the web that `imagenet` is fetched from; name a mirror",
    )
    labels: Path | None = Field(
        None,
        description="labels of own weights: a text file, one class a line, or a JSON list; weights of 1,000 classes "
        "have the ImageNet labels unless this says otherwise",
    )
    cache: Path = Field(
        MODEL_WEIGHTS / "cache",
        description="folder of fetched weights and compiled models; must be writable unless they are in it already",
    )
    engine: Literal["litert", "tensorflow"] = Field(
        "litert",
        description="`litert` compiles the weights once and serves without TensorFlow; `tensorflow` is the reference",
    )
    precision: Precision = Field(
        "float32",
        description="`float32`, or `int8`: quantised, a third of the size, and faster where the processor has "
        "instructions for it; bundled for `imagenette`, else made by `mobilenet compile --precision int8 --calibrate "
        "FOLDER`",
    )
    max_batch_size: PositiveInt = Field(8, description="most images in one run of the model")
    max_wait_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="how long the first image of a batch waits for more; 0 runs at once when idle",
    )
    request_timeout_ms: PositiveInt = Field(
        10_000, description="deadline of a request from its first byte; past it the answer is 504"
    )
    max_body_bytes: PositiveInt = Field(20 * 2**20, description="most bytes in the body of a request; else 413")
    max_pixels: PositiveInt = Field(
        50_000_000, description="most pixels of an image, checked before decoding; else 413"
    )
    max_images: PositiveInt = Field(32, description="most images in one request; else 413")
    threads: NonNegativeInt = Field(
        default_factory=available_cpus,
        description="processes that decode images and run the model (with TensorFlow: threads of the model); 0: those "
        "that take requests do it themselves; default: the CPUs this process may use",
    )
    max_queue: PositiveInt = Field(
        default_factory=lambda data: QUEUE_A_THREAD * max(1, data.get("threads", 1)),
        description="most images admitted at once to a loaded variant, running ones included; beyond it the answer is "
        "429; default: 64 for each of `MOBILENET_THREADS`",
    )
    workers: PositiveInt = Field(
        1,
        description="processes that take requests, each with a queue and THREADS of its own; one does for several CPUs",
    )
    api_keys: Keys = Field(
        (), description="keys that callers need, comma separated, as `Authorization: Bearer` or `X-API-Key`; none: open"
    )
    api_keys_file: Path | None = Field(
        None, description="file with such keys, one a line or comma separated, such as a secret of Docker or Kubernetes"
    )
    open_metrics: bool = Field(True, description="whether `/metrics` is open where keys are set, as the probes are")
    cors_origins: Words = Field((), description="origins that browsers may call from, comma separated; `*` for all")
    log_format: Literal["text", "json"] = Field("text", description="`text` for people, `json` one object a line")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line logged")
    host: str = Field("127.0.0.1", description="address to listen on; `0.0.0.0` for all")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one and logs it")

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

    @model_validator(mode="after")
    def _room(self) -> "Settings":
        if self.max_images > self.max_queue:
            raise ValueError(f"{PREFIX}MAX_IMAGES={self.max_images} is over {PREFIX}MAX_QUEUE={self.max_queue}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _keys_of_file(cls, given: dict[str, Any]) -> dict[str, Any]:
        path = given.get("api_keys_file")
        if not path:
            return given
        if given.get("api_keys"):
            raise ValueError(f"{PREFIX}API_KEYS and {PREFIX}API_KEYS_FILE exclude each other")
        return given | {"api_keys": _keys_in(Path(path))}

    @field_validator("api_keys")
    @classmethod
    def _keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            text = key.get_secret_value()
            if not (text.isascii() and text.isprintable()) or " " in text:
                raise ValueError("a key is printable ASCII without spaces")
        return keys

    @model_validator(mode="after")
    def _engine(self) -> "Settings":
        if self.precision == "int8" and self.engine != "litert":
            raise ValueError(f"{PREFIX}PRECISION=int8 needs {PREFIX}ENGINE=litert")
        if self.threads == 0 and self.engine != "litert":
            raise ValueError(f"{PREFIX}THREADS=0 needs {PREFIX}ENGINE=litert")
        return self

    @property
    def model_threads(self) -> int:
        """Threads that a model may have for one image: with none to spare, the one that it is called on."""
        return max(1, self.threads)

    @property
    def patience_s(self) -> float:
        """From how long on a run of the model is taken to hang: twice the deadline of requests, and not before 5 s."""
        return max(STALLED_AT_LEAST_S, 2 * self.request_timeout_ms / 1000)

    @property
    def variant(self) -> Variant:
        """The variant that answers who names none."""
        return Variant(self.alpha, self.resolution)

    @property
    def lineup(self) -> tuple[Variant, ...]:
        """The variants to serve, each once: that of `alpha` and `resolution`, then the others."""
        return tuple(dict.fromkeys((self.variant, *self.variants)))

    def serving(self, variant: Variant) -> "Settings":
        """Return the same settings for another variant."""
        return self.model_copy(update={"alpha": variant.alpha, "resolution": variant.resolution})


def metrics_folder() -> str | None:
    """Return the folder in which several processes count; None if this one counts for itself."""
    return os.environ.get(METRICS_FOLDER)


def spans_wanted() -> bool:
    """Whether the environment says where spans are sent."""
    wanted = any(os.environ.get(name) for name in OTLP_ENDPOINTS)
    return wanted and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


_NAMES = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]


def load() -> Settings:
    """Read the environment once. Raises `StartError` in one line: variable, value, what is allowed.

    A variable with our prefix that is no setting is refused too: a misspelt limit, or a key for a lock that is not
    there, must not look as if it worked.
    """
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in _NAMES:
            (meant,) = get_close_matches(name.upper(), _NAMES, n=1, cutoff=0) or [PREFIX]
            raise StartError(f"{name} is no setting; the nearest is {meant}, and the README lists all")
    try:
        return Settings()
    except ValidationError as exc:
        raise StartError("; ".join(_line(error) for error in exc.errors())) from exc


def _line(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    name = str(error["loc"][0])
    shown = "" if name in SECRETS else f"={error['input']}"
    return f"{PREFIX}{name.upper()}{shown}: {message}"
