"""The path prefix below which a reverse proxy shows the service, and which it strips from requests."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import ROOT_PATH

HEADER = b"x-forwarded-prefix"
TRUSTED = ("127.0.0.1", "::1", None)
"""Addresses whose `X-Forwarded-Prefix` is believed: those of this machine; a Unix socket has none."""


class Prefix:
    """ASGI middleware that gives requests the root path of the settings, or what a proxy on this machine says.

    Links, redirections and the OpenAPI document are then right for whoever asks the proxy. It must come before anything
    that replaces the address of the client by what `X-Forwarded-For` says.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its root path, and with the path that the proxy was asked for."""
        if scope["type"] == "http" and (prefix := _forwarded(scope) or self._root_path):
            scope["root_path"] = prefix
            if not scope["path"].startswith(f"{prefix}/"):
                scope["path"] = prefix + scope["path"]
        await self._app(scope, receive, send)


def _forwarded(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == HEADER and (scope.get("client") or (None,))[0] in TRUSTED:
            prefix: str = value.decode("latin-1").rstrip("/")
            return prefix if ROOT_PATH.fullmatch(prefix) else ""
    return ""
