"""Downloads a file over HTTP with a progress bar, and resumes where a connection was cut."""

import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from app.errors import StartError, without_password
from app.network import client_options

ATTEMPTS = 4
"""The download fails after so many attempts in a row that brought no further byte."""
PAUSE_S = 0.5
"""Seconds before the second attempt; doubled before each further one."""
TIMEOUT = httpx.Timeout(30, connect=10)
"""Seconds to wait for the next byte, and seconds to wait for a connection."""


def download(url: str, path: Path) -> None:
    """Download `url` into the file `path`.

    Raises `StartError` that says what the server answered instead, or why it could not be reached.
    """
    print(f"mobilenet: fetching {without_password(url)}", file=sys.stderr, flush=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with (
        _client(url) as client,
        path.open("wb") as file,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        _Download(client, url, file, progress).run()


def _client(url: str) -> httpx.Client:
    try:
        return httpx.Client(**client_options(httpx.URL(url)), timeout=TIMEOUT, follow_redirects=True)
    except (httpx.InvalidURL, ValueError) as exc:
        raise StartError(f"cannot fetch {without_password(url)}: {exc}") from exc


class _Download:
    """The state of one download: the bytes so far, and the version of the content that they belong to."""

    def __init__(self, client: httpx.Client, url: str, file: BinaryIO, progress: Progress) -> None:
        self._client = client
        self._url = url
        self._shown = without_password(url)
        self._file = file
        self._progress = progress
        self._task: TaskID = progress.add_task(url.rpartition("/")[2], total=None)
        self._version: str | None = None  # the server's ETag or date of the content so far

    def run(self) -> None:
        failures = most = 0
        while failure := self._attempt():
            failures = 1 if self._file.tell() > most else failures + 1
            most = max(most, self._file.tell())
            if failures == ATTEMPTS:
                raise StartError(f"cannot fetch {self._shown}: {failure}")
            time.sleep(PAUSE_S * 2 ** (failures - 1))

    def _attempt(self) -> str | None:
        """Return why the attempt failed, or None if it succeeded. Raises `StartError` where a retry cannot help."""
        try:
            with self._client.stream("GET", self._url, headers=self._headers()) as response:
                return self._receive(response)
        except httpx.UnsupportedProtocol as exc:
            raise StartError(f"cannot fetch {self._shown}: {exc}") from exc
        except httpx.HTTPError as exc:
            return str(exc) or type(exc).__name__

    def _headers(self) -> dict[str, str]:
        # Not compressed: in a compressed answer, the offset to resume from would count other bytes.
        headers = {"Accept-Encoding": "identity"}
        if self._version and self._file.tell():
            headers |= {"Range": f"bytes={self._file.tell()}-", "If-Range": self._version}
        return headers

    def _receive(self, response: httpx.Response) -> str | None:
        status = response.status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            return f"{status} {response.reason_phrase}"
        if status == HTTPStatus.OK:
            self._file.seek(0)
            self._file.truncate()
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {self._file.tell()}-"):
            raise StartError(f"cannot fetch {self._shown}: {status} {response.reason_phrase}")
        # A weak ETag (W/…) does not promise the same bytes, so the download could not be resumed by it.
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        self._version = None if version is None or version.startswith("W/") else version
        left = response.headers.get("Content-Length")
        self._progress.update(self._task, total=left and self._file.tell() + int(left))
        for chunk in response.iter_raw():
            self._file.write(chunk)
            self._progress.update(self._task, completed=self._file.tell())
        return None
