"""Profiles made of code points have the colours of ITU-T H.273, read back without this project's own tables."""

from io import BytesIO

import numpy as np
import pytest
from PIL import ImageCms

from app.imaging.codecs import icc

# ITU-T H.273 (07/2021), table 2: x and y of green, blue, red and white, in the order in which the table has them.
D65, C, P3_CINEMA = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
TABLE_2 = {
    1: ((0.300, 0.600), (0.150, 0.060), (0.640, 0.330), D65),
    4: ((0.21, 0.71), (0.14, 0.08), (0.67, 0.33), C),
    5: ((0.29, 0.60), (0.15, 0.06), (0.64, 0.33), D65),
    6: ((0.310, 0.595), (0.155, 0.070), (0.630, 0.340), D65),
    7: ((0.310, 0.595), (0.155, 0.070), (0.630, 0.340), D65),
    9: ((0.170, 0.797), (0.131, 0.046), (0.708, 0.292), D65),
    11: ((0.265, 0.690), (0.150, 0.060), (0.680, 0.320), P3_CINEMA),
    12: ((0.265, 0.690), (0.150, 0.060), (0.680, 0.320), D65),
    22: ((0.295, 0.605), (0.155, 0.077), (0.630, 0.340), D65),
}
# Annex E of ICC.1:2022 has this matrix, which adapts from one white to another, and table 14 the white D50.
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50 = np.array([0.9642, 1.0, 0.8249])


@pytest.mark.parametrize("primaries", TABLE_2)
def test_the_primaries_of_a_code_point_are_those_of_the_standard(primaries: int) -> None:
    *expected, (x, y) = TABLE_2[primaries]
    profile = ImageCms.ImageCmsProfile(BytesIO(icc.of_code_points(primaries, 13))).profile
    white = np.array([x / y, 1, (1 - x - y) / y])
    from_d50 = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ white) / (BRADFORD @ D50)) @ BRADFORD
    adapted = (profile.green_primary, profile.blue_primary, profile.red_primary)
    light = [from_d50 @ colour[0] for colour in adapted if colour]
    assert [tuple(colour[:2] / colour.sum()) for colour in light] == [pytest.approx(xy, abs=3e-4) for xy in expected]
    assert sum(light) == pytest.approx(white, abs=3e-4)


# Table 3 of the same: the curves of BT.470 M and B/G, and the linear one, at a half of the signal.
@pytest.mark.parametrize(("transfer", "light"), [(4, 0.5**2.2), (5, 0.5**2.8), (8, 0.5), (13, 0.21404)])
def test_the_curve_of_a_code_point_is_that_of_the_standard(transfer: int, light: float) -> None:
    profile = icc.of_code_points(1, transfer)
    start = profile.index(b"para")
    kind = int.from_bytes(profile[start + 8 : start + 10], "big")
    gamma, a, b = np.frombuffer(profile[start + 12 : start + 24], ">i4") / 65536
    found = 0.5**gamma if kind == 0 else (a * 0.5 + b) ** gamma
    assert found == pytest.approx(light, abs=2e-4)
