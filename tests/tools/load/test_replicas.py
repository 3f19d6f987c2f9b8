"""Containers that are measured are removed, and one that is not ready says why."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.fakes import Clock
from tools.load import replicas
from tools.load.result import LoadResult
from tools.load.service import ServiceFailed


class Docker:
    """Stands in for the command line of Docker; a container may have ended."""

    def __init__(self, running: bool) -> None:
        self.running, self.called = running, list[str]()

    def __call__(self, *command: str) -> str:
        """Answer a command."""
        self.called.append(" ".join(command))
        found = {"run": "0123456789abcdef", "port": "127.0.0.1:49153", "inspect": str(self.running).lower()}
        return found.get(command[1], "")


class Waiting(Clock):
    """Passes the time at once."""

    def sleep(self, seconds: float) -> None:
        """Wait for nothing."""
        self.now_s += seconds


def docker(monkeypatch: pytest.MonkeyPatch, running: bool, status: int) -> Docker:
    found = Docker(running)
    monkeypatch.setattr(replicas, "output", found)
    monkeypatch.setattr(replicas, "printed", lambda container: f"{container} said: no such weights")
    monkeypatch.setattr(httpx, "get", lambda url: httpx.Response(status))
    monkeypatch.setattr(replicas, "time", Waiting())
    return found


@pytest.mark.parametrize(("running", "status"), [(True, 503), (False, 200)])
def test_a_container_that_is_not_ready_is_named_with_what_it_printed_and_removed(
    running: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = docker(monkeypatch, running, status)
    with pytest.raises(ServiceFailed, match=r"^the container 0123456789abcdef is not ready:\n.* no such weights$"):
        replicas.main([], most=2)
    assert found.called[-1] == "docker rm --force --volumes 0123456789abcdef"


def test_replicas_are_measured_together_and_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = docker(monkeypatch, running=True, status=200)

    async def load(urls: list[str], *_: object) -> list[LoadResult]:
        assert set(urls) == {"http://127.0.0.1:49153"}
        times = np.full(20, 10.0)
        return [
            LoadResult(0, 2, np.full(20, 200, np.int16), 0 * times, 0 * times, 0 * times, times * (1 + at))
            for at in range(len(urls))
        ]

    monkeypatch.setattr(replicas, "load", load)
    replicas.main([Path(__file__)], most=2)
    text = " ".join(capsys.readouterr().out.split())
    assert "p50 ms of the slowest" in text
    assert "│ 1 │ 10 │ 10 │ 100% │ 10 │" in text
    assert "│ 2 │ 20 │ 10 │ 100% │ 20 │" in text
    assert sum(call.startswith("docker rm ") for call in found.called) == 2
