"""A small real web server that answers as well, or as badly, as a test wants."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """Files by path and how they are served; `asked` has the `Range` header of each request."""

    files: dict[str, bytes]
    url: str = ""
    etag: str = '"one"'
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the first answers, in order, are cut."""
    statuses: list[int] = field(default_factory=list)
    """What the first answers, in order, are instead of a file."""
    ranges: bool = True
    shift: int = 0
    """By how many bytes what is answered lies behind what was asked for."""
    silent: bool = False
    asked: list[str | None] = field(default_factory=list)
    encodings: set[str | None] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass

    def log_error(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers["Range"]
        site.asked.append(wanted)
        site.encodings.add(self.headers["Accept-Encoding"])
        content = site.files.get(self.path)
        if content is None or site.statuses:
            self.send_error(site.statuses.pop(0) if content is not None else 404)
            return
        same = self.headers["If-Range"] == site.etag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) + site.shift if wanted and site.ranges and same else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", site.etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        part = content[start:]
        self.wfile.write(part[: site.cuts.pop(0)] if site.cuts else part)
        if site.silent:
            self.wfile.flush()
            site.released.wait(30)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Site]:
    """Serve `files` on a free port of this machine."""
    site = Site(files)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site})) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.released.set()
            server.shutdown()
            thread.join()
