"""The standard streams of a command."""

import subprocess
import sys

import pytest

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
