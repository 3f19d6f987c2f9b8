"""Ray: one of this machine, which begins and ends with the job, or a cluster that is there already."""

import logging
import os
import shutil
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any, Final

from app.errors import StartError

LOCAL: Final = "local"
OBJECTS_BYTES: Final = 100 * 2**20
"""Memory of Ray's object store on this machine; only counts pass through it."""
QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the default of its next version; without it, this one prints a warning
}
ATTEMPTS: Final = 3
"""Ray gives its processes 30 seconds to start, which is too little on a busy machine and cannot be changed."""
ALONE: Final = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then listens on the loopback interface only, as on macOS
    "RAY_AUTH_MODE": "token",
}
"""Further settings of a Ray that runs on this machine alone: no other machine and no other user can reach it."""
CONNECT_S: Final = 10.0
LOGGERS: Final = ("ray", "ray.data")


@contextmanager
def joined(address: str | None, cpus: int, verbose: bool) -> Iterator[Any]:
    """Connect to the cluster at an address, or start Ray on this machine; yield Ray, and leave it or end it.

    What it logs goes to a temporary folder, unless `verbose` has it shown. Raises `StartError`.
    """
    environment = QUIET if address else {**QUIET, **ALONE, "RAY_AUTH_TOKEN": token_hex(32)}
    for name, value in environment.items():  # read while Ray is imported
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    folder = None if address else tempfile.mkdtemp(prefix="mobilenet-ray-")
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        on_end = signal.getsignal(signal.SIGTERM)
        try:
            _init(ray, address, folder, cpus, verbose)
            signal.signal(signal.SIGTERM, on_end)  # Ray has put its own in its place
            yield ray
        finally:
            ray.shutdown()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)


def _init(ray: Any, address: str | None, folder: str | None, cpus: int, verbose: bool) -> None:
    level = logging.INFO if verbose else logging.CRITICAL
    said = {"logging_level": level, "log_to_driver": verbose}
    try:
        if address:
            _check_reachable(address)
            ray.init(address=address, **said)
        else:
            _start(ray, folder, cpus, said)
    except Exception as exc:  # Ray raises this class itself
        raise StartError(f"Ray {f'at {address} cannot be reached' if address else 'cannot be started'}: {exc}") from exc
    for name in () if verbose else LOGGERS:
        logging.getLogger(name).setLevel(level)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _check_reachable(address: str) -> None:
    """Raise `OSError` if nothing listens at an address of a host and a port; Ray itself would wait for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()  # an IPv6 address has brackets


def _start(ray: Any, folder: str | None, cpus: int, said: dict[str, Any]) -> None:
    """Start Ray on this machine, where only this machine can reach it. On a busy one it takes several attempts."""
    for attempt in range(ATTEMPTS):
        try:
            ray.init(
                address=LOCAL,
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECTS_BYTES,
                _temp_dir=folder,
                **said,
            )
        except Exception:
            ray.shutdown()
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return
