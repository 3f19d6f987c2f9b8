"""Cookies: the service reads none, and nobody else shall, as some Pythons take seconds to parse them."""

from starlette.types import ASGIApp, Receive, Scope, Send


class NoCookies:
    """ASGI middleware that removes the header `Cookie` from requests.

    FastAPI parses it for every route, whether it has cookies or not. Before Python 3.11.10 and 3.12.6 that takes a time
    that grows with the square of its backslashes: half a minute for 60 KB.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on without its cookies."""
        if scope["type"] == "http":
            scope["headers"] = [field for field in scope["headers"] if field[0] != b"cookie"]
        await self._app(scope, receive, send)
