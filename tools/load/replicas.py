"""Measures how capacity grows with the number of replicas: containers with a fixed share of a CPU, at full load."""

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from tools.load.loops import closed_loop
from tools.load.messages import Message, post
from tools.load.result import LoadResult
from tools.load.service import ServiceFailed

READY_S = 60
POLL_S = 0.1


def start(image: str, cpus: float) -> str:
    """Start a container with this share of a CPU; return its id."""
    command = ["docker", "run", "--detach", "--cpus", str(cpus), "--env", "MOBILENET_MODEL_WORKERS=1"]
    return output(*command, "--publish", "127.0.0.1::8000", image)


def ready(container: str) -> str:
    """Return the URL of a container as soon as it is ready. Raises `ServiceFailed`, with what it printed, if not."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and _runs(container):
        url = f"http://{output('docker', 'port', container, '8000').splitlines()[0]}"
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").is_success:
                return url
        time.sleep(POLL_S)
    raise ServiceFailed(f"the container {container} is not ready:\n{printed(container)}")


def _runs(container: str) -> bool:
    return output("docker", "inspect", "--format", "{{.State.Running}}", container) == "true"


def output(*command: str) -> str:
    """Run a command and return what it printed. Raises `ServiceFailed` if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def printed(container: str) -> str:
    """Return the last lines that a container printed, on either stream."""
    command = ["docker", "logs", "--tail", "5", container]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


async def load(urls: list[str], photos: list[bytes], connections: int, seconds: float) -> list[LoadResult]:
    """Put full load on all replicas at the same time, as a load balancer would."""
    loads = (
        closed_loop(url, [Message(post(url, photo)) for photo in photos], connections=connections, seconds=seconds)
        for url in urls
    )
    return await asyncio.gather(*loads)


def main(
    photos: Annotated[list[Path], typer.Argument(help="Image files to post, in turn.", exists=True)],
    image: Annotated[str, typer.Option(help="Container image of the service.")] = "mobilenet-service",
    cpus: Annotated[float, typer.Option(help="Share of a CPU that each replica has.")] = 0.4,
    most: Annotated[int, typer.Option(help="Largest number of replicas.")] = 3,
    connections: Annotated[int, typer.Option(help="Connections to each replica.")] = 8,
    seconds: Annotated[float, typer.Option(help="Length of each load.")] = 10,
) -> None:
    """Measure 1, 2, … replicas, and print their answers per second, together and for each.

    The latency is the median of the replica whose median is the largest.
    """
    content = [photo.read_bytes() for photo in photos]
    table = Table(title=f"replicas of {cpus:g} CPU")
    for name in ("replicas", "answers/s", "each", "of the first × replicas", "p50 ms of the slowest"):
        table.add_column(name, justify="right")
    running: list[str] = []
    urls: list[str] = []
    first = 0.0
    try:
        for count in range(1, most + 1):
            running.append(start(image, cpus))
            urls.append(ready(running[-1]))
            results = asyncio.run(load(urls, content, connections, seconds))
            total = sum(result.goodput_per_s for result in results)
            first = first or total
            p50 = max(result.percentile_ms(50) for result in results)
            table.add_row(
                str(count), f"{total:.0f}", f"{total / count:.0f}", f"{total / count / first:.0%}", f"{p50:.0f}"
            )
    finally:
        for container in running:
            output("docker", "rm", "--force", "--volumes", container)
    Console().print(table)


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"replicas: {exc}")
