"""What a soak says of growth is what was sampled."""

import math
from collections import Counter

import numpy as np
import pytest

from tools.load.result import OK, LoadResult
from tools.load.service import Sample
from tools.load.soak import drift, memory_slope, mixture, slope_per_hour, windows

SECONDS = 40


def result(latency_ms: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> LoadResult:
    """Return a load of ten requests a second, all answered, with these latencies."""
    due_s = np.arange(0, SECONDS, 0.1)
    nothing = np.zeros_like(due_s)
    return LoadResult(100.0, SECONDS, np.full(len(due_s), OK, np.int16), due_s, nothing, nothing, latency_ms)


def test_memory_that_grows_by_a_megabyte_a_second_has_that_slope_and_the_first_quarter_does_not_count() -> None:
    samples = [Sample(100.0 + second, 500.0 if second < 10 else second, 10, 5) for second in range(SECONDS + 1)]
    seen = windows(result(np.full(400, 5.0)), samples)
    assert memory_slope(seen, SECONDS) == pytest.approx(3600)
    assert sum(window.goodput_per_s for window in seen) == pytest.approx(400, abs=2)
    assert math.isnan(slope_per_hour([1.0], [2.0]))
    assert slope_per_hour([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]) == 0


def test_drift_is_the_last_quarter_over_the_first() -> None:
    assert drift(result(np.linspace(4.0, 4.0, 400))) == pytest.approx(1)
    assert drift(result(np.repeat([4.0, 5.0, 6.0, 8.0], 100))) == pytest.approx(2)


def test_the_mixture_is_mostly_good_and_the_same_each_time() -> None:
    messages = mixture("http://x", [b"a" * 100, b"b" * 300])
    left = Counter(message.leave_after_s is not None for message in messages)
    assert left == {False: 980, True: 20}
    whole = {len(message.data) for message in messages if message.leave_after_s is None}
    assert len(whole) == 5  # two photos, their halves, and a text
    assert [message.data for message in messages] == [
        message.data for message in mixture("http://x", [b"a" * 100, b"b" * 300])
    ]
