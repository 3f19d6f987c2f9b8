"""Every request has a line in the log, but a flood of refusals has a sum each second."""

import asyncio
from collections.abc import Mapping

import pytest

from app.observability import access
from app.observability.access import LINES_A_SECOND, AccessLog


def facts(status: int) -> Mapping[str, object]:
    return {"status": status}


async def test_a_flood_of_refusals_is_summed_each_second_and_other_requests_are_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "SECOND", 0.05)
    log = AccessLog()
    with caplog.at_level("INFO", logger="app.access"):
        for _ in range(500):
            log.write("POST", "/predict", 429, facts)
            log.write("POST", "/predict", 200, facts)
        for _ in range(3):
            log.write("POST", "/predict", 503, facts)
        async with asyncio.timeout(10):
            while "more requests were refused" not in caplog.text:
                await asyncio.sleep(0.005)
        log.write("POST", "/predict", 429, facts)
    written = [record.facts["status"] for record in caplog.records if record.levelname == "INFO"]  # type: ignore[attr-defined]
    assert {status: written.count(status) for status in set(written)} == {429: LINES_A_SECOND + 1, 200: 500, 503: 3}
    sums = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sums == [f"{500 - LINES_A_SECOND} more requests were refused with 429 in a second"]


@pytest.mark.parametrize("status", [401, 404, 405, 413, 415, 429, 503])
async def test_what_is_answered_without_a_key_is_summed(status: int, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog()
    with caplog.at_level("INFO", logger="app.access"):
        for _ in range(5 * LINES_A_SECOND):
            log.write("GET", "/wp-login.php", status, facts)
    assert len(caplog.records) == LINES_A_SECOND


@pytest.mark.parametrize(
    ("path", "line"), [("/" + "a" * 199, "/" + "a" * 199), ("/" + "\n" * 60_000, "/" + "\n" * 199 + "…")]
)
async def test_a_long_path_is_cut(path: str, line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="app.access"):
        AccessLog().write("GET", path, 200, facts)
    assert [record.getMessage() for record in caplog.records] == [f"GET {line!r}"]


async def test_a_line_is_one_line_whatever_the_path(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="app.access"):
        AccessLog().write("GET", "/a\nb", 404, facts)
    assert [record.getMessage() for record in caplog.records] == ["GET '/a\\nb'"]
