"""How long each variant takes on this machine: `mobilenet bench` measures and saves it, and `/variants` shows it."""

import logging
import platform
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from pydantic import TypeAdapter, ValidationError

from app.engines.base import Engine
from app.engines.files import CACHE, replacing
from app.engines.weights import COMPILED
from app.errors import first_line
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
    turns: Sequence[Sequence[float]],
    variant: Variant,
    *,
    engine: str,
    precision: Precision,
    classes: int,
    threads: int,
    weights: str,
    contest: str,
) -> Latency:
    """Return what the runs of these turns, at least two runs in all, say of a variant on this machine today.

    A turn is the milliseconds of its runs, at least one.
    """
    times_ms = [time for turn in turns for time in turn]
    return Latency(
        alpha=variant.alpha,
        resolution=variant.resolution,
        classes=classes,
        precision=precision,
        engine=engine,
        threads=threads,
        weights=weights,
        machine=machine(),
        measured=datetime.now(UTC).date().isoformat(),
        runs=len(times_ms),
        median_ms=round(median(times_ms), 3),
        p95_ms=round(quantiles(times_ms, n=20)[-1], 3),
        turns_ms=tuple(round(median(turn), 3) for turn in turns),
        contest=contest,
    )


def now() -> str:
    """Return the time in UTC, to the second, as the name of a contest that begins."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(cache: Path) -> list[Latency]:
    """Read the saved measurements. Without a file there are none; a damaged file is logged and ignored."""
    try:
        return LATENCIES.validate_json((cache / NAME).read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as exc:
        logger.warning("%s is not used: %s", cache / NAME, first_line(exc))
        return []


def save(cache: Path, measured: Sequence[Latency]) -> None:
    """Save measurements, replacing older ones of the same variant, conditions and weights. The newest are the last.

    Raises `StartError` if the cache cannot be written.
    """
    kept = [one for one in read(cache) if not any(_replaces(new, one) for new in measured)]
    with replacing(cache / NAME, CACHE) as temporary:
        temporary.write_bytes(LATENCIES.dump_json([*kept, *measured], indent=1) + b"\n")


def _replaces(new: Latency, old: Latency) -> bool:
    same = (new.setup, new.alpha, new.resolution) == (old.setup, old.alpha, old.resolution)
    return same and old.weights in (new.weights, None)


def under(saved: Iterable[Latency], setup: tuple[object, ...], weights: str) -> dict[tuple[float, int], Latency]:
    """Return by α and resolution what was measured under the conditions `setup`, of these weights or of others alike.

    The newest counts, and before all others that of the weights themselves.
    """
    alike = [one for one in saved if one.setup == setup and (one.weights == weights or _alike(one.weights, weights))]
    return {(one.alpha, one.resolution): one for one in sorted(alike, key=lambda one: one.weights == weights)}


def _alike(one: str | None, other: str) -> bool:
    """Whether weights take equally long if they have equally many classes, as all do that this project compiles."""
    return not any(name.endswith(COMPILED) for name in (one or "", other))
