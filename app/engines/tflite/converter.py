"""A process with TensorFlow that converts one model after another. It imports TensorFlow once for all of them."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

from app.engines.files import temporary
from app.engines.tflite import convert
from app.engines.tflite.convert import ConversionReport
from app.errors import StartError

TIMEOUT_S = 1800
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
"""Has TensorFlow say errors only, and look for no GPU."""


class Converter:
    """Converts in a process that starts with the first model, and again after it ended, and ends with the context."""

    def __init__(self) -> None:
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def convert(self, source: Path, *arguments: object) -> ConversionReport:
        """Have weights converted, with the arguments that `convert` takes beside their path; return how it went.

        Raises `StartError`, whose message is one line, if that fails, ends the process or takes too long.
        """
        try:
            process = self._process = self._process or _Process.start()
            reply = process.ask([str(source), *map(str, arguments)])
            if not reply:
                raise StartError(process.last_words())
        except BaseException:
            self._end()
            raise
        found = json.loads(reply)
        if "error" in found:
            raise StartError(found["error"])
        return ConversionReport(**found)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.end()


@dataclass(frozen=True, slots=True)
class _Process:
    popen: "subprocess.Popen[str]"
    errors: IO[str]

    @classmethod
    def start(cls) -> Self:
        command, env, pipe = [sys.executable, "-m", convert.__name__], os.environ | QUIET, subprocess.PIPE
        with temporary():
            errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it stays as long as the process
        try:
            return cls(subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=errors, text=True), errors)
        except OSError as exc:
            errors.close()
            raise StartError(f"cannot start the process that compiles: {exc.strerror}") from exc

    def ask(self, arguments: Sequence[str]) -> str:
        """Return the line that the process answers; it is empty if the process ended."""
        asking, answers = cast("IO[str]", self.popen.stdin), cast("IO[str]", self.popen.stdout)
        try:
            print(json.dumps(arguments), file=asking, flush=True)
        except BrokenPipeError:
            return ""
        # A thread that waits would be in the way of whoever forks this process.
        if not select.select([answers], [], [], TIMEOUT_S)[0]:
            raise StartError(f"compiling {Path(arguments[0]).name} took more than {TIMEOUT_S} s")
        return answers.readline()

    def last_words(self) -> str:
        """Return the last line that the process, which ended, wrote to standard error, or else its exit code."""
        self.popen.communicate()
        self.errors.seek(0)
        *_, last = [f"exit code {self.popen.returncode}", *self.errors.read().strip().splitlines()]
        return last

    def end(self) -> None:
        self.popen.kill()
        self.popen.communicate()
        self.errors.close()
