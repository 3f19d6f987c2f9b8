"""When Python looks for garbage."""

import subprocess
import sys


def test_garbage_is_looked_for_again_once_the_service_has_started() -> None:
    program = (
        "import gc\n"
        "from app.server.garbage import collect_none, collect_seldom\n"
        "collect_none()\n"
        "print(gc.isenabled())\n"
        "collect_seldom()\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 0, gc.get_threshold()[0] > 700)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "True True True"]
