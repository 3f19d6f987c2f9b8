"""Errors as gRPC has them: each has a code, and programs read what HTTP's problems say."""

import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from app import errors
from app.errors import Draining, MethodNotAllowed, QueueFull, ServiceError
from app.observability.trace import Trace
from app.oip.grpc import status
from app.runtime.pipeline import broken

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServiceError) and hasattr(kind, "status")
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_code_of_its_own_sense(kind: type[ServiceError]) -> None:
    if kind is MethodNotAllowed:  # gRPC's library answers for methods that there are not
        return
    found = status.code(kind("so"))
    ours = kind.status >= 500
    assert (found in (StatusCode.INTERNAL, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)) == ours
    assert found not in (StatusCode.OK, StatusCode.UNKNOWN, StatusCode.CANCELLED)


def test_an_answer_has_the_headers_of_http() -> None:
    found = dict(status.metadata(Trace("mine")))
    assert found["x-request-id"] == "mine"
    assert "total" in found["server-timing"]


def test_an_error_says_its_code_and_when_to_come_again() -> None:
    error = QueueFull("no room", {"Retry-After": "3"}, {"queue_depth": 7})
    found = dict(status.metadata(Trace("mine"), error))
    assert (found["code"], found["retry-after"], found["grpc-retry-pushback-ms"]) == ("queue_full", "3", "3000")
    said = Status.FromString(found["grpc-status-details-bin"])
    assert (said.code, said.message) == (StatusCode.RESOURCE_EXHAUSTED.value[0], "no room")
    about, retry = ErrorInfo(), RetryInfo()
    assert said.details[0].Unpack(about)
    assert said.details[1].Unpack(retry)
    assert (about.reason, about.domain) == ("QUEUE_FULL", "mobilenet")
    assert dict(about.metadata) == {"request_id": "mine", "queue_depth": "7"}
    assert retry.retry_delay.seconds == 3


def test_an_error_after_which_a_connection_of_http_is_closed_says_nothing_of_that() -> None:
    assert "connection" not in dict(status.metadata(Trace("mine"), broken("a hang")))


def test_an_error_without_a_time_to_come_again_names_none() -> None:
    found = dict(status.metadata(Trace("mine"), Draining("so")))
    assert not {"retry-after", "grpc-retry-pushback-ms"} & found.keys()
    assert len(Status.FromString(found["grpc-status-details-bin"]).details) == 1
