"""`mobilenet classify` as people run it: here or by a service, with the same words and the same exit codes."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.measurements import UNFAMILIAR
from tests.support.data import PNG, RED, solid
from tests.support.images import encoded, photo
from tests.support.processes import (
    PATIENCE_S,
    Environment,
    Process,
    Serve,
    environment,
    heeding_interrupts,
    mobilenet,
    wait_for,
)

BUNDLED = {"PRECISION": "int8", "MODEL_WORKERS": 2}  # int8 needs no compiling
BAD = {"text.jpg": "unsupported_image", "empty.png": "empty_image", "cut.jpeg": "undecodable_image"}


@pytest.fixture(scope="module")
def process(serve: Serve) -> Iterator[Process]:
    process = serve(**BUNDLED)
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of good and bad photos."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for index in range(20):
        (folder / "sub" / f"{index:02}.png").write_bytes(encoded(photo().rotate(18 * index), "PNG"))
    (folder / "text.jpg").write_bytes(b"text")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.jpeg").write_bytes(encoded(photo(), "JPEG")[:-500])
    return folder


@pytest.fixture
def bundled(cache: Path) -> Environment:
    return environment(**BUNDLED, CACHE=cache)


def classify(env: Environment, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = mobilenet("classify", *map(str, arguments))
    return subprocess.run(command, env=env, capture_output=True, timeout=60, check=False, input=stdin)


def objects(output: bytes) -> list[Any]:
    return [json.loads(line) for line in output.splitlines()]


def without_probabilities(results: list[Any]) -> list[Any]:
    return [
        [{**one, "probability": None} for one in result.get("predictions", [])] or result["error"] for result in results
    ]


def test_here_and_by_a_service_the_answers_are_the_same(process: Process, folder: Path, bundled: Environment) -> None:
    here = classify(bundled, folder, folder / "sub" / "0*.png", folder / "missing.png", "--json", "--top-k", 3)
    there = classify(
        bundled, folder, folder / "sub" / "0*.png", folder / "missing.png", "--json", "--top-k", 3, "--url", process.url
    )
    ours, theirs = objects(here.stdout), objects(there.stdout)
    assert (here.returncode, there.returncode) == (1, 1)
    assert b"mobilenet: 4 of 34 photos failed\n" in here.stderr
    assert there.stderr == b"mobilenet: 4 of 34 photos failed\n"
    assert [one["path"] for one in ours] == [one["path"] for one in theirs]
    assert without_probabilities(ours) == without_probabilities(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        expected = [one["probability"] for one in other.get("predictions", [])]
        assert [one["probability"] for one in mine.get("predictions", [])] == pytest.approx(expected, abs=1e-6)
    failed = {Path(one["path"]).name: one["error"]["code"] for one in ours if "error" in one}
    assert failed == BAD | {"missing.png": "unreadable"}
    assert all(len(one["predictions"]) == 3 for one in ours if "error" not in one)


def test_csv_has_a_row_a_class_and_text_a_line_a_photo(process: Process, folder: Path, bundled: Environment) -> None:
    name = folder / "sub" / "00.png"
    done = classify(bundled, name, "--csv", "--url", process.url)
    header, *rows = csv.reader(done.stdout.decode().splitlines())
    assert (done.returncode, done.stderr) == (0, b"")
    assert header[:3] == ["path", "rank", "class_id"]
    assert [row[:2] for row in rows] == [[str(name), str(rank)] for rank in range(1, 6)]
    done = classify(bundled, name, folder / "text.jpg", "--top-k", 1, "--url", process.url)
    mark = "(unfamiliar) " if float(rows[0][6]) < UNFAMILIAR else ""
    assert done.stdout == f"{name}: {mark}{rows[0][4]} {float(rows[0][5]):.1%}\n".encode()
    assert done.stderr.startswith(f"{folder / 'text.jpg'}: this file is not a JPEG, PNG".encode())


def test_a_photo_may_come_by_standard_input(process: Process, bundled: Environment) -> None:
    for where in ([], ["--url", process.url]):
        done = classify(bundled, "-", "--json", *where, stdin=solid((200, 20, 20)))
        assert (done.returncode, objects(done.stdout)[0]["path"]) == (0, "-")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--top-k", "11"), b"--top-k 11 is not between 1 and 10, the number of classes"),
        (("--top-k", "0"), b"--top-k 0 is not between 1 and 10, the number of classes"),
        (("--json", "--csv"), b"--json and --csv cannot be used together"),
        (("--url", "localhost:8000"), b"localhost:8000 is not an address of a service"),
        (("--url", ""), b"'' is not an address of a service"),
        (("--url", "http://127.0.0.1:1"), b"no answer from http://127.0.0.1:1/model-info: "),
        (("nothing/*.jpg",), b"cannot look for photos in nothing/: No such file or directory"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    process: Process, bundled: Environment, arguments: tuple[str, ...], words: bytes
) -> None:
    where = () if "--url" in arguments else ("--url", process.url)
    done = classify(bundled, "-", *arguments, *where, stdin=b"photo")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.startswith(b"mobilenet: " + words)


def test_a_key_is_an_option_or_that_of_the_settings(serve: Serve, folder: Path, bundled: Environment) -> None:
    locked = serve(**BUNDLED, API_KEYS="secret,other")
    command = (folder / "sub" / "00.png", "--url", locked.url)
    without = classify(bundled, *command)
    assert (without.returncode, b"a key is needed" in without.stderr) == (2, True)
    assert classify(bundled, *command, "--api-key", "wrong").returncode == 2
    assert classify(bundled, *command, "--api-key", "other").returncode == 0
    assert classify(bundled | {"MOBILENET_API_KEYS": "secret,unknown"}, *command).returncode == 0
    locked.stop()


def test_a_service_that_is_busy_is_waited_for(serve: Serve, folder: Path, bundled: Environment) -> None:
    small = serve(**BUNDLED, MAX_QUEUE=8, MAX_IMAGES=8)
    done = classify(bundled, *[folder / "sub"] * 10, "--json", "--url", small.url, "--connections", 16)
    results = objects(done.stdout)
    assert (len(results), [one for one in results if "error" in one]) == (200, [])
    refused = [line for line in small.log.read_text().splitlines() if " 429 " in line or "status=429" in line]
    assert refused, "the queue was never full"
    small.stop()


def watched(command: list[str], env: Environment) -> tuple[bytes, bytes]:
    """Run with a terminal for its standard error; return what it wrote to its output and what the terminal showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=theirs) as popen:
        os.close(theirs)
        out, shown = popen.communicate(timeout=60)[0], b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # how a terminal ends
            os.close(ours)
    return out, shown


def test_progress_is_shown_to_people_and_spoils_no_output(process: Process, folder: Path, bundled: Environment) -> None:
    command = mobilenet("classify", str(folder / "sub"), "--json", "--url", process.url)
    out, shown = watched(command, bundled | {"TERM": "xterm", "COLUMNS": "80"})
    assert len(objects(out)) == 20
    assert b"100%" in shown
    assert b"%" not in classify(bundled, folder / "sub", "--json", "--url", process.url).stderr


def test_a_reader_that_has_enough_ends_it_without_a_word(process: Process, folder: Path, bundled: Environment) -> None:
    command = mobilenet("classify", *[str(folder / "sub")] * 50, "--json", "--url", process.url)
    with subprocess.Popen(command, env=bundled, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        assert popen.stderr is not None
        popen.stdout.readline()
        popen.stdout.close()
        assert popen.wait(PATIENCE_S) == 1
        assert popen.stderr.read() == b""


def test_ctrl_c_ends_it_and_its_processes(folder: Path, bundled: Environment, tmp_path: Path) -> None:
    command = mobilenet("classify", *[str(folder / "sub")] * 500, "--json")
    with heeding_interrupts(), (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(command, env=bundled, stdout=subprocess.PIPE, stderr=log)
    with started as popen:
        assert popen.stdout is not None
        popen.stdout.readline()
        process = Process(popen, "", tmp_path / "log")
        wait_for(lambda: len(process.workers()) == 1 + 2)  # a template, and a worker for each thread
        workers = process.workers()
        popen.send_signal(signal.SIGINT)
        rest, _ = popen.communicate(timeout=60)  # read on: a pipe that is full would keep it from ending
        assert popen.returncode == 130
        assert len(rest.splitlines()) < 10_000 - 1
    assert not [number for number in workers if alive(number)]


def alive(number: int) -> bool:
    try:
        return "app.runtime.worker" in Path(f"/proc/{number}/cmdline").read_text()
    except OSError:
        return False


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        mobilenet(*arguments), env=environment(**settings), capture_output=True, text=True, timeout=240, check=False
    )


def test_classify_prints_the_classes_of_files_and_fails_for_those_that_it_cannot_read(
    server: Process, own: dict[str, object], cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "text.jpg").write_bytes(b"text")
    served = httpx.post(f"{server.url}/predict", content=RED, headers=PNG).json()["results"][0]["predictions"][0]
    done = run("classify", str(tmp_path / "red.png"), str(tmp_path / "text.jpg"), "--top-k", "1", **own, CACHE=cache)
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path / 'red.png'}: {served['label']} {served['probability']:.1%}\n"
    assert f"{tmp_path / 'text.jpg'}: " in done.stderr


def test_info_prints_what_a_variant_costs_layer_by_layer() -> None:
    done = run("info", "--alpha", "0.5", "--resolution", "160", "--layers")
    assert done.returncode == 0
    for number in ("76,524,800", "153,049,600", "1,342,536", "1,331,592", "conv_pw_13"):
        assert number in done.stdout
    # A pipe cuts no line: strides, both shapes, share, activations, and the standard convolution with its ratio.
    line = next(line for line in done.stdout.splitlines() if "conv_dw_2" in line)
    cells = re.split(r"  +", line.strip())
    assert cells[:5] == ["conv_dw_2", "depthwise", "2", "80² × 32", "40² × 32"]
    assert cells[5:] == ["460,800", "0.6%", "416", "204,800", "29,491,200", "0.0156"]
    for ablation in (
        "full convolution +622,592,000 +8.136",
        "shallow +42,604,800",
        "stride on the pointwise +79,116,800",
    ):
        assert re.search(ablation, done.stdout)
    wrong = run("info", "--alpha", "0.3")
    assert (wrong.returncode, wrong.stderr) == (2, "mobilenet: alpha 0.3 is not one of 1, 0.75, 0.5, 0.25\n")
