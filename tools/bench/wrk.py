"""A closed loop by wrk, if it is installed: a client in C leaves the servers more of the CPUs than one in Python."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

SCRIPT = Path(__file__).with_name("wrk.lua")
REST_S = 30.0
"""How many seconds longer than its load wrk may take."""


class Load(NamedTuple):
    """The result of a load: answers with status 200 per second, their latencies, and their share of all, 0 to 1.

    Without answers the latencies are nan. Those by wrk are nan as well if anything was refused, as it does not tell the
    latencies of refusals apart.
    """

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    success: float


def installed() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def closed_loop(url: str, bodies: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Post the bodies in turn to `/predict` of the service at `url`, on each connection as soon as it is free."""
    with TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(bodies))]
        for file, body in zip(files, bodies, strict=True):
            file.write_bytes(body)
        command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={round(seconds)}s"]
        command += ["--timeout=30s", f"--script={SCRIPT}", f"{url.rstrip('/')}/predict", "--", *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + REST_S, check=True)
    return read(done.stdout)


def read(output: str) -> Load:
    """Return the result that the script printed as JSON on its last line."""
    found = json.loads(output.splitlines()[-1])
    failed = found["errors"] + found["refused"]
    # wrk counts refusals among the requests, but not connections that failed.
    answered = found["requests"] - found["refused"]
    # Without any answer wrk says that they took no time, and refusals, which are quicker, are among those it times.
    known = answered and not found["refused"]
    p50_ms, p95_ms, p99_ms = (found[f"p{percent}_us"] / 1000 if known else nan for percent in (50, 95, 99))
    rate = answered / found["duration_us"] * 1e6
    return Load(rate, p50_ms, p95_ms, p99_ms, answered / max(1, answered + failed))
