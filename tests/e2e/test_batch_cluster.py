"""A node of a cluster that is killed in the middle of a job costs only what it was at: all rows are there."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.support import needs
from tests.support.data import REPOSITORY
from tests.support.images import encoded, photo
from tests.support.processes import Environment, environment, mobilenet, wait_for

pytestmark = [pytest.mark.e2e, needs.RAY.mark(), needs.NODES.mark(), pytest.mark.timeout(900)]

START_S = 300
PHOTOS = 400


@pytest.fixture
def settings(cache: Path) -> Environment:
    ray = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    return environment(PRECISION="int8", CACHE=cache) | ray | {"PYTHONDONTWRITEBYTECODE": ""}


@pytest.fixture
def cluster(settings: Environment) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.e2e.three_nodes"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as popen:
        assert popen.stdin
        assert popen.stdout
        line = next((line for line in popen.stdout if line.startswith("{")), "")
        assert line, "the cluster did not start"
        yield json.loads(line)
        popen.stdin.close()


def test_a_node_that_is_killed_costs_no_row(cluster: dict[str, Any], settings: Environment, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(PHOTOS):
        (tmp_path / "photos" / f"{number}.png").write_bytes(encoded(photo().rotate(number), "PNG"))
    output = tmp_path / "out"
    arguments = ("batch", str(tmp_path / "photos"), "--output", str(output), "--rows", "4")
    command = mobilenet(*arguments, "--address", cluster["address"])
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as popen:
        wait_for(lambda: len(list(output.glob("part-*"))) > 10 or popen.poll() is not None, START_S)
        os.kill(cluster["raylets"][-1], signal.SIGKILL)
        before = len(list(output.glob("part-*")))
        said, _ = popen.communicate(timeout=START_S)
    assert popen.returncode == 0, said
    assert 10 < before < PHOTOS / 4
    paths = parquet.read_table(output).column("path").to_pylist()
    assert sorted(paths) == sorted(map(str, (tmp_path / "photos").iterdir()))
