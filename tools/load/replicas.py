"""Measures how capacity grows with the number of replicas: containers with a fixed share of a CPU, at full load."""

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from tools.load.loops import closed_loop
from tools.load.messages import Message, post
from tools.load.result import LoadResult

READY_S = 60


def start(image: str, cpus: float) -> tuple[str, str]:
    """Start a container with this share of a CPU; return its id and its URL as soon as it is ready."""
    command = ["docker", "run", "--rm", "--detach", "--cpus", str(cpus), "--env", "MOBILENET_MODEL_WORKERS=1"]
    container = output(*command, "--publish", "127.0.0.1::8000", image)
    url = f"http://{output('docker', 'port', container, '8000').splitlines()[0]}"
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return container, url
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise typer.Exit(1)


def output(*command: str) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


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
    """Measure 1, 2, … replicas, and print their answers per second, together and for each."""
    content = [photo.read_bytes() for photo in photos]
    table = Table(title=f"replicas of {cpus:g} CPU")
    for name in ("replicas", "answers/s", "each", "of the first × replicas", "p50 ms"):
        table.add_column(name, justify="right")
    running: list[tuple[str, str]] = []
    first = 0.0
    try:
        for count in range(1, most + 1):
            running.append(start(image, cpus))
            results = asyncio.run(load([url for _, url in running], content, connections, seconds))
            total = sum(result.goodput_per_s for result in results)
            first = first or total
            p50 = max(result.percentile_ms(50) for result in results)
            table.add_row(
                str(count), f"{total:.0f}", f"{total / count:.0f}", f"{total / count / first:.0%}", f"{p50:.0f}"
            )
    finally:
        for container, _ in running:
            output("docker", "stop", container)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
