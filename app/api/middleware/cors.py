"""Cross-origin requests: pages of the allowed origins may call with a key, and read the headers of responses."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.errors import MalformedRequest
from app.observability.trace import trace

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Inference-Header-Content-Length",
    "X-API-Key",
    "X-Request-ID",
    "X-Request-Timeout-Ms",
    "traceparent",
    "tracestate",
)
"""Headers of requests that the service reads and a browser asks for permission to send."""
RESPONSE_HEADERS = (
    "Accept-Encoding",
    "Allow",
    "Inference-Header-Content-Length",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Class-Id",
    "X-Class-Label",
    "X-Class-Probability",
    "X-Embedding-Layer",
    "X-Embedding-Shape",
    "X-Model",
    "X-Request-ID",
    "X-Weights-SHA256",
    "traceparent",
)
"""Headers of responses that a page may read."""


class Cors(CORSMiddleware):
    """Starlette's middleware, with the headers of this service; a refused preflight is a problem that says why."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            allow_private_network="*" not in origins,  # whoever allows all has not thought of a network of their own
        )
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight that asks for too much with a problem, and everything else as Starlette does."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            asked = Headers(scope=scope)
            if "origin" in asked and "access-control-request-method" in asked:
                response = self.preflight_response(request_headers=asked)
                if response.status_code >= 400:
                    response = self._refusal(scope, asked, response)
                await response(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _refusal(self, scope: Scope, asked: Headers, refused: Response) -> Response:
        error = MalformedRequest(self._reason(asked))
        body, headers = problems.respond(error, trace(scope), scope)
        granted = {name: value for name, value in refused.headers.items() if not name.startswith("content-")}
        return Response(body, error.status, {**granted, **headers}, media_type=problems.MEDIA_TYPE)

    def _reason(self, asked: Headers) -> str:
        if not self.is_allowed_origin(origin=asked["origin"]):
            return f"the origin {asked['origin'][:80]} is not one of {', '.join(self._origins)}"
        method = asked["access-control-request-method"]
        if method not in METHODS:
            return f"the method {method[:80]} is not one of {', '.join(METHODS)}"
        if "access-control-request-private-network" in asked and not self.allow_private_network:
            return "pages of public addresses may call this service in a private network only if their origin is named"
        names = (name.strip() for name in asked["access-control-request-headers"].split(","))
        wrong = next(name for name in names if name.lower() not in self.allow_headers)
        return f"the request header {wrong[:80]} is not one of {', '.join(REQUEST_HEADERS)}"
