"""No image takes far more memory or work than an honest one of its size, whatever decoder is made to do it."""

import numpy as np
import pytest
from PIL import Image

from app.imaging.codecs import icc
from tests.support import corpus
from tests.support.costs import costs
from tests.support.data import REPOSITORY
from tests.support.images import encoded, photo
from tests.support.profiles import IDENTITY, absent_table, matrix, powers, program

HONEST = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1_500, 2_000, 3), np.uint8)), "PNG")
"""What 3 megapixels take is the measure of what the images of the table, all smaller, may take at most."""
CASES = list(corpus.disproportionate())
LIMIT_MB = 64


def with_tag(name: bytes, tag: bytes) -> bytes:
    """Return a PNG whose profile has this tag beside curves and primaries; its zeros and repetitions take no room."""
    red, green, blue = (b"XYZ \0\0\0\0" + place.to_bytes(12, "big") for place in (1 << 80, 1 << 48, 1 << 16))
    tags = [(b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue)]
    tags += [(curve, icc.parametric(0, 1.4)) for curve in (b"rTRC", b"gTRC", b"bTRC")]
    return encoded(photo(), "PNG", icc_profile=icc.assembled(b"RGB ", [*tags, (name, tag)]))


STEP = matrix(IDENTITY, offset=1e-6)
PROFILES = {
    "a program of 2,000 steps": with_tag(b"D2B0", program(*[STEP] * 2_000)),
    "a program of 10,000 steps for the black": with_tag(b"D2B1", program(*[STEP] * 10_000)),
    "a program of 20 steps of 1,000 segments": with_tag(b"D2B0", program(*[powers(1.01, 1_000)] * 20)),
    "an absent table of 8 bits": with_tag(b"A2B0", absent_table(b"mft1")),
    "an absent table of 16 bits": with_tag(b"A2B0", absent_table(b"mft2")),
    "an absent table behind curves": with_tag(b"A2B0", absent_table(b"mAB ")),
    "an absent table of four colours": with_tag(b"A2B0", absent_table(b"mAB ", inputs=4, outputs=3, points=80)),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, float, float]]:
    folder = tmp_path_factory.mktemp("files")
    for number, data in enumerate([HONEST, *(case.data for case in CASES), *PROFILES.values()]):
        (folder / f"{number:03}").write_bytes(data)
    return costs(folder, REPOSITORY)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.name for case in CASES])
def test_an_image_takes_no_more_than_its_size_says(index: int, measured: list[tuple[str, float, float]]) -> None:
    (_, honest_s, _), (outcome, spent_s, grown_mb) = measured[0], measured[1 + index]
    assert outcome == "refused"
    assert grown_mb < LIMIT_MB
    assert spent_s < 5 * honest_s


@pytest.mark.parametrize("index", range(len(PROFILES)), ids=list(PROFILES))
def test_the_profile_of_a_good_image_takes_no_more_than_an_honest_image(
    index: int, measured: list[tuple[str, float, float]]
) -> None:
    (_, honest_s, _), (outcome, spent_s, grown_mb) = measured[0], measured[1 + len(CASES) + index]
    assert outcome == "answered"
    assert grown_mb < LIMIT_MB
    assert spent_s < 5 * honest_s
