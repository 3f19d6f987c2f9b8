"""The standard streams of a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.streams import printable, say, tell, written
from app.errors import BAD_START, StartError

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


@pytest.mark.parametrize(
    ("encoding", "out", "err"),
    [
        ("latin-1", b"? \xe9\xff ?\n", b"\\u03b1 \xe9\xff \\ud800\n"),
        ("ascii", b"? ?\xff ?\n", b"\\u03b1 \\xe9\xff \\ud800\n"),
        ("utf-8", "α é".encode() + b"\xff ?\n", "α é".encode() + b"\xff \\ud800\n"),
    ],
)
def test_what_an_encoding_does_not_have_is_replaced_and_names_are_the_bytes_that_they_are(
    encoding: str, out: bytes, err: bytes
) -> None:
    code = SAY.format("text = 'α é\\udcff \\ud800'; print(text); print(text, file=sys.stderr)")
    variables = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (out, err)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;pwned\x07.jpg", "a\\x1b]0;pwned\\x07.jpg"),
        ("two\nlines\r\t\x00\x7f", "two\\nlines\\r\\t\\x00\\x7f"),
        ("\x9b31m\u2028\u202egpj.exe\u2066", "\\x9b31m\\u2028\\u202egpj.exe\\u2066"),
    ],
)
def test_what_would_move_the_cursor_or_turn_the_text_around_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


KEPT = [
    "Müller ß é",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family, joined by characters that are not seen
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
    "❤\ufe0f 写真\u3000テスト 한국어",
    "می\u200cخواهم",
    "9.41\u202fAM",  # a screenshot of macOS
    "n\udcffme",
    r"C:\x1b",
]


@pytest.mark.parametrize("text", KEPT)
def test_letters_of_all_languages_emoji_and_bytes_of_names_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


def test_what_is_said_is_one_line_and_an_error_has_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb")
    say("c\x1bd", sys.stderr)
    tell(StartError("e\x1b is wrong\nf is wrong"))
    assert capsys.readouterr() == ("a\\nb\n", "c\\x1bd\nmobilenet: e\\x1b is wrong\nmobilenet: f is wrong\n")


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_what_else_was_wrong_is_said_too() -> None:
    code = """
from app.cli import main
from app.errors import StartError
def command():
    print("a row")
    raise StartError("the real reason")
main.cli = command
main.main()
"""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", code]
        variables = os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run(command, env=variables, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "mobilenet: the real reason\nmobilenet: cannot write the output: No space left on device\n"
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
