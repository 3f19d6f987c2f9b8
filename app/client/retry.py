"""One call of the service, seen from the client: when to send its request again, and how to read the answer.

It is a generator that does no I/O. It yields each request to send, with the seconds to wait before, and is sent the
outcome of that attempt. So the blocking client and the one for asyncio run the same code.
"""

import random
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Final, TypeVar

import httpx

from app import errors
from app.errors import NoConnection, ServiceError, Unauthorized, UnexpectedAnswer, Unreachable, without_password
from app.network import proxy_variable
from app.schemas import Problem

_REFUSED: Final = (429, 502, 503)
"""Statuses after which a retry may help; a proxy answers with 502 while the service restarts."""
_BROKEN: Final = (httpx.NetworkError, httpx.RemoteProtocolError)
"""Errors after which a retry may help. Timeouts are not among them: what took too long once would do so again.

Retrying is safe even if the lost request was done, because a classification changes nothing in the service.
"""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

_ERRORS: Final[dict[str, type[ServiceError]]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServiceError) and kind is not ServiceError
}

T = TypeVar("T")
Read = Callable[[bytes], T]
"""Makes an answer of the body of a response. Raises `ValueError` if that is not one of this service."""
Attempt = httpx.Response | httpx.RequestError
"""The outcome of sending a request once."""
Exchange = Generator[tuple[float, httpx.Request], Attempt, T]
"""Yields seconds to wait and the request to send then; is sent the outcome; returns the answer or raises its error."""


def exchange(request: httpx.Request, read: Read[T], patience_s: float) -> Exchange[T]:
    """Send a request until there is an answer, or until the pauses would add up to more than `patience_s` seconds.

    `read` makes the answer of a body. Raises the `ServiceError` that the service answers with, `Unreachable`, or
    `UnexpectedAnswer`.
    """
    pause_s = waited_s = 0.0
    for number in count():
        attempt = yield pause_s, request
        pause_s = _pause_s(attempt, number)
        waited_s += pause_s
        if not _retry_may_help(attempt) or waited_s > patience_s:
            break
    return _answer(attempt, read, patience_s)


def _retry_may_help(attempt: Attempt) -> bool:
    return attempt.status_code in _REFUSED if isinstance(attempt, httpx.Response) else isinstance(attempt, _BROKEN)


def _pause_s(attempt: Attempt, number: int) -> float:
    """Return the pause after attempt `number`, counted from 0: `Retry-After`, and a random and growing time on top.

    Without the random part, clients that were refused at the same moment would all return at the same moment.
    """
    backoff_s = min(_FIRST_PAUSE_S * 2.0**number, _LONGEST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311
    return backoff_s + (retry_after_s(attempt) if isinstance(attempt, httpx.Response) else 0.0)


def retry_after_s(response: httpx.Response) -> float:
    """Return the seconds to wait by the header `Retry-After`: a number or a date (RFC 9110); 0 without either."""
    value: str = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    until = _date(value)
    if until is None:
        return 0.0
    made = _date(response.headers.get("Date", ""))  # by the server's clock, with which it computed `Retry-After`
    return max(0.0, (until - (made or datetime.now(UTC))).total_seconds())


def _date(value: str) -> datetime | None:
    """Return the time that a header names, in UTC unless it names a zone (RFC 9110, 5.6.7); None if it is no date."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _answer(attempt: Attempt, read: Read[T], patience_s: float) -> T:
    if isinstance(attempt, httpx.LocalProtocolError):  # a bug of this client, for which the service is not to blame
        raise attempt
    if isinstance(attempt, httpx.RequestError):
        raise _unreachable(attempt) from attempt
    try:
        if attempt.is_success:
            return read(attempt.content)
        problem = Problem.model_validate_json(attempt.content)
    except ValueError as exc:  # pydantic's are, too
        raise UnexpectedAnswer(_unexpected(attempt), attempt.status_code) from exc
    error = error_of(problem)
    for advice in _advice(error, patience_s):
        error.add_note(advice)
    raise error


def _unreachable(error: httpx.RequestError) -> Unreachable:
    url = error.request.url
    found = f"no answer from {without_password(url)}: {str(error) or type(error).__name__}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        if proxy := proxy_variable(url):
            without = f"With NO_PROXY={url.host} none is used"
            return NoConnection(f"{found}; is the proxy running that {proxy} names? {without}")
        address = url.netloc.decode()
        return NoConnection(f"{found}; is the service running at {url.scheme}://{address}?")
    if not isinstance(error, httpx.TimeoutException):
        return NoConnection(found)
    unreachable = Unreachable(found)
    unreachable.add_note("A client with a larger timeout_s waits longer.")
    return unreachable


def _advice(error: ServiceError | UnexpectedAnswer, patience_s: float) -> Iterator[str]:
    """Yield what a program can do about an error, for its author, who sees these lines below the traceback."""
    if isinstance(error, Unauthorized):
        yield "Pass one of the service's keys to the client, as api_key."
    if error.status in _REFUSED:
        yield (
            f"The client sent the request again for up to {patience_s:g} s. With a larger patience_s it does so for "
            "longer, and of fewer requests at a time the service refuses fewer."
        )


def _unexpected(response: httpx.Response) -> str:
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    location = without_password(response.headers.get("Location", ""))
    leads = f", which leads to {location}" if response.has_redirect_location else ""
    return f"{without_password(response.request.url)} answered {status}{leads}, which is not an answer of this service"


def error_of(problem: Problem) -> ServiceError | UnexpectedAnswer:
    """Return the error that the service made this problem from."""
    if problem.code not in _ERRORS:
        return UnexpectedAnswer(f"{problem.status} {problem.code}: {problem.detail}", problem.status)
    facts = problem.model_dump(include={"queue_depth", "estimated_wait_ms"}, exclude_none=True)
    error = _ERRORS[problem.code](problem.detail, facts=facts)
    error.request_id = problem.request_id
    return error
