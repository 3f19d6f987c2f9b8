"""A network's energies learn what a teacher finds familiar, and its probabilities stay as they were."""

import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engines.base import Features, Head, Pixels, Predictions
from app.engines.bundle import BUNDLED
from app.engines.tflite.interface import predictions
from app.errors import StartError
from app.mobilenet.variants import RESOLUTIONS
from tests.support import needs
from tests.support.fakes import ColourEngine, MosaicEngine
from tests.support.networks import lively
from tools.training.photos import SIDE, Photos, split
from tools.weights import energy
from tools.weights.energy import (
    NOTHING,
    SHOWN,
    UNKNOWN,
    Observed,
    Shift,
    View,
    fit,
    fold,
    log_odds,
    observe_all,
    views,
)
from tools.weights.others import MADE_UP, gradient, pictures, shown, stripes

RED, BLUE = (220, 30, 30), (30, 40, 210)


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (100, 90)) -> None:
    """Write a red picture, whose left half is transparent if its mode says so."""
    path.parent.mkdir(exist_ok=True)
    image = Image.new("RGB", size, RED)
    if mode == "RGBA":
        image.putalpha(Image.new("L", size, 255))
        image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    image.save(path, lossless=True)


def test_pictures_are_photos_and_stamps_and_neither_icons_nor_drawings(tmp_path: Path) -> None:
    picture(tmp_path / "deep" / "a photo.JPG")
    picture(tmp_path / "a stamp.png", "RGBA")
    picture(tmp_path / "b drawing.png")
    picture(tmp_path / "b icon.webp", size=(79, 300))
    (tmp_path / "b text.jpg").write_text("no picture")
    (tmp_path / "b notes.txt").write_text("no picture, either")
    assert [(one.mode, one.size) for one in pictures(tmp_path)] == [("RGBA", (100, 90)), ("RGB", (100, 90))]


def test_the_photos_in_a_resource_file_are_found(tmp_path: Path) -> None:
    for name in ("one", "two"):
        picture(tmp_path / f"{name}.webp")
    sound = b"RIFF" + struct.pack("<I", 12) + b"WAVE" + bytes(8)
    parts = [b"qres", *(path.read_bytes() for path in sorted(tmp_path.glob("*.webp"))), sound, b"RIFF"]
    for path in tmp_path.glob("*.webp"):
        path.unlink()
    (tmp_path / "all.rcc").write_bytes(bytes(3).join(parts))
    assert [(one.mode, one.size) for one in pictures(tmp_path)] == [("RGB", (100, 90))] * 2


def test_a_stamp_lies_on_the_background_and_a_photo_hides_it(tmp_path: Path) -> None:
    background = Image.new("RGB", (10, 10), BLUE)
    picture(tmp_path / "stamp.png", "RGBA")
    picture(tmp_path / "photo.jpg")
    stamp, photo = sorted(pictures(tmp_path), key=lambda one: one.mode, reverse=True)
    colours = {tuple(map(int, colour)) for colour in shown(stamp, background, random.Random(0)).reshape(-1, 3)}
    assert {RED, BLUE} <= colours
    assert (0, 0, 0) not in colours  # the colour of what is transparent
    pixels = shown(photo, background, random.Random(0))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert abs(pixels.astype(int) - RED).max() < 4


@pytest.mark.parametrize("kind", [*MADE_UP, gradient, stripes])
def test_what_shows_nothing_is_made_of_random_numbers(kind: Callable[[random.Random], Image.Image]) -> None:
    first, again, second = (np.asarray(kind(random.Random(seed))) for seed in (0, 0, 1))
    assert first.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


def some_photos(count: int) -> Photos:
    """Return photos of two classes, each of a grey of its own."""
    greys = np.arange(10, 10 + 10 * count, 10, dtype=np.uint8)
    return Photos(np.tile(greys[:, None, None, None], (1, SIDE, SIDE, 3)), np.arange(count) % 2, ["n1", "n2"])


def test_views_are_of_photos_to_learn_from_of_pictures_and_of_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "one.jpg")
    picture(tmp_path / "two.png", "RGBA")
    seen = list(views(some_photos(20), tmp_path, 0))
    assert [view.log_odds for view in seen] == [None] * (19 + 2 * SHOWN) + [UNKNOWN] * NOTHING
    assert {view.pixels.shape for view in seen} == {(SIDE, SIDE, 3)}
    (apart,) = split(20, 0)[1]
    assert [view.pixels[0, 0, 0] for view in seen[:19]] == [10 + 10 * n for n in range(20) if n != apart]
    again = list(views(some_photos(20), tmp_path, 0))
    assert all((one.pixels == other.pixels).all() for one, other in zip(seen, again, strict=True))


@pytest.mark.parametrize(("share", "photos_below"), [(1.0, 10), (0.0, 0)])
def test_stamps_lie_on_photos_to_learn_from_or_on_plain_colours(
    share: float, photos_below: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "ON_A_PHOTO", share)
    for name in ("one.png", "two.png"):
        picture(tmp_path / name, "RGBA")
    (apart,) = split(20, 0)[1]
    greys = {(grey, grey, grey) for grey in range(10, 210, 10)} - {(10 + 10 * apart,) * 3}
    stamps = [view.pixels for view in views(some_photos(20), tmp_path, 0)][19:-NOTHING]
    colours = [{tuple(map(int, colour)) for colour in np.unique(stamp.reshape(-1, 3), axis=0)} for stamp in stamps]
    assert sum(bool(greys & of) for of in colours) == photos_below


def test_stripes_have_two_colours_and_gradients_those_in_between() -> None:
    draw = random.Random(0)
    for _ in range(5):
        assert len(np.unique(np.asarray(stripes(draw)).reshape(-1, 3), axis=0)) == 2
        assert len(np.unique(np.asarray(gradient(draw)).reshape(-1, 3), axis=0)) > 2


def test_without_pictures_of_other_things_nothing_is_learnt(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there are no pictures in"):
        list(views(some_photos(20), tmp_path, 0))


def test_log_odds_compare_the_classes_with_all_others() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.8, 0, 0.2, 0], [0, 0.5, 0, 0.5]], np.float32)
    np.testing.assert_allclose(log_odds(probabilities, [0, 2]), [np.log(0.4 / 0.6), 12.02, -12.02], atol=0.01)


class Teacher(ColourEngine):
    """Knows three colours of the six, and is the surer of one of the first two, the redder an image is."""

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for three classes."""
        assert all(image.shape == (160, 160, 3) for image in images)
        red = np.stack(images).mean(axis=(1, 2))[:, 0] / 64
        return predictions(np.stack([red, red, np.zeros_like(red)], axis=1).astype(np.float32))


class Sized(MosaicEngine):
    """Takes images of one size, and may have a shift in its logits."""

    def __init__(self, side: int, shift: float = 0) -> None:
        super().__init__()
        self.side = side
        self.head = Head(self.head.kernel + np.float32(shift), self.head.bias - np.float32(shift))

    def observe(self, images: Sequence[Pixels]) -> tuple[Predictions, Features]:
        """Return what the model of mosaics does."""
        assert {image.shape[0] for image in images} == {self.side}
        return super().observe(images)


def observed(count: int, shift: float = 0) -> Observed:
    colours = np.random.default_rng(0).integers(0, 256, (count, 3), np.uint8)
    seen = [
        View(np.full((SIDE, SIDE, 3), colour, np.uint8), None if n else UNKNOWN) for n, colour in enumerate(colours)
    ]
    return observe_all([Sized(side, shift) for side in RESOLUTIONS], Teacher(), [0, 1], iter(seen))


@pytest.fixture
def _free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let weights be as large as they like."""
    monkeypatch.setattr(energy, "RIDGE", 1e-6)


@pytest.mark.usefixtures("_free")
def test_the_energies_come_as_near_to_the_log_odds_as_they_can() -> None:
    found = observed(200)
    assert found.wanted[0] == UNKNOWN
    red = found.features[1:, 0] * 255 / 64
    np.testing.assert_allclose(found.wanted[1:], red + np.log(2), atol=1e-3)
    shift = fit(found)
    way = (found.wanted - found.energies).astype(np.float64)
    left = way - found.features @ shift.kernel.astype(np.float64) - shift.bias
    assert left.mean() == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(found.features.T @ left / len(left), 0, atol=1e-3)  # nothing linear is left
    assert shift.explained == pytest.approx(1 - left.var() / way.var(), abs=1e-3)
    assert shift.explained > 0.3


def test_a_network_that_is_shifted_already_gets_the_same_shift_again() -> None:
    first, again = fit(observed(200)), fit(observed(200, shift=2))
    np.testing.assert_allclose(again.kernel, first.kernel, atol=1e-3)
    assert again.bias == pytest.approx(first.bias, abs=1e-3)


@pytest.mark.usefixtures("_free")
def test_features_that_say_nothing_get_no_weight() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(5000, 3)).astype(np.float32)
    features[:, 2] = 1  # never changes
    energies = draw.normal(size=5000).astype(np.float32)
    shift = fit(Observed(features, energies, energies + 2 * features[:, 0] + 5))
    np.testing.assert_allclose(shift.kernel, [2, 0, 0], atol=0.1)
    assert shift.bias == pytest.approx(5, abs=0.1)
    assert shift.explained == pytest.approx(1, abs=0.01)


@pytest.mark.tensorflow
def test_folded_weights_have_the_same_probabilities_and_other_energies(tmp_path: Path) -> None:
    needs.TENSORFLOW.check()
    from app.engines.keras.reader import read

    network = lively(0.25, 64, 4)
    network.save_weights(tmp_path / "network.weights.h5")
    kernel = np.random.default_rng(0).normal(0, 0.3, 256).astype(np.float32)
    fold(tmp_path / "network.weights.h5", 0.25, Shift(kernel, -3, 1), tmp_path / "folded.weights.h5")
    before, after = (read(tmp_path / f"{name}.weights.h5", 0.25) for name in ("network", "folded"))
    for one, other in zip(before[:-2], after[:-2], strict=True):
        np.testing.assert_array_equal(one, other)
    features = np.random.default_rng(1).uniform(0, 2, (8, 256)).astype(np.float32)
    first, second = (Head(arrays[-2][0, 0], arrays[-1]) for arrays in (before, after))
    own, shifted = (predictions(features @ head.kernel + head.bias) for head in (first.centred, second))
    unchanged = predictions(features @ first.kernel + first.bias).probabilities
    np.testing.assert_allclose(shifted.probabilities, unchanged, atol=1e-5)
    np.testing.assert_allclose(shifted.energies, own.energies + features @ kernel - 3, atol=1e-4)


def test_the_bundled_weights_are_shifted_where_no_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "one.jpg")
    folded = []
    monkeypatch.setattr(Photos, "load", lambda *_: some_photos(20))
    monkeypatch.setattr(energy, "imagenet_classes", lambda *_: [0, 1])
    monkeypatch.setattr(energy, "load", lambda path, alpha, side, *_: Teacher() if alpha == 0.5 else Sized(side))
    monkeypatch.setattr(energy, "fold", lambda *given: folded.append(given))
    energy.main(alpha=0.25, others=tmp_path, cache=tmp_path)
    energy.main(alpha=0.25, others=tmp_path, weights=Path("own"), target=Path("new"), cache=tmp_path)
    bundled = BUNDLED.weights(0.25)
    assert [(source, target) for source, _, _, target in folded] == [(bundled, bundled), (Path("own"), Path("new"))]
    assert all(shift.kernel.shape == (3,) for _, _, shift, _ in folded)
