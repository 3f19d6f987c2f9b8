"""What colour profiles change: the files that are compared, and the count of changed answers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.imaging.codecs import icc
from app.imaging.decode import decode
from app.runtime.local import Local
from tests.support.images import photo
from tools.weights import colours
from tools.weights.colours import P3_PRIMARIES, SRGB_CURVE, compare, written

P3 = icc.of_code_points(P3_PRIMARIES, SRGB_CURVE)


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return decode(data, resolution=64, max_pixels=10**6).astype(np.float64)


def test_a_photo_in_another_profile_looks_the_same_with_the_profile_and_paler_without() -> None:
    plain, bare = written(photo())
    attached, ignored = written(photo(), P3)
    assert plain == bare
    assert np.abs(pixels(attached) - pixels(plain)).mean() < 2
    assert np.abs(pixels(ignored) - pixels(plain)).mean() > 4


def test_answers_that_change_are_counted_for_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    answers = iter([[1], [2, 1], [1], [3, 4]])
    monkeypatch.setattr(colours, "best", lambda *_: next(answers))
    pipeline = Local([], max_pixels=64)
    assert compare(pipeline, [tmp_path / "a.png"] * 2, {"P3": P3}) == {"P3": (2, 1)}
