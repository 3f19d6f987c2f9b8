"""The evaluation asks a real service and gets what the model says."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from app.config import Settings
from tests.support.data import solid
from tests.support.processes import Process
from tools.weights.evaluate import find_photos, in_process, over_http

pytestmark = pytest.mark.tensorflow


def test_a_service_scores_as_its_model_does_in_this_process_and_a_bad_photo_is_named(
    server: Process,
    own: dict[str, object],
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        for red, green, blue in rng.integers(0, 256, (4, 3)).tolist():
            path = tmp_path / f"class {number}" / f"{red}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(solid((red, green, blue)))
    (tmp_path / "class 3" / "bad.jpg").write_text("no image")
    here = in_process(
        Settings.model_validate({name.lower(): str(value) for name, value in {**own, "CACHE": cache}.items()})
    )
    with httpx.Client(base_url=server.url) as client:
        there = over_http(client)
        assert there[:6] == here[:6]
        photos = find_photos(tmp_path, here.classes)
        answers = [list(subject.classify(photos)) for subject in (here, there)]
    assert len(photos) == len(answers[0]) == len(answers[1])
    for photo, ours, theirs in zip(photos, *answers, strict=True):
        assert (photo.path.name == "bad.jpg") == (not ours)
        assert dict(theirs) == pytest.approx(dict(ours), abs=1e-5)
    assert capsys.readouterr().err.count("bad.jpg: ") == 2
