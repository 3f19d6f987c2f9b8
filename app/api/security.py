"""Keys of callers, and the response headers that tell browsers what a page may load and run."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Unauthorized

Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Security(HTTPBearer(auto_error=False, description="one of MOBILENET_API_KEYS")),
]
KeyHeader = Annotated[
    str | None, Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="one of MOBILENET_API_KEYS"))
]

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every response; a page has a policy of its own."""
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
"""The same as ASGI has them."""


class Guard:
    """Admits requests that have one of the keys, or all if there are no keys."""

    def __init__(self, keys: tuple[SecretStr, ...]) -> None:
        self.renew(keys)

    def renew(self, keys: tuple[SecretStr, ...]) -> None:
        """Admit requests by these keys from now on."""
        self._digests = [_digest(key.get_secret_value()) for key in keys]

    async def __call__(self, request: Request, _bearer: Bearer = None, _key: KeyHeader = None) -> None:
        """Check the request of a route; the two other parameters are there for OpenAPI alone."""
        self.check(request.headers)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise `Unauthorized` unless a request with these headers is admitted."""
        if not self._digests:
            return
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        credentials = credentials.strip()  # RFC 9110 allows several spaces before it
        given = [credentials] if scheme.lower() == "bearer" and credentials else []
        if key := headers.get("x-api-key"):
            given.append(key)
        if not self._known(given):
            detail = "the key is wrong" if given else "a key is needed, as Authorization: Bearer or X-API-Key"
            raise Unauthorized(detail, {"WWW-Authenticate": 'Bearer realm="mobilenet"'})

    def _known(self, given: Sequence[str]) -> bool:
        # Every pair is compared, and digests are of one length: the time tells nothing of a key.
        matches = [compare_digest(_digest(one), digest) for one in given for digest in self._digests]
        return any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class SecurityHeaders:
    """ASGI middleware that adds each of `HEADERS` to responses that do not have it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def page_policy(html: str, *, inline_styles: bool = False, camera: bool = False) -> dict[str, str]:
    """Return the policies of a page: its own scripts, styles, images and requests, and nothing else.

    A script within the page is allowed by its hash. Inline styles are for the documentation pages, which make them.
    Only a page that takes photos may ask for the camera.
    """
    scripts = (
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    )
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *(f"'sha256-{digest}'" for digest in scripts)]),
        "style-src": "'self' 'unsafe-inline'" if inline_styles else "'self'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Permissions-Policy": f"camera=({'self' if camera else ''}), microphone=(), geolocation=()",
    }
