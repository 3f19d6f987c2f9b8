"""One call of the service from the caller's side: sent again while that helps, then read as an answer or an error.

A generator that does no I/O: it yields each request, with seconds to wait before it, and is sent what came of it. So a
client that waits and one that awaits drive the same.
"""

import random
from collections.abc import Generator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Final, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from app import errors
from app.errors import ServiceError, UnexpectedAnswer, Unreachable
from app.schemas import Problem

_REFUSED: Final = (429, 502, 503)
"""Statuses of what was not done and may be asked again; 502 is what proxies say while the service restarts."""
_BROKEN: Final = (httpx.NetworkError, httpx.RemoteProtocolError)
"""A classification changes nothing, so it may be asked again even if it was done. What took too long, would again."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

_ERRORS: Final[dict[str, type[ServiceError]]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServiceError) and kind is not ServiceError
}

T = TypeVar("T")
Outcome = httpx.Response | httpx.RequestError
Exchange = Generator[tuple[float, httpx.Request], Outcome, T]
"""Yields seconds to wait and what to send then; is sent what came of it; returns the answer or raises the error."""


def exchange(request: httpx.Request, answer: TypeAdapter[T], patience_s: float) -> Exchange[T]:
    """Send until there is an answer, or the pauses would add up to more than `patience_s`.

    Raises the `ServiceError` that the service raised, `Unreachable` or `UnexpectedAnswer`.
    """
    pause_s = waited_s = 0.0
    for attempt in count():
        outcome = yield pause_s, request
        pause_s = _pause_s(outcome, attempt)
        waited_s += pause_s
        if not _may_be_asked_again(outcome) or waited_s > patience_s:
            break
    return _read(outcome, answer)


def _may_be_asked_again(outcome: Outcome) -> bool:
    return outcome.status_code in _REFUSED if isinstance(outcome, httpx.Response) else isinstance(outcome, _BROKEN)


def _pause_s(outcome: Outcome, attempt: int) -> float:
    """As long as the service asks for, and some more: those that were refused together must not return together."""
    backoff_s = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311
    return backoff_s + (retry_after_s(outcome) if isinstance(outcome, httpx.Response) else 0.0)


def retry_after_s(response: httpx.Response) -> float:
    """Return the seconds that `Retry-After` asks for, as RFC 9110 writes them: a number or a date; 0 without either."""
    value: str = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - _made(response)
    except (TypeError, ValueError):  # no date, or one without a zone
        return 0.0
    return max(0.0, wait.total_seconds())


def _made(response: httpx.Response) -> datetime:
    """When the answer was made, by the clock that `Retry-After` was computed with."""
    return parsedate_to_datetime(response.headers["Date"]) if "Date" in response.headers else datetime.now(UTC)


def _read(outcome: Outcome, answer: TypeAdapter[T]) -> T:
    if isinstance(outcome, httpx.RequestError):
        raise Unreachable(
            f"no answer from {outcome.request.url}: {str(outcome) or type(outcome).__name__}"
        ) from outcome
    try:
        if outcome.is_success:
            return answer.validate_json(outcome.content)
        problem = Problem.model_validate_json(outcome.content)
    except ValidationError as exc:
        raise UnexpectedAnswer(_unexpected(outcome), outcome.status_code) from exc
    raise error_of(problem)


def _unexpected(response: httpx.Response) -> str:
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    leads = f", which leads to {response.headers['Location']}" if response.has_redirect_location else ""
    return f"{response.request.url} answered {status}{leads}, and not as this service does"


def error_of(problem: Problem) -> ServiceError | UnexpectedAnswer:
    """Return the error that the service raised when it made this problem."""
    if problem.code not in _ERRORS:
        return UnexpectedAnswer(f"{problem.status} {problem.code}: {problem.detail}", problem.status)
    facts = problem.model_dump(include={"queue_depth", "estimated_wait_ms"}, exclude_none=True)
    error = _ERRORS[problem.code](problem.detail, facts=facts)
    error.request_id = problem.request_id
    return error
