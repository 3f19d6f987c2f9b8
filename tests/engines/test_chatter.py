"""What native libraries say by themselves is not heard, and every other line is."""

import os
import re
import subprocess
import sys

import pytest

from app.config import MODEL_WEIGHTS
from app.engines.chatter import TENSORFLOW, hushed
from tests.support.data import REPOSITORY

LOADS = f"""
import os, sys
from pathlib import Path
from app.engines.litert import LiteRTEngine
import numpy as np
engine = LiteRTEngine(Path({str(MODEL_WEIGHTS / "imagenette_0.25.int8.tflite")!r}), 1, "int8")
engine.with_threads(2).predict([np.zeros((32, 32, 3), np.uint8)])
if "closed" not in sys.argv:
    os.write(2, b"and this is heard\\n")
print("done")
"""


def test_litert_says_nothing_and_later_lines_are_heard() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "and this is heard\n")


def test_a_model_is_loaded_where_standard_error_is_closed() -> None:
    command = f"exec {sys.executable} -c '{LOADS.replace(chr(39), chr(34))}' closed 2>&-"
    done = subprocess.run(["sh", "-c", command], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "done\n"


def test_lines_that_do_not_match_are_passed_on_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    with hushed(re.compile(rb"INFO: ")):
        os.write(2, b"INFO: ")  # as LiteRT writes, in pieces
        os.write(2, b"a delegate\nERROR: damaged\n\nnot an INFO: \xc3\xa9\nwithout an end")
    os.write(2, b"\nafter")
    assert capfd.readouterr().err == "ERROR: damaged\n\nnot an INFO: é\nwithout an end\nafter"


def test_more_than_a_pipe_holds_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with hushed(re.compile(rb"x")):
        os.write(2, b"line\n" * 100_000)
    assert capfd.readouterr().err == "line\n" * 100_000


def test_an_error_ends_it_too_and_is_raised(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), hushed(re.compile(rb"x")):
        raise ValueError("wrong")
    os.write(2, b"x is heard")
    assert capfd.readouterr().err == "x is heard"


@pytest.mark.timeout(20)  # waiting for the child would take a minute
def test_a_process_that_was_started_meanwhile_is_not_waited_for() -> None:
    with hushed(re.compile(rb"x")):
        child = subprocess.Popen(["sleep", "60"])
    child.kill()
    child.wait()


@pytest.mark.parametrize(
    ("line", "dropped"),
    [
        (b"I0000 00:00:1795955269.383809   23709 cudart_stub.cc:31] Could not find cuda drivers", True),
        (b"E0000 00:00:1.2 3 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error", True),
        (b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR", True),
        (b"E0000 00:00:1.2 3 executor.cc:52] out of memory", False),
        (b"W0000 00:00:1.2 3 kernel.cc:1] something is wrong", False),
        (b"mobilenet: model_weights is damaged", False),
    ],
)
def test_what_tensorflow_says_of_itself_is_told_from_its_errors(line: bytes, dropped: bool) -> None:
    assert bool(TENSORFLOW.match(line)) is dropped
