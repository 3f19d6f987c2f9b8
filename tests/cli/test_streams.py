"""The standard streams of a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.streams import written
from app.errors import BAD_START

SAY = "import sys, os; from app.cli.streams import open_all; open_all(); {}"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-", "1>&- 2>&-"])
def test_a_stream_that_is_closed_leads_to_nowhere_and_no_file_takes_its_number(closed: str) -> None:
    code = SAY.format(
        "sys.stdin.read(); print('said'); print('said', file=sys.stderr, flush=True); "
        "number = os.open(os.devnull, os.O_RDONLY); sys.exit(number > 2 and 7)"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        7,
        "" if "1>" in closed else "said\n",
        "" if "2>" in closed else "said\n",
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_the_encoding_of_the_output_does_not_have_is_replaced_and_names_are_the_bytes_that_they_are(
    encoding: str,
) -> None:
    code = SAY.format("print('α é \\udcff'); print('α \\udcff', file=sys.stderr)")
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=True
    )
    assert done.stdout == (b"? \xe9 \xff\n" if encoding == "latin-1" else b"? ? \xff\n")
    assert done.stderr == b"? \xff\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
@pytest.mark.parametrize("buffered", [True, False])
def test_an_output_that_cannot_be_written_is_one_line_and_exit_code_2(buffered: bool) -> None:
    code = f"""
import sys
from app.cli.streams import open_all, written
open_all()
with written():
    print("said", flush={not buffered})
    sys.exit(0)
"""
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "mobilenet: cannot write the output: No space left on device\n"
    assert done.returncode == BAD_START


def test_a_reader_that_has_gone_ends_it_without_a_word() -> None:
    code = SAY.format("from app.cli.streams import written\nwith written(): print('said')")
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_error_that_is_not_of_the_output_is_left_as_it_is() -> None:
    with pytest.raises(FileNotFoundError), written():
        Path("/nowhere/at/all").read_bytes()
