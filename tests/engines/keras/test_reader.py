"""How files are read that Keras itself writes, of every model that its guides teach to make of a MobileNet."""

import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.engines.keras.reader import read
from app.errors import StartError
from tests.support import needs
from tests.support.data import SHARED
from tests.support.foreign import network
from tests.support.networks import images
from tests.support.weights import CLASSES, FORMS, VARIANT, Saved

pytestmark = pytest.mark.tensorflow

SIDE = VARIANT.resolution
CHANNELS = 256


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_keras_saves_is_read_as_the_network_has_it(saved: Saved, form: str) -> None:
    found, expected = read(saved.folder / form, VARIANT.alpha), saved.network.get_weights()
    assert len(found[-1]) == CLASSES
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_another_width_are_named_as_such(saved: Saved, form: str) -> None:
    with pytest.raises(StartError, match=rf"{form} has weights of α 0\.25, but MOBILENET_ALPHA is 0\.5"):
        read(saved.folder / form, 0.5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_damaged(saved: Saved, form: str, part: float, tmp_path: Path) -> None:
    whole = (saved.folder / form).read_bytes()
    (tmp_path / form).write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(StartError, match=f"{form} is not a Keras weight file, or it is damaged"):
        read(tmp_path / form, VARIANT.alpha)


def test_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    for name in ("notes.h5", "notes.keras"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(StartError, match="is not a Keras weight file"):
            read(tmp_path / name, 0.5)


def test_another_network_is_named_with_the_first_layer_that_differs(tmp_path: Path) -> None:
    import keras

    other = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=3)
    other.save(tmp_path / "other.keras")
    other.save_weights(tmp_path / "other.weights.h5")
    for name, message in [
        ("other.keras", r"its layer block_15_add \(Add\) joins the outputs of 2 layers, expected one after the other"),
        ("other.weights.h5", r"at conv_pw_1 it has \(1, 1, 16, 8\) \(its layer .*\), expected \(1, 1, 16, 32\)"),
    ]:
        with pytest.raises(StartError, match=f"^{name} is not a MobileNetV1: {message}"):
            read(tmp_path / name, 0.5)


def test_a_network_without_its_classifier_says_so(tmp_path: Path) -> None:
    import keras

    headless = keras.applications.MobileNet((32, 32, 3), alpha=0.25, weights=None, include_top=False)
    headless.save_weights(tmp_path / "headless.weights.h5")
    with pytest.raises(StartError, match="has no classifier layer"):
        read(tmp_path / "headless.weights.h5", 0.25)


@pytest.mark.parametrize("name", ["own.keras", "own.h5"])
def test_a_classifier_of_independent_classes_is_refused_and_one_of_logits_is_read(name: str, tmp_path: Path) -> None:
    """`predict` of Keras gives each class of the first a probability of its own, which a softmax would change."""
    network("sigmoid").save(tmp_path / name)
    with pytest.raises(StartError, match=rf"^{name.replace('.', '[.]')} ends in a sigmoid, .*: train it to end in a"):
        read(tmp_path / name, VARIANT.alpha)
    network(None).save(tmp_path / name)
    assert len(read(tmp_path / name, VARIANT.alpha)[-1]) == CLASSES


def test_a_file_of_weights_alone_cannot_say_what_it_ends_in(tmp_path: Path) -> None:
    network("sigmoid").save_weights(tmp_path / "own.weights.h5")
    assert len(read(tmp_path / "own.weights.h5", VARIANT.alpha)[-1]) == CLASSES


@pytest.mark.parametrize("config", [b"{", b"[]", b"{}", b"\xff", None])
def test_an_archive_without_a_configuration_of_a_model_is_refused(
    config: bytes | None, saved: Saved, tmp_path: Path
) -> None:
    with zipfile.ZipFile(saved.folder / "network.keras") as whole, zipfile.ZipFile(tmp_path / "own.keras", "w") as part:
        part.writestr("model.weights.h5", whole.read("model.weights.h5"))
        if config is not None:
            part.writestr("config.json", config)
    with pytest.raises(
        StartError, match=r"^own\.keras (is not a Keras weight file|does not have the layers)"
    ) as caught:
        read(tmp_path / "own.keras", VARIANT.alpha)
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_before_the_network_does_is_refused(saved: Saved, tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "short.h5"
    path.write_bytes((saved.folder / "network.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        attributes = file["model_weights"].attrs
        attributes["layer_names"] = attributes["layer_names"][:10]
    with pytest.raises(StartError, match=r"short\.h5 is not a MobileNetV1: it has \d+ arrays, expected 137"):
        read(path, VARIANT.alpha)


@needs.REFERENCE_DATA.mark()
@pytest.mark.parametrize(("name", "alpha"), [("mobilenet_2_5_128_tf.h5", 0.25), ("mobilenet_5_0_160_tf.h5", 0.5)])
def test_the_published_files_have_a_thousand_classes(name: str, alpha: float) -> None:
    assert len(read(SHARED / "imagenet" / name, alpha)[-1]) == 1000


# Models that contain a MobileNet


def base(**settings: Any) -> Any:
    import keras

    shape = settings.pop("input_shape", (SIDE, SIDE, 3))
    return keras.applications.MobileNet(shape, alpha=VARIANT.alpha, weights=None, include_top=False, **settings)


def pixels() -> Any:
    import keras

    return keras.Input((SIDE, SIDE, 3))


def rescaling(**settings: Any) -> Any:
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1, **settings)


def classifier(**settings: Any) -> Any:
    import keras

    return keras.layers.Dense(CLASSES, **{"activation": "softmax", **settings})


def sequential() -> Any:
    import keras

    pooling = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([pixels(), rescaling(), base(), pooling, keras.layers.Dropout(0.2), classifier()])


def guide() -> Any:
    """Return the model of Keras' guide to transfer learning: augmentation, scaling, a frozen network, a new top."""
    import keras
    from keras import layers

    inside, inputs = base(), pixels()
    inside.trainable = False
    augmentation = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    outputs = inside(keras.applications.mobilenet.preprocess_input(augmentation(inputs)), training=False)
    outputs = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(outputs))
    return keras.Model(inputs, classifier(name="photos", activation=None)(outputs))


def fine_tuned() -> Any:
    """Return one whose last layers are trained, and whose optimizer has a state."""
    import keras

    found = sequential()
    inside = next(layer for layer in found.layers if hasattr(layer, "layers"))
    for layer in inside.layers[:60]:
        layer.trainable = False
    found.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    found.optimizer.build(found.trainable_variables)
    return found


def flat() -> Any:
    import keras

    inputs = pixels()
    outputs = base(input_tensor=inputs / 127.5 - 1, pooling="avg").output
    return keras.Model(inputs, classifier(use_bias=False)(outputs))


def convolution() -> Any:
    import keras
    from keras import layers

    inputs = pixels()
    outputs = layers.GlobalAveragePooling2D(keepdims=True)(base()(rescaling()(inputs)))
    outputs = layers.Flatten()(layers.Conv2D(CLASSES, 1, name="classes")(outputs))
    return keras.Model(inputs, layers.Softmax()(outputs))


def two_levels() -> Any:
    import keras

    preparation = keras.Sequential([keras.layers.Resizing(SIDE, SIDE), rescaling()], name="preparation")
    features = keras.Sequential([base(), keras.layers.GlobalAveragePooling2D()], name="features")
    head = keras.Sequential([keras.Input((CHANNELS,)), keras.layers.Dropout(0.1), classifier()], name="head")
    return keras.Sequential([pixels(), preparation, features, head])


def renamed() -> Any:
    """Return one whose layers all have names of their own, which say nothing."""
    import keras

    names = iter(f"{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(200))

    def clone(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "name": f"own_{next(names)}"})

    return keras.models.clone_model(sequential(), clone_function=clone, recursive=True)


def flattened() -> Any:
    import keras

    # At 32 pixels one position is left, where flattening is averaging.
    inside = base(input_shape=(32, 32, 3))
    return keras.Sequential([keras.Input((32, 32, 3)), rescaling(), inside, keras.layers.Flatten(), classifier()])


MODELS = [sequential, guide, fine_tuned, flat, convolution, two_levels, renamed, flattened]


@cache
def filled(make: Callable[[], Any], saved: Saved) -> Any:
    """Return a model with the arrays of the saved network."""
    return fill(make(), expected(make, saved))


def fill(model: Any, arrays: list[Any]) -> Any:
    """Set these arrays on a model, each in the shape that it has there, and return it."""
    left = iter(arrays)
    for layer in _with_arrays(model):
        layer.set_weights([next(left).reshape(one.shape) for one in layer.get_weights()])
    return model


def _with_arrays(model: Any) -> list[Any]:
    found: list[Any] = []
    for layer in model.layers:
        found += _with_arrays(layer) if hasattr(layer, "layers") else [layer]
    return [layer for layer in found if hasattr(layer, "kernel") or hasattr(layer, "gamma")]


def expected(make: Callable[[], Any], saved: Saved) -> list[Any]:
    *arrays, bias = saved.network.get_weights()
    return [*arrays, bias * (make is not flat)]


@pytest.mark.parametrize("name", ["own.keras", "own.h5", "own.weights.h5"])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_mobilenet_is_read_from_whatever_model_it_was_put_into(
    make: Callable[[], Any], name: str, saved: Saved, tmp_path: Path
) -> None:
    model = filled(make, saved)
    (model.save_weights if name.endswith(".weights.h5") else model.save)(tmp_path / name)
    for ours, theirs in zip(read(tmp_path / name, VARIANT.alpha), expected(make, saved), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_with_what_is_read_the_answers_are_those_of_the_model(make: Callable[[], Any], saved: Saved) -> None:
    import keras

    from app.mobilenet.network import build

    model = filled(make, saved)
    side = model.input_shape[1]
    own, photos = build(VARIANT.alpha, side, CLASSES), images(4, side)
    own.set_weights(expected(make, saved))  # which are read from each of its files, as the test above says
    theirs = model(photos.astype(np.float32), training=False)
    theirs = keras.ops.softmax(theirs) if make is guide else theirs
    ours = own(photos, training=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.ptp(np.asarray(ours), axis=0).max() > 0.01, "the answers would be alike whatever is read"


def test_mixed_precision_and_float16_are_read_as_float32(saved: Saved, tmp_path: Path) -> None:
    import keras

    for policy in ("mixed_float16", "float16", "bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            model = sequential()
        finally:
            keras.config.set_dtype_policy("float32")
        fill(model, expected(sequential, saved))
        model.save(tmp_path / "own.keras")
        model.save_weights(tmp_path / "own.weights.h5")
        for name in ("own.keras", "own.weights.h5"):
            for ours, theirs in zip(read(tmp_path / name, VARIANT.alpha), expected(sequential, saved), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0 if policy == "mixed_float16" else 0.01, atol=1e-6)


def test_a_model_of_a_class_of_its_own_is_read_from_its_weights_alone(saved: Saved, tmp_path: Path) -> None:
    import keras

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network, self.pooling, self.classes = base(), keras.layers.GlobalAveragePooling2D(), classifier()

        def call(self, photos: Any) -> Any:
            return self.classes(self.pooling(self.network(photos / 127.5 - 1)))

    model = Own()
    model(np.zeros((1, SIDE, SIDE, 3), np.float32))
    fill(model, expected(Own, saved)).save_weights(tmp_path / "own.weights.h5")
    model.save(tmp_path / "own.keras")
    for ours, theirs in zip(read(tmp_path / "own.weights.h5", VARIANT.alpha), expected(Own, saved), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(StartError, match=r"^own\.keras is a model of a class of your own, Own, and the file does not"):
        read(tmp_path / "own.keras", VARIANT.alpha)


def other_scaling() -> Any:
    import keras

    pooling = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([pixels(), keras.layers.Rescaling(1 / 255), base(), pooling, classifier()])


def hidden_layer() -> Any:
    import keras

    inside = base(pooling="avg")
    return keras.Sequential([pixels(), rescaling(), inside, keras.layers.Dense(64, activation="relu"), classifier()])


def maximum() -> Any:
    import keras

    return keras.Sequential([pixels(), rescaling(), base(pooling="max"), keras.layers.Dropout(0.1), classifier()])


@pytest.mark.parametrize("name", ["own.keras", "own.h5"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            other_scaling,
            r"scales pixels to 0 … 1 before its first convolution, by rescaling\w* \(Rescaling\); expected -1",
        ),
        (
            hidden_layer,
            r"has 2 layers with weights behind its last convolution, dense\w* \(256, 64\), dense\w* \(64, 12\)",
        ),
        (
            maximum,
            "is not a MobileNetV1: between its last convolution and its classifier it has the layer global_max_pool",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_model_that_computes_something_else_is_refused(
    make: Callable[[], Any], message: str, name: str, tmp_path: Path
) -> None:
    make().save(tmp_path / name)
    with pytest.raises(StartError, match=rf"^{name} {message}"):
        read(tmp_path / name, VARIANT.alpha)
