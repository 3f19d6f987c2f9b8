"""The runs of a comparison, saved and read, and their figures by contender, photos and round."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import median

from pydantic import ConfigDict, TypeAdapter

from app.engines.files import replacing

FILE = "report.json"
OURS, EARLIER, LOOP = "this service, ", "the service in ", "bare loop, "
"""What the names of the service, of the service in other checkouts and of the bare loop begin with."""
DEFAULT, INLINE = f"{OURS}float32", f"{OURS}float32, inline"
OPENVINO = "OpenVINO"
"""What the names of the service with this engine have in them."""
PILLOW, FASTIFY = "mosec with Pillow", "Fastify"
OTHER_DECODERS = (PILLOW, FASTIFY)
"""Servers that do not decode with the service's libraries: how fast they are says as much of the decoder."""
ORDER = ("mix", "small", "large", "phone")
"""The kinds of photos in the order of the tables."""
BUSY, ALONE = 32, 1
"""The numbers of connections that the goals are about."""
DISTURBED = 0.1
"""A measurement is spoilt if other processes took more than this share of the CPUs."""
KNEE_SUCCESS, KNEE_ANSWERED = 0.99, 0.95
"""A rate is too high if fewer requests succeed, or fewer are answered in time, than these shares."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one contender.

    `connections` is None for an open loop; for the bare loop it is the number of processes. `offered` is the rate of an
    open loop as a part of the contender's capacity, and None for other loads. Percentiles are of answers with status
    200, nan if there were none, or if they are not known apart from refusals. `success` is the share of requests that
    were answered with 200, and `others` the share of the CPUs that other processes took meanwhile.
    """

    round: int
    contender: str
    photos: str
    connections: int | None
    offered: float | None
    offered_per_s: float
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    success: float
    others: float = 0


@dataclass(frozen=True, slots=True)
class Report:
    """A comparison: its date, machine and command, and every run. `versions` are those of the contenders' packages.

    One that rounds were added to has several dates, and a command on each line.
    """

    date: str
    machine: str
    command: str
    model: str
    photo_bytes: dict[str, int]
    versions: dict[str, list[str]]
    runs: list[Run]

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")  # else nan is saved as null, which is no number


def read(folder: Path) -> Report:
    """Return the report that was saved in this folder."""
    return TypeAdapter(Report).validate_json((folder / FILE).read_bytes())


def save(report: Report, folder: Path) -> None:
    """Save the report in this folder. If that is interrupted, an earlier one is as it was."""
    with replacing(folder / FILE) as path:
        path.write_bytes(TypeAdapter(Report).dump_json(report, indent=1) + b"\n")


def knee(success: float, requests_per_s: float, offered_per_s: float) -> bool:
    """Whether a rate is too high for a contender: some requests fail, or answers come more slowly than requests."""
    return success < KNEE_SUCCESS or requests_per_s < KNEE_ANSWERED * offered_per_s


Rounds = dict[int, float]
"""A figure by the number of the round in which it was measured."""


class Summary:
    """Finds the runs of a report by contender, photos and load."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.contenders = list(dict.fromkeys(run.contender for run in runs))
        found = dict.fromkeys(run.photos for run in runs)
        self.photos = [kind for kind in ORDER if kind in found] + [kind for kind in found if kind not in ORDER]
        self.connections = sorted(
            {run.connections for run in runs if run.connections and not run.contender.startswith(LOOP)}
        )

    def rounds(self, contender: str, photos: str, connections: int | None, field: str = "requests_per_s") -> Rounds:
        """Return a field of a closed loop, or of the bare loop, in each round.

        Rounds that other processes disturbed are left out, unless there are no others; so are latencies of rounds
        without an answer.
        """
        wanted = (contender, photos, connections)
        runs = _quiet([run for run in self.runs if (run.contender, run.photos, run.connections) == wanted])
        found: dict[int, list[float]] = {}
        for run in runs:
            if not isnan(value := getattr(run, field)):
                found.setdefault(run.round, []).append(value)
        return {number: median(values) for number, values in sorted(found.items())}

    def median(self, contender: str, photos: str, connections: int | None, field: str = "requests_per_s") -> float:
        """Return the median over the rounds; nan without any."""
        return middle(list(self.rounds(contender, photos, connections, field).values()))

    def open(self, contender: str, photos: str) -> dict[float, list[Run]]:
        """Return the runs of open loops by their rate, as a part of the capacity."""
        found: dict[float, list[Run]] = {}
        for run in self.runs:
            if (run.contender, run.photos) == (contender, photos) and run.offered is not None:
                found.setdefault(run.offered, []).append(run)
        return {part: _quiet(runs) for part, runs in sorted(found.items())}

    def loop(self, precision: str, photos: str, field: str = "requests_per_s", *, alone: bool = False) -> Rounds:
        """Return a field of the bare loop in one process, or in the largest number of processes, in each round."""
        name = f"{LOOP}{precision}"
        processes = [run.connections or 0 for run in self.runs if run.contender == name]
        return self.rounds(name, photos, 1 if alone else max(processes, default=0), field)

    def figures(self, contender: str, photos: str) -> tuple[Rounds, Rounds]:
        """Return the answers per second with many connections, and the milliseconds of p50 with one, in each round.

        Of the bare loop they are the images per second of all processes, and the p50 of one process.
        """
        if contender.startswith(LOOP):
            precision = contender.removeprefix(LOOP)
            return self.loop(precision, photos), self.loop(precision, photos, "p50_ms", alone=True)
        return self.rounds(contender, photos, self.busy), self.rounds(contender, photos, ALONE, "p50_ms")

    @property
    def busy(self) -> int:
        """The number of connections that tables show: that of the goals, or else the largest that was measured."""
        return BUSY if BUSY in self.connections else max(self.connections, default=BUSY)

    @property
    def peers(self) -> list[str]:
        """The other servers that decode as the service does."""
        return [name for name in self.contenders if not name.startswith((OURS, EARLIER, LOOP, *OTHER_DECODERS))]


def _quiet(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.others <= DISTURBED] or runs


def middle(values: Sequence[float]) -> float:
    """Return the median of the values, nan without any."""
    return median(values) if values else nan


def spread(values: Sequence[float]) -> float:
    """Return the difference of the largest and the smallest value, divided by the median; nan for a single value."""
    return (max(values) - min(values)) / median(values) if len(values) > 1 else nan


def ratios(ours: Rounds, theirs: Rounds) -> list[float]:
    """Return ours ÷ theirs in each round in which both were measured."""
    return [ours[number] / theirs[number] for number in sorted(ours.keys() & theirs.keys()) if theirs[number]]
