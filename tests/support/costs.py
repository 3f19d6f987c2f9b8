"""What decoding the hostile files costs: `python -m tests.support.costs [CHECKOUT …]` prints a table in Markdown.

Each file is decoded alone in a process forked for it, by this checkout and by those that are named, such as one of an
earlier version: the processor's time that it takes, and by how much it raises the peak of memory.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.corpus import corpus
from tests.support.data import REPOSITORY

DECODE_ALL = """
import json, os, sys, time
from pathlib import Path
try:
    from app.imaging.decode import decode
except ImportError:
    from app.images import decode
from app.config import Settings
from app.errors import ServiceError

MAX_PIXELS = Settings().max_pixels

def peak_kb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

def cost(data):
    before, began = peak_kb(), time.process_time()
    try:
        decode(data, resolution=160, max_pixels=MAX_PIXELS)
        outcome = "answered"
    except ServiceError as exc:
        outcome = "refused"
    return outcome, time.process_time() - began, (peak_kb() - before) / 1000

for file in sorted(Path(sys.argv[1]).iterdir()):
    data = file.read_bytes()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(theirs, json.dumps(cost(data)).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    print(said.decode() or '["killed", 0, 0]', flush=True)
"""


def costs(folder: Path, checkout: Path) -> list[tuple[str, float, float]]:
    """Return for each file of a folder what became of it, its seconds, and its megabytes (10⁶ bytes) of memory."""
    command = [sys.executable, "-c", DECODE_ALL, str(folder)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def row(checkout: Path, names: list[str], found: list[tuple[str, float, float]]) -> str:
    """Return the row of a checkout."""
    answered = sum(outcome == "answered" for outcome, _, _ in found)
    killed = sum(outcome == "killed" for outcome, _, _ in found)
    slowest, largest = (max(range(len(found)), key=lambda at: found[at][which]) for which in (1, 2))
    refused = len(found) - answered - killed
    return (
        f"| {checkout.name} | {answered} | {refused} | {killed} | {found[slowest][1]:.2f} ({names[slowest]}) "
        f"| {found[largest][2]:.0f} ({names[largest]}) |"
    )


def main() -> None:
    """Print the table."""
    cases = [case for case in corpus() if case.data]
    with TemporaryDirectory() as name:
        for number, case in enumerate(cases):
            (Path(name) / f"{number:05}").write_bytes(case.data)
        print(
            "| | answered | refused | killed | slowest, s | most memory, MB |\n| --- | ---: | ---: | ---: | --- | --- |"
        )
        for checkout in (*map(Path, sys.argv[1:]), REPOSITORY):
            print(row(checkout, [case.name for case in cases], costs(Path(name), checkout)), flush=True)


if __name__ == "__main__":
    main()
