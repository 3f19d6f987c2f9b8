"""What another machine will never give is told from what it may give later, whatever errors its package has."""

from types import SimpleNamespace

import pytest

from app.batch.storage import asking
from app.errors import StartError, Unreachable, Unreadable
from tests.batch.far import AwayError, Far


def error(text: str = "", **known: object) -> Exception:
    """Return an error of some package, which knows more than its text."""
    found = AwayError(text)
    vars(found).update(known)
    return found


def response(status: int) -> SimpleNamespace:
    return SimpleNamespace(status_code=status)


S3 = "When reading key '1.jpg' in bucket 'b': AWS Error {} during HeadObject operation: No response body."
AZURE = "GetProperties failed for 'http://a/c/1.jpg'. Azure Error: [{}] {}\n\nRequest ID: "
PERMANENT = [
    FileNotFoundError(2, "No such file or directory"),
    PermissionError(13, "Permission denied"),
    ValueError("Protocol not known: nonsense"),
    ImportError("Install huggingface_hub to access HfFileSystem"),
    StartError("nonsense://bucket"),
    error("Forbidden", status=403),  # aiohttp
    error("Gone", response=response(410)),  # requests, huggingface_hub
    error("Not Found", code=404),  # gcsfs
    OSError(S3.format("ACCESS_DENIED")),
    OSError(S3.format("INVALID_ACCESS_KEY_ID")),
    OSError(AZURE.format("AuthorizationFailure", "403 Forbidden")),
]
PASSING = [
    error("the line is dead"),
    error("", code="SlowDown"),
    ConnectionRefusedError(111, "Connection refused"),
    TimeoutError(),
    error("Too Many Requests", status=429),
    error("Bad Gateway", response=response(502)),
    OSError(S3.format("UNKNOWN (HTTP status 503)")),
    OSError(S3.format("UNKNOWN (HTTP status 400)")),  # the credentials have expired
    OSError(S3.format("NETWORK_CONNECTION").replace("No response body", "curlCode: 28, Timeout was reached")),
    OSError(AZURE.format("ServerBusy", "503 The server is busy.")),
]


@pytest.mark.parametrize("found", [*PERMANENT, *PASSING], ids=repr)
def test_what_is_missing_or_forbidden_is_so_for_ever_and_all_else_may_pass(found: Exception) -> None:
    assert asking.is_permanent(found) == (found in PERMANENT)


def test_what_may_pass_is_asked_again_after_growing_pauses(far: Far) -> None:
    failures = [AwayError("the line is dead")] * 2

    def ask() -> str:
        if failures:
            raise failures.pop()
        return "here"

    assert asking.asked("1.jpg", ask) == "here"
    assert far.pauses_s == list(asking.PAUSES_S[:2]) == sorted(far.pauses_s)


def test_what_does_not_pass_is_said_in_the_end_and_what_is_permanent_at_once(far: Far) -> None:
    def away() -> None:
        raise AwayError("the line is dead\nand so on")

    with pytest.raises(Unreachable, match=r"^1\.jpg: the line is dead$"):
        asking.asked("1.jpg", away)
    assert far.pauses_s == list(asking.PAUSES_S)

    def gone() -> None:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(Unreadable, match=r"^No such file or directory$"):
        asking.asked("1.jpg", gone)
    assert far.pauses_s == list(asking.PAUSES_S)


@pytest.mark.parametrize("error", [AwayError, ValueError])
def test_a_password_in_a_url_is_not_said(error: type[Exception]) -> None:
    url = "https://user:secret@host/1.jpg"

    def ask() -> None:
        raise error(f"{url} is not given")

    with pytest.raises((Unreachable, Unreadable), match=r"https://\*\*\*@host/1\.jpg is not given$") as raised:
        asking.once(url, ask)
    assert "secret" not in str(raised.value)
