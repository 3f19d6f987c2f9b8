"""The work of others is told from our own."""

import os
import subprocess
import sys
from unittest.mock import Mock

import pytest

from tests.support.processes import wait_for
from tools.bench import disturbance
from tools.bench.disturbance import Others


def test_the_share_of_others_is_what_is_left_of_all_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbance, "time", Mock(perf_counter=Mock(side_effect=[0, 2])))
    monkeypatch.setattr(disturbance, "_all_s", Mock(side_effect=[100, 103]))
    monkeypatch.setattr(disturbance, "_own_s", Mock(side_effect=[10, 12]))
    assert Others().share(1) == 0.5


def test_the_work_of_a_child_is_our_own() -> None:
    spinning = "import time\nwhile True: time.process_time()"
    with subprocess.Popen([sys.executable, "-c", spinning]) as child:
        try:
            wait_for(lambda: disturbance._own_s() - disturbance._spent_s(os.getpid()) > 0.1)
        finally:
            child.kill()
