"""Whichever of several processes is asked, the answer is the sum over all of them, and no counter ever falls."""

import logging
import shutil
from pathlib import Path

import pytest

from app.errors import StartError
from app.observability import snapshots
from app.observability.metrics import Metrics
from app.observability.snapshots import Snapshots, forget, shared_folder
from tests.support.client import parsed

REQUESTS = "mobilenet_requests_total", "/predict", "200"
IN_FLIGHT = ("mobilenet_requests_in_flight",)


def process(folder: Path, number: int) -> Metrics:
    """Return the metrics of another of several processes."""
    return Metrics(Snapshots(folder / str(number)))


def count(metrics: Metrics, requests: int = 1) -> None:
    for _ in range(requests):
        metrics.in_flight.add()
        metrics.requests("/predict", "200").add()
        metrics.seconds("/predict", "0.5/160").observe(0.003)


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return parsed(metrics.render().decode())


def test_all_tell_the_same_sum_once_all_have_shared(tmp_path: Path) -> None:
    several = [process(tmp_path, number) for number in (1, 2, 10)]
    for requests, metrics in enumerate(several, 1):
        count(metrics, requests)
        metrics.share()
    for metrics in several:
        found = samples(metrics)
        assert (found[REQUESTS], found[IN_FLIGHT]) == (6, 6)
        assert found["mobilenet_request_duration_seconds_bucket", "0.005", "/predict", "0.5/160"] == 6
        assert found["mobilenet_request_duration_seconds_sum", "/predict", "0.5/160"] == pytest.approx(0.018)
        assert [value for (name, *_), value in found.items() if name == "mobilenet_build_info"] == [1]


def test_a_counter_never_falls_from_one_answer_to_the_next(tmp_path: Path) -> None:
    one, other = process(tmp_path, 1), process(tmp_path, 2)
    before = 0.0
    for _ in range(3):
        for metrics in (one, other):
            count(metrics)
            told = samples(metrics)[REQUESTS]
            assert told >= before + 1
            before = told


def test_a_process_that_ended_has_nothing_under_way_and_what_it_counted_stays(tmp_path: Path) -> None:
    ended, other = process(tmp_path, 1), process(tmp_path, 2)
    count(ended, 3)
    ended.share()
    forget(tmp_path / "1")
    found = samples(other)
    assert (found[REQUESTS], found[IN_FLIGHT]) == (3, 0)
    assert [value for (name, *_), value in found.items() if name == "mobilenet_build_info"] == [1]


def test_a_process_that_is_alone_counts_for_itself() -> None:
    one, other = Metrics(), Metrics()
    count(one)
    one.share()
    assert samples(one)[REQUESTS] == 1
    assert REQUESTS not in samples(other)


def test_a_folder_that_was_removed_is_made_again_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    one, other = process(folder, 1), process(folder, 2)
    count(one)
    count(other)
    one.share()
    shutil.rmtree(folder)
    forget(folder / "3")
    other.share()
    assert samples(one)[REQUESTS] == 2
    assert folder.stat().st_mode & 0o777 == 0o700
    assert caplog.messages == [f"{folder} was removed: what ended processes had counted is lost"]


def test_a_folder_that_cannot_be_written_is_said_once_and_each_tells_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.write_text("a file is in the way")
    metrics = process(folder, 1)
    count(metrics)
    for _ in range(3):
        assert samples(metrics)[REQUESTS] == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    folder.unlink()
    metrics.share()
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("again")
    metrics.share()
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING, logging.ERROR]


def test_the_folder_is_private_and_goes_at_the_end() -> None:
    with shared_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        process(folder, 1).share()
    assert not folder.exists()


def test_where_there_is_no_disk_in_memory_the_folder_is_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "IN_MEMORY", tmp_path / "nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with shared_folder() as folder:
        assert folder.parent == tmp_path


def test_without_a_place_for_the_folder_the_start_fails_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "IN_MEMORY", tmp_path / "nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with (
        pytest.raises(StartError, match="several HTTP processes need a folder to count in: No such file"),
        shared_folder(),
    ):
        pass
