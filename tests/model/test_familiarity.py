"""How familiar an image is: the share of measured photos with a lower energy, read from a folder of weights."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.config import MODEL_WEIGHTS
from app.engines.litert import LiteRTEngine
from app.errors import StartError
from app.measurements import UNFAMILIAR
from app.mobilenet.variants import ALPHAS, Variant
from app.model.familiarity import FAMILIARITIES, FEWEST, NAME, Familiarity, auroc, find, measure, read
from tests.support.fakes import COLOURS

ENERGIES = tuple(n / 10 for n in range(101))
VARIANT = Variant(0.5, 160)


def made(**changed: object) -> Familiarity:
    values = {"alpha": 0.5, "resolution": 160, "precision": "float32", "images": 473, "energies": ENERGIES}
    return Familiarity.model_validate(values | changed)


def save(folder: Path, *several: Familiarity) -> Path:
    (folder / NAME).write_bytes(FAMILIARITIES.dump_json(list(several)))
    return folder


def test_the_share_is_that_of_the_photos_with_a_lower_energy() -> None:
    energies = np.random.default_rng(0).normal(5, 2, 473)
    found = made(energies=measure(energies.tolist()))
    for energy in energies:
        assert found.share(energy) == pytest.approx((energies < energy).mean(), abs=1 / 100)


@pytest.mark.parametrize(("energy", "share"), [(-1, 0), (0, 0), (0.1, 0.01), (0.55, 0.055), (9.99, 0.999), (99, 1)])
def test_between_two_quantiles_it_is_interpolated_and_beyond_them_it_is_0_or_1(energy: float, share: float) -> None:
    assert made().share(energy) == share


def test_photos_of_the_same_energy_are_no_division_by_zero() -> None:
    found = made(energies=(1.0,) * 50 + (2.0,) * 51)
    assert [found.share(energy) for energy in (0.5, 1.0, 1.5, 2.0)] == [0, 0.49, 0.495, 1]


@given(st.lists(st.floats(-100, 100, width=32), min_size=2), st.lists(st.floats(-110, 110, width=32), min_size=2))
def test_it_never_falls_where_the_energy_rises(measured: list[float], energies: list[float]) -> None:
    found = made(energies=measure(measured))
    shares = [found.share(energy) for energy in sorted(energies)]
    assert all(0 <= lower <= higher <= 1 for lower, higher in pairwise(shares))


def test_of_a_folder_those_of_the_variant_and_the_precision_count(tmp_path: Path) -> None:
    other = made(precision="int8", images=47)
    save(tmp_path, made(alpha=0.25), made(resolution=224), other, made())
    assert find(tmp_path, VARIANT, "float32") == made()
    assert find(tmp_path, VARIANT, "bfloat16") == made()
    assert find(tmp_path, VARIANT, "int8") == other
    assert find(tmp_path, Variant(0.5, 96), "float32") is None
    assert find(tmp_path / "empty", VARIANT, "float32") is None


@pytest.mark.parametrize(("images", "known"), [(FEWEST - 1, False), (FEWEST, True)])
def test_what_was_measured_of_too_few_photos_is_not_used(images: int, known: bool, tmp_path: Path) -> None:
    assert (find(save(tmp_path, made(images=images)), VARIANT, "float32") is not None) is known


@pytest.mark.parametrize(
    "energies", [ENERGIES[:-1], (*ENERGIES, 11.0), ENERGIES[::-1], (*ENERGIES[:-1], np.inf), (np.nan, *ENERGIES[1:])]
)
def test_energies_are_101_numbers_that_ascend(energies: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="energies"):
        made(energies=energies)


@pytest.mark.parametrize("content", ["", "[", "{}", '[{"alpha": 0.5}]'])
def test_a_damaged_file_stops_the_start_in_a_line(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(StartError, match=r"^cannot read .*familiarity\.json: \S.*$") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [FEWEST, 20, 32, 100, 473])
def test_however_few_were_measured_one_in_twenty_photos_of_the_classes_is_unfamiliar(count: int) -> None:
    rng, unfamiliar = np.random.default_rng(1), []
    for _ in range(400):
        found = made(energies=measure(rng.normal(5, 2, count).tolist()))
        unfamiliar += [found.share(energy) < UNFAMILIAR for energy in rng.normal(5, 2, 50)]
    assert np.mean(unfamiliar) == pytest.approx(0.05, abs=0.01)


@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1))
def test_the_auroc_is_the_share_of_pairs_in_the_right_order(inside: list[int], outside: list[int]) -> None:
    pairs = [(one > other) + (one == other) / 2 for one in inside for other in outside]
    assert auroc(inside, outside) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_to_the_bundled_int8_models_plain_colours_and_noise_are_unfamiliar(alpha: float) -> None:
    engine = LiteRTEngine(MODEL_WEIGHTS / f"imagenette_{alpha:g}.int8.tflite", 1, "int8")
    known = find(MODEL_WEIGHTS, Variant(alpha, 160), "int8")
    assert known
    plain = [np.full((160, 160, 3), colour, np.uint8) for colour in (*COLOURS.values(), (128, 128, 128))]
    noise = [np.random.default_rng(seed).integers(0, 256, (160, 160, 3), np.uint8) for seed in range(4)]
    assert max(known.share(float(energy)) for energy in engine.predict([*plain, *noise]).energies) < UNFAMILIAR
