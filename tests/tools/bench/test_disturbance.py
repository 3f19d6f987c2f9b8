"""The work of others is told from our own."""

import subprocess
import sys
import time

from tools.bench import disturbance
from tools.bench.disturbance import Others


def test_the_work_of_others_is_told_from_our_own() -> None:
    spinning = "import time\nwhile True: time.process_time()"
    with subprocess.Popen([sys.executable, "-c", spinning]) as child:
        others = Others()
        time.sleep(0.5)
        spent = disturbance._own_s()
        time.sleep(0.5)
        ours = disturbance._own_s() - spent
        child.kill()
    assert 0 < ours < 1
    assert 0 <= others.share(1) <= 1
