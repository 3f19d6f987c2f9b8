"""The health check of the container: what it says of a service, and what it costs."""

import subprocess
import sys

import pytest

from app import healthcheck
from tests.support.data import REPOSITORY
from tests.support.webserver import serving


def check(monkeypatch: pytest.MonkeyPatch, port: str) -> int:
    monkeypatch.setenv("MOBILENET_PORT", port)
    return healthcheck.main()


def test_a_ready_service_is_healthy_and_any_other_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"/readyz": b"ready"}) as site:
        port = site.url.rsplit(":", 1)[1]
        assert check(monkeypatch, port) == 0
        site.statuses = [503]
        assert check(monkeypatch, port) == 1
    assert check(monkeypatch, port) == 1, "nobody listens there any more"


def test_a_service_that_takes_the_connection_and_never_answers_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "PATIENCE_S", 0.1)
    with serving({"/readyz": b"ready"}) as site:
        site.silent, site.cuts = True, [0]
        assert check(monkeypatch, site.url.rsplit(":", 1)[1]) == 1


def test_the_check_loads_nothing_of_the_service() -> None:
    code = "import sys, app.healthcheck; print(*(set(sys.modules) & {'pydantic', 'numpy', 'fastapi', 'app.config'}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
