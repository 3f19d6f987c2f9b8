"""`mobilenet batch` on Ray of this machine: killed, resumed while a model ends, and with the answers of the service."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.support import corpus, needs
from tests.support.data import SAMPLES, SHARED
from tests.support.images import WRITTEN, encoded, photo
from tests.support.processes import Environment, Process, Serve, environment, mobilenet

pytestmark = [pytest.mark.e2e, needs.RAY.mark()]

BUNDLED = {"PRECISION": "int8", "MODEL_WORKERS": 2}
START_S = 200
"""On a busy machine, the processes of Ray take their time."""
Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return photos of every format, damaged ones, and the reference photos where they are."""
    folder = tmp_path_factory.mktemp("photos")
    for form in WRITTEN:
        (folder / f"{form}.{form.lower()}").write_bytes(encoded(photo(), form))
    for number, case in enumerate(corpus.cut()):
        (folder / f"cut {number}.jpg").write_bytes(case.data)
    for path in [*SAMPLES.glob("*"), *(SHARED / "odd").glob("*")]:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def bundled(cache: Path) -> Environment:
    return environment(**BUNDLED, CACHE=cache) | {"PYTHONDONTWRITEBYTECODE": ""}  # else Ray's start takes a minute


def command(folder: Path, output: Path, *more: str) -> list[str]:
    return mobilenet("batch", str(folder), "--output", str(output), "--rows", "4", *more)


ACTOR = """
import os, signal, sys
from app import environment
from app.batch import job
from app.batch.classifier import NUMBER, Classifier
from app.batch.job import Order
from app.batch.source import Source

settings, (folder, output) = environment.load(), sys.argv[1:]
all_of_it = job.prepare(Order(Source((folder,), 4), output), settings)
actor = Classifier(all_of_it, settings)
for number in range(3):
    actor({NUMBER: number})
os.kill(os.getpid(), signal.SIGKILL)
"""
"""The same job without Ray, which is what takes CPU seconds to start: an actor that ends after its first files."""


@pytest.fixture(scope="module")
def killed(folder: Path, bundled: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output of a job that was killed after its first files, and in the middle of another one."""
    output = tmp_path_factory.mktemp("job") / "out"
    done = subprocess.run([sys.executable, "-c", ACTOR, folder, output], env=bundled, timeout=START_S, check=False)
    assert done.returncode == -signal.SIGKILL
    half = output / f".{'1a' * 16}.part"
    half.write_bytes(b"half")
    os.utime(half, (time.time() - 7200,) * 2)
    return output


DYING = """
import os, signal
from contextlib import suppress
from pathlib import Path
from app.batch import job
from app.batch.classifier import Classifier
from app.cli.main import main

class Dying(Classifier):
    def __init__(self, work, settings):
        super().__init__(work, settings)
        with suppress(FileExistsError):
            Path(f"{work.sink.folder}.died").touch(exist_ok=False)
            template = self._backend._pipeline._template
            os.kill(template.pid, signal.SIGKILL)
            template.wait()

job.Classifier = Dying
main()
"""
"""The same command, with the first actor left without the process that starts the processes of its model."""


@pytest.fixture(scope="module")
def resumed(folder: Path, killed: Path, bundled: Environment) -> tuple[Path, str]:
    """Return the same output, once the job was resumed although a model ended, and what was printed."""
    before = [path for path in killed.glob("part-*") if parquet.read_table(path).num_rows]  # each is whole
    assert len(before) == 3 < len(list(folder.iterdir())) / 4
    _, *arguments = command(folder, killed, "--resume")
    done = subprocess.run(
        [sys.executable, "-c", DYING, *arguments],
        env=bundled,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert killed.with_name("out.died").exists()
    return killed, done.stdout + done.stderr


def rows(output: Path) -> dict[str, Row]:
    table = parquet.read_table(output)
    found = {row["path"]: row for row in table.to_pylist()}
    assert len(found) == table.num_rows, "no photo has two rows"
    return found


@pytest.mark.timeout(600)
def test_a_job_that_was_killed_is_resumed_and_has_a_row_for_each_photo(folder: Path, resumed: tuple[Path, str]) -> None:
    output, said = resumed
    names = {str(path) for path in folder.iterdir()}
    found = rows(output)
    assert set(found) == names
    errors = [row["error"] for row in found.values() if row["error"] is not None]
    failed = len(errors)
    assert "internal_error" not in errors, "no photo is to blame for a model that ended"
    assert f"mobilenet: {failed:,} of {len(names):,} photos failed\n" in said
    assert "written before" in said
    assert "undecodable_image" in said
    assert "MACs" in said
    assert "Traceback" not in said
    assert not list(output.glob("*.part"))


@pytest.fixture(scope="module")
def process(serve: Serve) -> Iterator[Process]:
    process = serve(**BUNDLED)
    yield process
    assert process.stop() == 0


@pytest.mark.timeout(600)
def test_rows_have_the_answers_of_the_service_to_the_bit(resumed: tuple[Path, str], process: Process) -> None:
    with process.client() as client:
        for name, row in rows(resumed[0]).items():
            response = client.post("/predict", content=Path(name).read_bytes())
            answer = json.loads(response.text)
            if response.status_code != 200:
                assert (row["error"], row["predictions"]) == (answer["code"], None)
                assert row["detail"] == answer["detail"] or row["error"] == "empty_image"  # an empty body is its own
                continue
            (result,) = answer["results"]
            assert row["predictions"] == result["predictions"], name
            assert row["familiarity"] == result.get("familiarity")
            assert row["macs"] == answer["cost"]["macs"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--address", "127.0.0.1:1"), "mobilenet: Ray at 127.0.0.1:1 cannot be reached: "),
        (("--gpus",), "mobilenet: --gpus needs MOBILENET_ENGINE=tensorflow"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    folder: Path, bundled: Environment, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    wanted = command(folder, tmp_path / "out", *arguments)
    done = subprocess.run(wanted, env=bundled, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
