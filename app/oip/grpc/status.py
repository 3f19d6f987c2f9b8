"""Errors as gRPC has them: a code, the detail, and trailing metadata that say the same to programs."""

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from app.errors import ServiceError
from app.observability.trace import Trace

DOMAIN = "mobilenet"
CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.INVALID_ARGUMENT,
    415: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
"""The code of an error, by its HTTP status."""

Metadata = tuple[tuple[str, str | bytes], ...]


def code(error: ServiceError) -> StatusCode:
    """Return the code of an error."""
    return CODES[error.status]


def metadata(current: Trace, error: ServiceError | None = None) -> Metadata:
    """Return the trailing metadata of an answer: the headers that HTTP has, and of an error its code and details.

    The details are a `google.rpc.Status`, as gRPC's libraries read it. A client that is told to retry by its service
    config heeds `grpc-retry-pushback-ms` by itself.
    """
    headers = {name.lower(): value for name, value in current.headers.items()}
    if error is None:
        return tuple(headers.items())
    headers |= {name.lower(): value for name, value in error.headers.items()} | {"code": error.code}
    headers.pop("connection", None)  # HTTP/2 has none, and gRPC's core would not send it
    if "retry-after" in headers:
        headers["grpc-retry-pushback-ms"] = str(1000 * int(headers["retry-after"]))
    return *headers.items(), ("grpc-status-details-bin", _details(error, current.request_id))


def _details(error: ServiceError, request_id: str) -> bytes:
    said = {"request_id": request_id} | {name: str(value) for name, value in error.facts.items()}
    parts = [ErrorInfo(reason=error.code.upper(), domain=DOMAIN, metadata=said), *_retry(error)]
    status = Status(code=code(error).value[0], message=error.detail)
    for part in parts:
        status.details.append(Any())
        status.details[-1].Pack(part)
    return bytes(status.SerializeToString())


def _retry(error: ServiceError) -> list[RetryInfo]:
    after = error.headers.get("Retry-After")
    return [] if after is None else [RetryInfo(retry_delay=Duration(seconds=int(after)))]
