"""CPU seconds are those of this process and of the processes that it started, and of theirs."""

import subprocess
import sys

from app.batch.cpu import cpu_s

BUSY = "import time\nwhile time.process_time() < 0.35: pass\nprint(flush=True)\ninput()"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])"


def test_what_a_process_of_a_process_takes_counts() -> None:
    before = cpu_s()
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        assert popen.stdin
        assert popen.stdout
        popen.stdout.readline()
        assert cpu_s() - before >= 0.3  # of 0.35; those of other processes come in ticks of 10 ms
        popen.stdin.close()
