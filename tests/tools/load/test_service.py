"""The service is measured as everybody may ask it."""

import subprocess
from typing import Any

import pytest

from tools.load import service


def test_the_service_that_is_measured_asks_for_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, str] = {}

    def popen(command: object, *, env: dict[str, str], **_: Any) -> None:
        started.update(env)

    monkeypatch.setenv("MOBILENET_API_KEYS_FILE", "/run/secrets/keys")
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(service, "_ready", lambda *_: None)
    monkeypatch.setattr(service, "_stop", lambda _: None)
    with service.serving(settings={"MOBILENET_API_KEYS": "key"}):
        assert (started["MOBILENET_API_KEYS"], started["MOBILENET_API_KEYS_FILE"]) == ("", "")
