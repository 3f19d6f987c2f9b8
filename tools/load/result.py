"""What became of the requests of a load: how each ended, and when."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ERROR, TIMEOUT, LEFT = 0, 1, 2
"""Outcomes without an HTTP status: the connection failed; no answer came in time; the client left on purpose."""
NAMES = {ERROR: "error", TIMEOUT: "timeout", LEFT: "left"}
OK, TOO_MANY_REQUESTS = 200, 429


@dataclass(frozen=True, slots=True, eq=False)
class LoadResult:
    """The requests of a load. Each array has one entry for each request, in the order in which they ended.

    `started` is a time of `time.perf_counter`, and `seconds` is how long requests were sent. An outcome is an HTTP
    status, `ERROR`, `TIMEOUT` or `LEFT`. `due_s` is when a request was due, in seconds after the start. The other
    times count from then: `lag_ms` until the client got round to it, `wait_ms` until a connection was free for it (nan
    if none was), and `latency_ms` until it ended.
    """

    started: float
    seconds: float
    outcomes: NDArray[np.int16]
    due_s: Floats
    lag_ms: Floats
    wait_ms: Floats
    latency_ms: Floats

    @property
    def counts(self) -> dict[str, int]:
        """How many requests ended with each status, or with `error`, `timeout` or `left`."""
        found = zip(*np.unique(self.outcomes, return_counts=True), strict=True)
        return {NAMES.get(int(outcome), str(outcome)): int(count) for outcome, count in found}

    @property
    def offered_per_s(self) -> float:
        """How many requests were due per second."""
        return len(self.outcomes) / self.seconds

    @property
    def ended_per_s(self) -> dict[str, float]:
        """How many requests ended per second with each outcome, while requests were sent."""
        counts = self.window(0, self.seconds).counts
        return {name: count / self.seconds for name, count in counts.items()}

    @property
    def goodput_per_s(self) -> float:
        """Answers with status 200 per second, while requests were sent."""
        return self.ended_per_s.get(str(OK), 0.0)

    def latencies_ms(self, outcome: int) -> Floats:
        """Return the latencies of the requests with this outcome."""
        found: Floats = self.latency_ms[self.outcomes == outcome]
        return found

    def percentile_ms(self, percent: float, outcome: int = OK) -> float:
        """Return a percentile of the latencies of the requests with this outcome; nan if there are none."""
        return percentile(self.latencies_ms(outcome), percent)

    @property
    def lag_p99_ms(self) -> float:
        """How late the client itself was (p99). If this is a large part of a latency, the client is the bottleneck."""
        return percentile(self.lag_ms, 99)

    def window(self, start_s: float, end_s: float) -> "LoadResult":
        """Return the requests that ended between these two times, in seconds after the start."""
        ended_s = self.due_s + self.latency_ms / 1000
        inside = (start_s <= ended_s) & (ended_s < end_s)
        times = (self.lag_ms[inside], self.wait_ms[inside], self.latency_ms[inside])
        due_s = self.due_s[inside] - start_s
        return LoadResult(self.started + start_s, end_s - start_s, self.outcomes[inside], due_s, *times)


def percentile(values: Floats, percent: float) -> float:
    """Return a percentile of the values that are not nan; nan if there are none."""
    found = values[~np.isnan(values)]
    return float(np.percentile(found, percent)) if len(found) else nan
