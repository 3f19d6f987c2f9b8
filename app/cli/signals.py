"""Signals that end a command."""

import signal
import sys


def end_in_order(number: signal.Signals, code: int) -> None:
    """Have a signal end this process by an exception, so that its other processes end and half-written files go."""
    signal.signal(number, lambda *_: sys.exit(code))
