"""A client inside the network of a replicated service: balances over the addresses of its name, and asks again.

Runs in the service's own image, so with the standard library alone. Each request has a connection of its own to an
address that the name has now. One that breaks before it is answered is asked again; `/predict` changes nothing, so that
is safe. Prints `answered` at the first answer, or `unanswered` where a request was given up before. Goes on until its
standard input ends; then prints what became of all as JSON.
"""

import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

CLIENTS = 8
PAUSE_S = 0.05
TRIES = 20
UNANSWERED = "unanswered"


def ask(name: str, photo: bytes) -> tuple[str, str, list[str]]:
    """Return the final status or `UNANSWERED`, the address that was asked last, and how earlier tries failed."""
    failed: list[str] = []
    for _ in range(TRIES):
        address = ""
        try:
            address = random.choice(socket.gethostbyname_ex(name)[2])
            connection = HTTPConnection(address, 8000, timeout=15)
            connection.request("POST", "/predict", photo, {"Content-Type": "image/png", "Connection": "close"})
            answer = connection.getresponse()
            json.loads(answer.read())
            return str(answer.status), address, failed
        except (OSError, HTTPException) as exc:
            failed.append(type(exc).__name__)
            time.sleep(0.2)
    return UNANSWERED, address, failed


def main(name: str, path: str) -> None:
    photo, begun, ended = Path(path).read_bytes(), threading.Event(), threading.Event()
    statuses, addresses, failures = Counter[str](), Counter[str](), Counter[str]()

    def client() -> None:
        while not ended.is_set():
            status, address, failed = ask(name, photo)
            statuses[status] += 1
            addresses[address] += 1
            failures.update(failed)
            begun.set()
            time.sleep(PAUSE_S)

    with ThreadPoolExecutor(CLIENTS) as threads:
        clients = [threads.submit(client) for _ in range(CLIENTS)]
        begun.wait()
        print(UNANSWERED if UNANSWERED in statuses else "answered", flush=True)
        sys.stdin.read()
        ended.set()
        for done in clients:
            done.result()
    print(json.dumps({"statuses": statuses, "addresses": addresses, "failures": failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
