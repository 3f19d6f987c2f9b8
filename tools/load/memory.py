"""Measures the memory that each loaded variant takes: the service starts with one variant, then with two, and so on.

Every variant classifies images in batches of all sizes before the memory is measured. Memory that several processes
share is counted once (PSS, the proportional set size).
"""

import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import typer

from app import environment
from app.mobilenet.variants import Variant
from tools.load.messages import make_photos
from tools.load.service import ServiceFailed, serving, tree

PSS = re.compile(r"^Pss:\s+(\d+) kB", re.M)
REQUESTS = 200
CONNECTIONS = 32


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its descendants in MB (10⁶ bytes), with what they share counted once."""
    texts = (Path(f"/proc/{each}/smaps_rollup").read_text() for each in tree(pid))
    return sum(int(PSS.findall(text)[0]) for text in texts) * 1024 / 1e6


def measure(variants: tuple[Variant, ...]) -> float:
    """Serve the variants, of which the first is the default; return the memory in MB after all of them were busy."""
    first, *others = variants
    os.environ["MOBILENET_ALPHA"], os.environ["MOBILENET_RESOLUTION"] = f"{first.alpha:g}", str(first.resolution)
    os.environ["MOBILENET_VARIANTS"] = ",".join(other.name for other in others)
    (photo,) = make_photos(1)
    with (
        serving() as process,
        httpx.Client(base_url=process.url, timeout=60) as client,
        ThreadPoolExecutor(CONNECTIONS) as threads,
    ):
        for variant in variants:
            ask = partial(client.post, "/predict", content=photo, params=_query(variant))
            ask().raise_for_status()  # a request that is alone runs on all threads, whose memory counts too
            for answer in [threads.submit(ask) for _ in range(REQUESTS)]:
                answer.result().raise_for_status()
        return memory_mb(process.popen.pid)


def _query(variant: Variant) -> dict[str, float]:
    return {"alpha": variant.alpha, "resolution": variant.resolution}


def rows(variants: tuple[Variant, ...]) -> Iterator[str]:
    """Yield a line for each variant as soon as it has been measured."""
    before = 0.0
    for count, variant in enumerate(variants, 1):
        found = measure(variants[:count])
        yield f"{variant!s:14}{found:>9.1f} MB" + (f"{found - before:>+9.1f} MB" if before else "")
        before = found


def main() -> None:
    """Print the memory of the service with the first variant of the settings, with the first two, and so on."""
    for row in rows(environment.load().lineup):
        print(row, flush=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"memory: {exc}")
