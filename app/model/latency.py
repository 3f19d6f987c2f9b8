"""How long each variant takes on this machine: `mobilenet bench` measures and saves it, and `/variants` shows it."""

import logging
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from pydantic import TypeAdapter, ValidationError

from app.engines.base import Engine
from app.engines.files import replacing
from app.machine import available_cpus
from app.measurements import Latency
from app.mobilenet.variants import Precision, Variant

logger = logging.getLogger(__name__)

NAME = "latency.json"
WARM_UP = 10
MIN_RUNS = 20


LATENCIES = TypeAdapter(list[Latency])


def machine() -> str:
    """Return a name for this machine: its processor, and the number of CPUs that this process may use."""
    return f"{_processor()}, {available_cpus()} CPUs"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or not an x86 processor
        return platform.processor() or platform.machine()


def runs(engine: Engine, variant: Variant, seconds: float, least: int = MIN_RUNS) -> list[float]:
    """Run the engine on one image, repeatedly, for so many seconds and at least so often, after a warm-up.

    Return how many milliseconds each run took.
    """
    image = np.random.default_rng(0).integers(0, 256, (variant.resolution, variant.resolution, 3), np.uint8)
    for _ in range(WARM_UP):
        engine.predict([image])
    times_ms: list[float] = []
    end = time.perf_counter() + seconds
    while len(times_ms) < least or time.perf_counter() < end:
        start = time.perf_counter()
        engine.predict([image])
        times_ms.append((time.perf_counter() - start) * 1000)
    return times_ms


def summary(
    times_ms: Sequence[float], variant: Variant, *, engine: str, precision: Precision, classes: int, threads: int
) -> Latency:
    """Return what these runs, at least two, say of a variant on this machine today."""
    return Latency(
        alpha=variant.alpha,
        resolution=variant.resolution,
        classes=classes,
        precision=precision,
        engine=engine,
        threads=threads,
        machine=machine(),
        measured=datetime.now(UTC).date().isoformat(),
        runs=len(times_ms),
        median_ms=round(median(times_ms), 3),
        p95_ms=round(quantiles(times_ms, n=20)[-1], 3),
    )


def read(cache: Path) -> list[Latency]:
    """Read the saved measurements. Without a file there are none; a damaged file is logged and ignored."""
    try:
        return LATENCIES.validate_json((cache / NAME).read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as exc:
        logger.warning("%s is not used: %s", cache / NAME, str(exc).splitlines()[0])
        return []


def save(cache: Path, measured: Sequence[Latency]) -> None:
    """Save measurements, replacing older ones of the same variant and conditions.

    Raises `StartError` if the cache cannot be written.
    """
    merged = {(*one.setup, one.alpha, one.resolution): one for one in [*read(cache), *measured]}
    with replacing(cache / NAME) as temporary:
        temporary.write_bytes(LATENCIES.dump_json(list(merged.values()), indent=1) + b"\n")
