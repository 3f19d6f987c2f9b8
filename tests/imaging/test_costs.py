"""No image takes far more memory or work than an honest one of its size, whatever decoder is made to do it."""

import numpy as np
import pytest
from PIL import Image

from tests.support import corpus
from tests.support.costs import costs
from tests.support.data import REPOSITORY
from tests.support.images import encoded

HONEST = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1_500, 2_000, 3), np.uint8)), "PNG")
"""What 3 megapixels take is the measure of what the images of the table, all smaller, may take at most."""
CASES = list(corpus.disproportionate())
LIMIT_MB = 64


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, float, float]]:
    folder = tmp_path_factory.mktemp("files")
    for number, data in enumerate([HONEST, *(case.data for case in CASES)]):
        (folder / f"{number:03}").write_bytes(data)
    return costs(folder, REPOSITORY)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.name for case in CASES])
def test_an_image_takes_no_more_than_its_size_says(index: int, measured: list[tuple[str, float, float]]) -> None:
    (_, honest_s, _), (outcome, spent_s, grown_mb) = measured[0], measured[1 + index]
    assert outcome == "refused"
    assert grown_mb < LIMIT_MB
    assert spent_s < 5 * honest_s
