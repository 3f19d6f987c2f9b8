"""Results are kept in a file, and averaged over the seeds of a training."""

from dataclasses import replace
from pathlib import Path

import pytest

from tools.experiments.results import (
    ONE_FOR_ALL,
    Mean,
    TrainingResult,
    by_resolution,
    by_training,
    gain,
    of_every_seed,
    read,
    write,
)

RESULT = TrainingResult("narrow", 0.1875, 128, 0, 8, 7_923_072, 129_046, 2000, 0.7, 0.65, 123.0)


def test_the_error_of_a_mean_comes_from_the_spread_of_the_seeds() -> None:
    mean = Mean.of([0.70, 0.72, 0.77])
    assert mean.value == pytest.approx(0.73)
    assert mean.error == pytest.approx(0.0360555 / 3**0.5, rel=1e-5)  # the standard deviation is 0.0360555


def test_seeds_of_one_network_and_length_belong_together() -> None:
    results = [replace(RESULT, seed=seed, epochs=epochs) for seed in (0, 1) for epochs in (16, 8)]
    found = by_training([*results, replace(RESULT, network="shallow")])
    assert {key: [one.seed for one in own] for key, own in found.items()} == {
        ("narrow", 8): [0, 1],
        ("narrow", 16): [0, 1],
        ("shallow", 8): [0],
    }


def test_results_at_one_resolution_are_parted_into_the_network_for_it_and_the_one_for_all() -> None:
    seeds = [replace(RESULT, network="trained at 128", seed=seed) for seed in (0, 1)]
    for_all = [replace(one, network=ONE_FOR_ALL) for one in seeds]
    others = [replace(RESULT, resolution=160), replace(RESULT, epochs=16), replace(RESULT, alpha=0.5)]
    found = by_resolution([*others, *for_all, *seeds], RESULT.alpha, RESULT.epochs)
    assert found == {128: (seeds, for_all), 160: ([others[0]], [])}


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert read(path) == []
    write(path, [RESULT, replace(RESULT, seed=1)])
    assert read(path) == [RESULT, replace(RESULT, seed=1)]


def test_a_length_that_a_seed_has_not_finished_is_left_out() -> None:
    first = [replace(RESULT, epochs=epochs) for epochs in (4, 8, 16)]
    second = [replace(RESULT, seed=1, epochs=epochs) for epochs in (4, 8)]
    assert [(one.seed, one.epochs) for one in of_every_seed([first, second])] == [(0, 4), (0, 8), (1, 4), (1, 8)]


def test_what_one_for_all_gains_is_the_mean_of_the_differences_of_each_seed() -> None:
    own = [replace(RESULT, seed=seed, top1=top1) for seed, top1 in ((1, 0.7), (0, 0.5))]
    one = [replace(RESULT, seed=seed, top1=top1) for seed, top1 in ((0, 0.6), (1, 0.7))]
    found = gain(own, one)
    assert found.value == pytest.approx(0.05)
    assert found.error == pytest.approx(0.05)
