"""Put load on `/predict` of a running service: an open loop with `--rate`, or a closed one with `--connections`.

`tools/load/loops.py` says how they differ.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from tools.load.client import TIMEOUT_S
from tools.load.loops import closed_loop, open_loop
from tools.load.messages import Message, post, post_form
from tools.load.report import outcome_table, summary, with_progress


def main(
    url: Annotated[str, typer.Argument(help="Address of the service, such as http://127.0.0.1:8000.")],
    photos: Annotated[list[Path], typer.Argument(help="Image files to post, in turn.", exists=True)],
    rate: Annotated[float | None, typer.Option(help="Requests per second, for an open loop.")] = None,
    connections: Annotated[int | None, typer.Option(help="Number of connections, for a closed loop.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to send requests.")] = 10,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request is given up.")] = TIMEOUT_S,
    form: Annotated[bool, typer.Option(help="Post each photo in a multipart form instead of as the raw body.")] = False,
) -> None:
    """Put load on a running service, and print what became of the requests."""
    write = post_form if form else post
    messages = [Message(write(url, photo.read_bytes())) for photo in photos]
    if rate and not connections:
        work = open_loop(url, messages, rate_per_s=rate, seconds=seconds, timeout_s=timeout)
    elif connections and not rate:
        work = closed_loop(url, messages, connections=connections, seconds=seconds, timeout_s=timeout)
    else:
        raise typer.BadParameter("give either --rate for an open loop, or --connections for a closed one")
    result = uvloop.run(with_progress(work, "load", seconds))
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print(outcome_table(result), summary(result))


if __name__ == "__main__":
    typer.run(main)
