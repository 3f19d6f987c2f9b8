"""The bare loop: decodes and classifies in a process for each CPU, without HTTP, which is the most that is possible."""

import multiprocessing
import time
from collections.abc import Sequence
from itertools import cycle
from queue import Empty
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.config import Settings
from app.runtime.local import in_process
from app.runtime.pipeline import Job
from tools.bench.contenders import ContenderFailed

Floats = NDArray[np.float64]
WARM_UP_S = 0.5
START_S = 60


def loop(settings: Settings, photos: Sequence[bytes], processes: int, seconds: float) -> Floats:
    """Return the milliseconds that each image took in `processes` loops side by side, over so many seconds.

    Raises `ContenderFailed` if one of the processes fails.
    """
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes), context.Queue()
    arguments = (settings, photos, seconds, barrier, queue)
    running = [context.Process(target=_loop, args=arguments, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    found = collected(queue, processes, seconds + START_S)
    for process in running:
        process.join()
    return found


def collected(queue: Any, processes: int, limit_s: float) -> Floats:
    """Return the times that so many processes put into a queue, each within `limit_s` seconds of the one before."""
    found: list[Floats] = []
    for _ in range(processes):
        try:
            one: Floats | str = queue.get(timeout=limit_s)
        except Empty:
            raise ContenderFailed(f"a process of the bare loop has not ended after {limit_s:g} s") from None
        if isinstance(one, str):
            raise ContenderFailed(f"a process of the bare loop failed: {one}")
        found.append(one)
    return np.concatenate(found)


def _loop(settings: Settings, photos: Sequence[bytes], seconds: float, barrier: Any, queue: Any) -> None:
    try:
        run = in_process(settings).run
        source = cycle([Job(photo, (settings.variant,))] for photo in photos)
        _times(run, source, WARM_UP_S)
        barrier.wait(START_S)
        queue.put(_times(run, source, seconds))
    except BaseException as exc:
        queue.put(f"{type(exc).__name__}: {exc}")
        barrier.abort()  # so that the others do not wait for this one
        raise


def _times(run: Any, source: Any, seconds: float) -> Floats:
    times = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        run(next(source))
        times.append((time.perf_counter() - started) * 1000)
    return np.array(times)
