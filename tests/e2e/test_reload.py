"""A retrained model goes live in the real process: under load, without a lost request, and only if it is right."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.engines.files import sha256
from tests.support import needs
from tests.support.data import PNG, RED
from tests.support.processes import PATIENCE_S, Process, Serve, environment, mobilenet, wait_for
from tests.support.weights import CLASSES, Converted, Saved

pytestmark = pytest.mark.tensorflow

CONFIGURATIONS = [
    {"MODEL_WORKERS": 1},
    {"MODEL_WORKERS": 0},
    {"HTTP_WORKERS": 2},
    pytest.param({"ENGINE": "openvino"}, marks=needs.OPENVINO.mark()),
]
Answer = tuple[tuple[str, float], ...]


@dataclass
class Site:
    """A running service, and the files that its settings name, of which there are two versions."""

    process: Process
    weights: Path
    labels: Path
    versions: Sequence[Path]

    def install(self, version: int) -> str:
        """Put a version in place as operations.md says, and return the SHA-256 of its weights."""
        labels = "\n".join(f"version {version}, class {index}" for index in range(CLASSES))
        for path, content in ((self.weights, self.versions[version].read_bytes()), (self.labels, labels.encode())):
            beside = path.with_name("beside")
            beside.write_bytes(content)
            beside.rename(path)
        return sha256(self.weights)

    def damage(self) -> None:
        """Put half a file in the place of the weights."""
        whole = self.versions[0].read_bytes()
        self.weights.write_bytes(whole[: len(whole) // 2])

    def hangup(self) -> str:
        """Send SIGHUP; return the line of the log that says what came of it."""
        before = self.lines()
        self.process.popen.send_signal(signal.SIGHUP)
        wait_for(lambda: len(self.lines()) > len(before))
        return self.lines()[-1]

    def reload(self) -> str:
        """Run `mobilenet reload`; return what it prints."""
        done = reload(self.process.popen.pid)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def lines(self) -> list[str]:
        """Return the lines about reloads."""
        return [line for line in self.process.log.read_text().splitlines() if "reloaded: " in line or " not " in line]

    def metric(self, name: str) -> float:
        """Return a sample of `/metrics`; those of all HTTP processes are known after a second."""
        lines = httpx.get(f"{self.process.url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def sha256(self) -> str:
        """Return what `/model-info` says."""
        return str(httpx.get(f"{self.process.url}/model-info").json()["weights_sha256"])


def reload(pid: int) -> "subprocess.CompletedProcess[str]":
    """Run `mobilenet reload`."""
    command = mobilenet("reload", str(pid))
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture(scope="module")
def versions(
    saved: Saved, float32_model: Converted, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Sequence[Path]:
    """Return the weights of two networks that differ in the order of their classes; the cache has both compiled."""
    import h5py

    old, new = saved.folder / "network.weights.h5", tmp_path_factory.mktemp("new") / "new.weights.h5"
    shutil.copyfile(old, new)
    model = float32_model.path.read_bytes()
    with h5py.File(new, "r+") as file:
        for path in ("layers/conv2d_14/vars/0", "layers/conv2d_14/vars/1"):
            array = file[path][...]
            file[path][...] = array[..., ::-1]
            before, after = (np.moveaxis(one, -1, 0).tobytes() for one in (array, array[..., ::-1]))
            assert model.count(before) == 1
            model = model.replace(before, after)
    name = float32_model.path.name.replace(sha256(old)[:16], sha256(new)[:16])
    (cache / name).write_bytes(model)
    return old, new


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=str)
def site(
    request: pytest.FixtureRequest,
    serve: Serve,
    own: dict[str, object],
    versions: Sequence[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    made = Site(Process(None, "", folder), folder / "own.weights.h5", folder / "labels.txt", versions)  # type: ignore[arg-type]
    made.install(0)
    made.process = serve(**own | {"WEIGHTS": made.weights, "LABELS": made.labels}, **request.param)
    yield made
    assert made.process.stop() == 0
    assert "Traceback" not in made.process.log.read_text()


def answered(body: Mapping[str, Any]) -> Answer:
    return tuple((one["label"], round(one["probability"], 4)) for one in body["results"][0]["predictions"])


def version_of(answer: Answer) -> int:
    """Return which version the most probable label is of."""
    return int(answer[0][0].removeprefix("version ").partition(",")[0])


@contextmanager
def asking(site: Site, answers: list[tuple[float, Answer]]) -> Iterator[None]:
    """Ask again and again on four connections that stay open; note when each request began, and its answer."""
    enough = threading.Event()

    def ask() -> None:
        connection = HTTPConnection(site.process.url.removeprefix("http://"), timeout=30)
        while not enough.is_set():
            began = time.monotonic()
            connection.request("POST", "/predict", RED, PNG)  # a lost connection fails the test
            response = connection.getresponse()
            body = json.loads(response.read())
            assert response.status == 200, body
            answers.append((began, answered(body)))
            time.sleep(0.01)
        connection.close()

    with ThreadPoolExecutor(4) as threads:
        clients = [threads.submit(ask) for _ in range(4)]
        try:
            yield
        finally:
            enough.set()
        for client in clients:
            client.result()


def test_under_load_every_answer_is_that_of_one_model_and_after_the_line_of_the_new_one(site: Site) -> None:
    answers: list[tuple[float, Answer]] = []
    reloads = site.metric('mobilenet_reloads_total{outcome="swapped"}')
    swaps: list[tuple[float, float]] = []
    with asking(site, answers):
        wait_for(lambda: len(answers) > 20)
        for version, told in ((1, site.hangup), (0, site.reload)):
            expected = site.install(version)
            began = time.monotonic()
            assert f"own.weights.h5, α 0.25 @ 64, SHA-256 {expected}" in told()
            swaps.append((began, time.monotonic()))
            there = len(answers)
            wait_for(lambda there=there: len(answers) > there + 20)  # type: ignore[misc]
            assert httpx.get(f"{site.process.url}/readyz").status_code == 200
            assert site.sha256() == expected
    kinds = {answer for _, answer in answers}
    assert len(kinds) == 2, "two models, of which each has its own labels and probabilities"
    ends = [*(began for began, _ in swaps[1:]), time.monotonic()]
    for (_, done), end, version in zip(swaps, ends, (1, 0), strict=True):
        assert {version_of(answer) for began, answer in answers if done < began < end} == {version}
    wait_for(lambda: site.metric('mobilenet_reloads_total{outcome="swapped"}') == reloads + 2)
    assert site.metric("mobilenet_model_info") == 1


def test_damaged_weights_leave_the_old_ones_serving_and_are_one_line_and_counted(site: Site) -> None:
    expected = site.sha256()
    refused, lines = site.metric('mobilenet_reloads_total{outcome="refused"}'), len(site.process.log.read_text())
    answers: list[tuple[float, Answer]] = []
    with asking(site, answers):
        site.damage()
        assert "not reloaded; the old model keeps serving: own.weights.h5 is not a Keras" in site.hangup()
    assert len({version_of(answer) for _, answer in answers}) == 1
    assert site.sha256() == expected
    assert site.metric('mobilenet_reloads_total{outcome="refused"}') == refused + 1
    said = [line for line in site.process.log.read_text()[lines:].splitlines() if "'/" not in line]
    assert len(said) == 1, said
    done = reload(site.process.popen.pid)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mobilenet: not reloaded: own.weights.h5 is not a Keras weight file")


def test_the_command_says_that_there_is_no_such_service() -> None:
    done = reload(os.getpid())
    assert (done.returncode, done.stdout) == (2, "")
    assert "service of this user" in done.stderr


@pytest.fixture
def stale(
    own: dict[str, object], float32_model: Converted, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Settings with a cache that knows the first version alone, and with a folder for temporary files."""
    shutil.copytree(float32_model.cache, tmp_path / "cache")
    shutil.copyfile(saved.folder / "network.weights.h5", tmp_path / "own.weights.h5")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return own | {"WEIGHTS": tmp_path / "own.weights.h5", "CACHE": tmp_path / "cache"}


@pytest.mark.parametrize("processes", [{"MODEL_WORKERS": 0}, {"HTTP_WORKERS": 2}], ids=str)
def test_told_to_stop_while_a_reload_compiles_all_of_it_ends_and_nothing_is_left(
    processes: dict[str, int], serve: Serve, stale: dict[str, object], versions: Sequence[Path], tmp_path: Path
) -> None:
    process = serve(**stale, **processes)
    cache, temporary, weights = (tmp_path / name for name in ("cache", "temporary", "own.weights.h5"))
    compiled = [path.name for path in cache.iterdir()]
    shutil.copyfile(versions[1], tmp_path / "beside")
    (tmp_path / "beside").rename(weights)
    process.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: any("app.engines.tflite.convert" in command for command in process.tree().values()))
    assert httpx.post(f"{process.url}/predict", content=RED, headers=PNG).status_code == 200
    running = process.tree()
    assert process.stop() == 0
    wait_for(lambda: not [pid for pid in running if Path(f"/proc/{pid}").exists()])
    assert "reloaded" not in process.log.read_text()
    assert "Traceback" not in process.log.read_text()
    assert [path.name for path in (*cache.iterdir(), *temporary.iterdir())] == compiled
