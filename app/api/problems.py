"""Every error as an RFC 9457 problem: ours, the framework's, and bugs."""

from collections.abc import Mapping
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails, to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from app.errors import InternalError, InvalidParameter, MalformedRequest, MethodNotAllowed, NotFound, ServiceError
from app.observability.access import shortened
from app.observability.trace import Trace, trace
from app.validation import COMPARED, fault

MEDIA_TYPE = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499
"""Status of a request whose client left, for the log alone: nobody reads the response."""
PROTOCOL = "/v2"
"""The path below which clients of the Open Inference Protocol ask; they read the member `error` of an error."""


def problem(error: ServiceError, request_id: str, path: str = "") -> dict[str, object]:
    """Return the `Problem` that a caller of this path, without a prefix, reads for this error, as a dictionary.

    It is one because a pydantic model would take a fifth of the time of a refusal, of which there may be a flood.
    """
    body: dict[str, object] = {
        "type": f"urn:mobilenet:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        **error.facts,
    }
    if path == PROTOCOL or path.startswith(f"{PROTOCOL}/"):
        body["error"] = error.detail
    return body


def respond(error: ServiceError, current: Trace, scope: Scope) -> tuple[bytes, Mapping[str, str]]:
    """Return the body and the headers of the response to a request that failed, and note its code in the trace."""
    current.facts["code"] = error.code
    path = scope["path"].removeprefix(_root(scope))
    body = to_json(problem(error, current.request_id, path))
    # The headers of the trace too: the response to a bug is made outside of the middleware that adds them.
    return body, error.headers | current.headers


def _root(scope: Scope) -> str:
    """Return the prefix of the whole application: within a mount `root_path` ends with the path of the mount."""
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root


def bug() -> InternalError:
    """Return the error of a request that failed because of a bug; the log has the traceback."""
    return InternalError("the request failed for a reason that is ours")


def invalid(error: ErrorDetails) -> ServiceError:
    """Translate one error of pydantic: 400 for a body that is not JSON, 422 for a value that is wrong."""
    if error["type"] == "json_invalid":
        return MalformedRequest(f"the body is not valid JSON: {error['ctx']['error']}")
    name = ".".join(str(part)[:COMPARED] for part in error["loc"])
    return InvalidParameter(f"{name or 'the body'} {fault(error)}")


def install(app: FastAPI) -> None:
    """Have the application answer every error as a problem."""
    for kind in (ServiceError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, exc: Exception) -> Response:
    if isinstance(exc, ClientDisconnect):
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    error = _translate(request, exc)
    body, headers = respond(error, trace(request.scope), request.scope)
    return Response(body, error.status, headers, media_type=MEDIA_TYPE)


def _shown(path: str) -> str:
    """Return a path for a sentence: cut, and with what cannot be printed, such as line breaks, as a URL has it."""
    return "".join(one if one.isprintable() else quote(one, errors="replace") for one in shortened(path))


def _hint(path: str) -> str:
    shorter = path.rstrip("/")
    return f", though there may be at {_shown(shorter)}" if path.endswith("/") and shorter else ""


def _not_allowed(request: Request, allowed: str) -> MethodNotAllowed:
    """Return the error of another method. Whatever allows GET allows HEAD, too (`app.api.middleware.head`)."""
    methods = sorted({*allowed.split(", "), "HEAD"} if "GET" in allowed else allowed.split(", "))
    are = f"{' and '.join(methods)} {'is' if len(methods) == 1 else 'are'}"
    detail = f"{request.method} is not allowed on {_shown(request.scope['path'])}; {are}"
    return MethodNotAllowed(detail, {"Allow": ", ".join(methods)})


def _translate(request: Request, exc: Exception) -> ServiceError:
    if isinstance(exc, ServiceError):
        return exc
    if isinstance(exc, RequestValidationError):
        error: ErrorDetails = exc.errors()[0]
        return invalid({**error, "loc": error["loc"][1:]})  # without `query` or `header`
    if not isinstance(exc, HTTPException):
        return bug()
    if exc.status_code == MethodNotAllowed.status:
        return _not_allowed(request, (exc.headers or {}).get("Allow", ""))
    if exc.status_code == NotFound.status:
        path = request.scope["path"]  # not that of `url`, which ends at an escaped question mark
        shown, root = f"{_shown(path)}{_hint(path)}", _root(request.scope)
        return NotFound(f"there is nothing at {shown}; {root}/docs lists what there is")
    return MalformedRequest(str(exc.detail))
