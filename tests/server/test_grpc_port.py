"""The port for gRPC is not that of HTTP."""

import pytest

from app.config import Settings
from app.errors import StartError
from app.server.grpc_port import kept
from app.server.listener import listener


def test_http_and_grpc_each_need_a_port_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.config._has_grpc", lambda: True)
    with listener("127.0.0.1", 0) as http:
        port = http.getsockname()[1]
        settings = Settings(host="127.0.0.1", grpc_port=port)
        with pytest.raises(StartError, match=f"^MOBILENET_GRPC_PORT={port} is the port of HTTP; give each "):
            kept(settings, http).__enter__()
