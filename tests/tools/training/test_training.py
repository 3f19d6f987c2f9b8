"""The epochs of a training, its folder and its schedule, with a learner that is one number."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import typer

from app.training.schedule import WARM_UP, Schedule
from tools.training.photos import Pixels
from tools.training.run import PHASES, HeldOut, TrainingFolder, cost, evaluate, fit, seconds_left

SCHEDULE = Schedule(5, 3, 0, ((0.5, {96: 1.0}), (1.0, {128: 0.5, 192: 0.5})), highest_rate=1.0)
HELD_OUT = HeldOut({128: np.zeros((70, 2, 2, 3), np.uint8)}, np.arange(70) % 2)


class Number:
    """Adds up what it is taught, at the rate that it is taught at; answers class 0 with the same probability ever."""

    def __init__(self) -> None:
        self.sum = 0.0

    def learn(self, number: int, rate: float, *batch: Any) -> tuple[Any, Any]:
        self.sum += rate * batch[0]
        return self.sum, number

    def probabilities(self, pixels: Pixels) -> Any:
        return np.tile([0.8, 0.2], (len(pixels), 1))

    def write(self, file: BinaryIO, epochs: int) -> None:
        file.write(f"{self.sum!r} {epochs}".encode())

    def read(self, file: BinaryIO) -> int:
        number, epochs = file.read().split()
        self.sum = float(number)
        return int(epochs)

    def save(self, path: Path) -> None:
        path.write_text(repr(self.sum), encoding="utf-8")


def batches(schedule: Schedule, epoch: int) -> Iterator[tuple[int]]:
    return ((10 * epoch + step,) for step in range(schedule.steps))


def cut_off(schedule: Schedule, epoch: int) -> Iterator[tuple[int]]:
    if epoch == 3:
        raise KeyboardInterrupt
    return batches(schedule, epoch)


def text(run: TrainingFolder, name: str) -> str:
    return (run.folder / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("seconds", [0.0, 1000.0])  # saved after every epoch, and after the first only
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("tools.training.run.SAVED_EVERY_S", seconds)
    whole, parts = TrainingFolder(tmp_path), TrainingFolder(tmp_path / "parts")
    parts.folder.mkdir()
    rows = fit(Number(), batches, HELD_OUT, SCHEDULE, whole)
    with pytest.raises(KeyboardInterrupt):
        fit(Number(), cut_off, HELD_OUT, SCHEDULE, parts)
    assert text(parts, "checkpoint").endswith(" 3" if seconds == 0 else " 1")
    again = fit(Number(), batches, HELD_OUT, SCHEDULE, parts)
    assert [row["epoch"] for row in again] == [1, 2, 3, 4, 5]
    assert text(parts, "checkpoint") == text(whole, "checkpoint")
    assert text(parts, "average.weights.h5") == text(whole, "average.weights.h5")
    for row, other in zip(rows, again, strict=True):
        assert row | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, rel=1e-5)
    assert fit(Number(), cut_off, HELD_OUT, SCHEDULE, whole) == whole.rows(5)  # nothing is left to do


def test_a_table_that_is_being_written_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TrainingFolder(tmp_path)
    rows = fit(Number(), batches, HELD_OUT, SCHEDULE, run)
    monkeypatch.setattr("csv.DictWriter.writerows", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.write(rows)
    assert len(run.rows(5)) == 5


ASKED = {"seed": 0, "start": None, "run": Path("runs/a"), "start_alpha": 0.75}


def test_a_training_is_gone_on_with_by_the_same_arguments_only(tmp_path: Path) -> None:
    run = TrainingFolder(tmp_path / "runs" / "a")
    run.begin(ASKED)
    run.checkpoint.touch()
    run.begin(ASKED)
    with pytest.raises(
        typer.BadParameter,
        match=r"^the training in \S+ had --seed 0, and not 3; it had --start None, and not /\S+/b\.h5;",
    ):
        run.begin(ASKED | {"seed": 3, "start": Path("b.h5")})
    run.begin(ASKED | {"run": Path("/from/elsewhere/runs/a")})


def test_the_same_photos_may_be_spelt_otherwise_and_the_device_may_be_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = TrainingFolder(tmp_path / "run")
    monkeypatch.chdir(elsewhere)
    run.begin(ASKED | {"data": Path("../photos"), "device": "cuda"})
    run.checkpoint.touch()
    for same in (photos, Path("../elsewhere/../photos")):
        run.begin(ASKED | {"data": same, "device": "cpu"})
    monkeypatch.chdir(run.folder.parent)
    run.begin(ASKED | {"data": Path("photos"), "device": "cpu"})
    with pytest.raises(typer.BadParameter, match=r"had --data \S+/photos, and not /photos;"):
        run.begin(ASKED | {"data": Path("/photos")})


def test_arguments_may_change_as_long_as_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    run = TrainingFolder(tmp_path)
    run.checkpoint.touch()
    run.begin(ASKED)  # a training from before arguments were kept
    run.checkpoint.unlink()
    run.begin(ASKED | {"seed": 3})


def test_a_row_has_the_means_of_its_epoch_and_the_scores_of_what_was_held_out(tmp_path: Path) -> None:
    first, second, *_ = fit(Number(), batches, HELD_OUT, SCHEDULE, TrainingFolder(tmp_path))
    rates = [SCHEDULE.learning_rate(number) for number in range(6)]
    sums = np.cumsum([rate * taught for rate, taught in zip(rates, [0, 1, 2, 10, 11, 12], strict=True)])
    assert first["train_loss"] == pytest.approx(sums[:3].mean())
    assert second["train_loss"] == pytest.approx(sums[3:].mean())
    assert second["train_accuracy"] == pytest.approx(4)
    assert second["learning_rate"] == rates[3]
    assert first["held_out_accuracy_128"] == 0.5
    assert first["held_out_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2)
    assert evaluate(Number(), HELD_OUT, 128) == pytest.approx((first["held_out_loss"], 0.5))


def test_the_rate_rises_for_a_moment_and_falls_to_nothing() -> None:
    schedule = Schedule(100, 10, 0, PHASES, 2.0)
    rates = np.array([schedule.learning_rate(number) for number in range(1001)])
    top = round(WARM_UP * 1000)
    assert rates[0] == 0
    assert rates[top] == rates.max() == 2.0
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] == pytest.approx(0)


def test_an_epoch_has_the_resolutions_of_its_phase_and_costs_their_pixels() -> None:
    assert [list(SCHEDULE.shares(epoch)) for epoch in range(5)] == [[96], [96], [128, 192], [128, 192], [128, 192]]
    assert cost(SCHEDULE, 0) == 96**2
    assert cost(SCHEDULE, 4) == (128**2 + 192**2) / 2
    assert seconds_left(SCHEDULE, 3, 7.0) == 7.0
    assert seconds_left(SCHEDULE, 4, 7.0) == 0
