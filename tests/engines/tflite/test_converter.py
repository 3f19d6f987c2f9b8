"""One process converts several models; one that fails costs the others nothing, and nothing of it is left."""

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engines.tflite import converter as module
from app.engines.tflite.converter import Converter
from app.errors import StartError

STAND_IN = f"""#!{sys.executable}
import json, os, sys, time
for line in sys.stdin:
    source, do = json.loads(line)
    if do == "end":
        sys.exit("some line\\nno memory is left")
    if do == "hang":
        time.sleep(1000)
    answer = {{"error": f"{{source}} is damaged"}} if do == "fail" else {{
        "seconds": os.getpid(), "images": 0, "same_top1": 0, "largest_difference": 0}}
    print(json.dumps(answer), flush=True)
"""
"""Takes and answers what the process with TensorFlow does. The seconds are its number."""


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Converter]:
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    with Converter() as found:
        yield found


def process(converter: Converter) -> int:
    """Have a model converted; return the number of the process that did it."""
    return int(converter.convert(Path("weights.h5"), "convert").seconds)


def is_gone(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    return False


def test_one_process_converts_all_and_goes_on_after_a_file_that_is_wrong(converter: Converter) -> None:
    first = process(converter)
    with pytest.raises(StartError, match=r"^weights\.h5 is damaged$"):
        converter.convert(Path("weights.h5"), "fail")
    assert process(converter) == first


def test_a_process_that_ends_says_why_and_another_one_goes_on(converter: Converter) -> None:
    first = process(converter)
    with pytest.raises(StartError, match=r"^no memory is left$"):
        converter.convert(Path("weights.h5"), "end")
    assert process(converter) != first
    assert is_gone(first)


def test_what_takes_too_long_is_ended(converter: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    first = process(converter)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    with pytest.raises(StartError, match=r"^compiling weights\.h5 took more than 0\.1 s$"):
        converter.convert(Path("weights.h5"), "hang")
    assert is_gone(first)


def test_the_process_ends_with_the_context_and_with_whoever_interrupts_it(
    converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with converter:
        first = process(converter)
    assert is_gone(first)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    second = process(converter)
    monkeypatch.setattr(select, "select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        converter.convert(Path("weights.h5"), "hang")
    assert is_gone(second)
