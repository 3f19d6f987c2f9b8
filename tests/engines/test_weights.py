import hashlib
from pathlib import Path

import pytest

from app.engines.weights import locate, published_name, read
from app.errors import StartError
from app.mobilenet.variants import PUBLISHED, Variant
from tests.data import SHARED, needs_shared
from tests.engines.conftest import CLASSES, FORMS, VARIANT, Saved

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("form", FORMS)
def test_the_class_count_is_read_from_every_form_that_keras_saves(saved: Saved, form: str) -> None:
    assert len(read(saved.folder / form, VARIANT.alpha)[-1]) == CLASSES


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_another_width_are_named_as_such(saved: Saved, form: str) -> None:
    with pytest.raises(StartError, match=rf"{form} has weights of α 0\.25, and MOBILENET_ALPHA is 0\.5"):
        read(saved.folder / form, 0.5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_damaged(saved: Saved, form: str, part: float, tmp_path: Path) -> None:
    whole = (saved.folder / form).read_bytes()
    (tmp_path / form).write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StartError, match=f"{form} is no Keras weight file, or it is damaged"):
        read(tmp_path / form, VARIANT.alpha)


def test_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    for name in ("notes.h5", "notes.keras"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(StartError, match="is no Keras weight file"):
            read(tmp_path / name, 0.5)


def test_another_network_is_named_with_the_first_layer_that_differs(tmp_path: Path) -> None:
    import keras

    other = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=3)
    other.save(tmp_path / "other.keras")
    other.save_weights(tmp_path / "other.weights.h5")
    for name in ("other.keras", "other.weights.h5"):
        with pytest.raises(StartError, match="is not a MobileNetV1: at conv_pw_1 it has"):
            read(tmp_path / name, 0.5)


def test_a_network_without_its_classifier_says_so(tmp_path: Path) -> None:
    import keras

    headless = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, include_top=False)
    headless.save_weights(tmp_path / "headless.weights.h5")
    with pytest.raises(StartError, match="has no classifier layer"):
        read(tmp_path / "headless.weights.h5", 0.25)


def test_a_file_that_ends_before_the_network_does_is_refused(saved: Saved, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "short.h5"
    path.write_bytes((saved.folder / "network.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        attributes = file["model_weights"].attrs
        attributes["layer_names"] = attributes["layer_names"][:10]
    with pytest.raises(StartError, match=r"short\.h5 is not a MobileNetV1: it has \d+ arrays, expected 137"):
        read(path, VARIANT.alpha)


@needs_shared
@pytest.mark.parametrize(("name", "alpha"), [("mobilenet_2_5_128_tf.h5", 0.25), ("mobilenet_5_0_160_tf.h5", 0.5)])
def test_the_published_files_have_a_thousand_classes(name: str, alpha: float) -> None:
    assert len(read(SHARED / "imagenet" / name, alpha)[-1]) == 1000


def test_the_published_names_are_those_of_keras_applications() -> None:
    names = {published_name(variant) for variant in PUBLISHED}
    assert len(names) == 16
    assert {"mobilenet_1_0_224_tf.h5", "mobilenet_7_5_192_tf.h5", "mobilenet_2_5_128_tf.h5"} < names


def test_a_path_is_known_by_its_name_and_by_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "own.weights.h5"
    path.write_bytes(b"bytes")
    found = locate(str(path), VARIANT, tmp_path)
    assert (found.name, found.path, found.published) == ("own.weights.h5", path, False)
    assert found.sha256 == hashlib.sha256(b"bytes").hexdigest()


def test_bundled_and_published_weights_are_found_by_their_variant(tmp_path: Path) -> None:
    (tmp_path / "imagenette_0.75.weights.h5").write_bytes(b"bundled")
    (tmp_path / "mobilenet_7_5_192_tf.h5").write_bytes(b"published")
    variant = Variant(0.75, 192)
    assert locate("imagenette", variant, tmp_path).path.read_bytes() == b"bundled"
    published = locate("imagenet", variant, tmp_path)
    assert published.path.read_bytes() == b"published"
    assert published.published


def test_weights_that_are_not_there_say_which_file_is_missing_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "imagenette_0.75.weights.h5").write_bytes(b"bundled")
    for setting, message in [
        ("imagenette", r"imagenette_0\.25\.weights\.h5: No such file.*bundled for α 0\.75$"),
        ("imagenet", r"mobilenet_2_5_64_tf\.h5: No such file"),
        (str(tmp_path / "own.h5"), r"own\.h5: No such file"),
        ("photo.jpg", r"MOBILENET_WEIGHTS=photo\.jpg: allowed are imagenette, imagenet, or a path"),
    ]:
        with pytest.raises(StartError, match=message):
            locate(setting, VARIANT, tmp_path)
