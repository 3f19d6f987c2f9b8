"""What degrading brings is counted by who answered, and whether that was right."""

import json
from pathlib import Path

import numpy as np
import pytest

from tools.load.degrade import AnswerCounts, read_classes, step
from tools.load.result import LoadResult


def answer(alpha: float, wordnet_id: str) -> bytes:
    prediction = {"wordnet_id": wordnet_id}
    model = {"alpha": alpha, "resolution": 128}
    return json.dumps({"model": model, "results": [{"predictions": [prediction]}]}).encode()


def test_answers_are_counted_right_or_wrong_by_the_variant_that_gave_them() -> None:
    counts = AnswerCounts()
    for alpha, said in ((0.5, "n1"), (0.5, "n2"), (0.25, "n1"), (0.25, "n1")):
        counts.note("n1", 200, answer(alpha, said))
    counts.note("n1", 429, b"{}")
    assert counts.answered == {"0.5/128": 2, "0.25/128": 2}
    ended = np.array([200, 200, 200, 200, 429], np.int16)
    times = np.full(5, 10.0)
    found = step("load", LoadResult(0.0, 2.0, ended, times / 100, times, times, times), counts)
    assert (found.goodput_per_s, found.refused_per_s, found.top1) == (2.0, 0.5, 0.75)
    assert found.right_per_s == pytest.approx(1.5)


def test_the_class_of_a_photo_is_the_name_of_its_folder(tmp_path: Path) -> None:
    for number in range(600):
        folder = tmp_path / f"n{number % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(b"%d" % number)
    photos = read_classes(tmp_path)
    assert len(photos) == 200
    assert {name for _, name in photos} == {"n0", "n1"}
    assert all(int(body) % 2 == int(name[1]) for body, name in photos)
