"""How weight files are read that are made with h5py alone: the layouts of Keras 2 and 3, and what is refused."""

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.engines.keras.reader import read
from app.errors import StartError
from tests.support.keras_files import (
    ALPHA,
    CHANNELS,
    CLASSES,
    IMAGE,
    RESCALING,
    Array,
    Config,
    Layers,
    body,
    dense,
    flat,
    functional,
    functional_of_keras_2,
    layer,
    nested,
    network,
    numbered,
    save_archive,
    save_current,
    save_legacy,
    sequential,
    tensor,
    top,
    weights,
)

h5py = pytest.importorskip("h5py")
NETWORK = network()
BODY, DENSE = dense(NETWORK)


def check(path: Path, expected: Layers = NETWORK) -> None:
    for ours, theirs in zip(read(path, ALPHA), flat(expected), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


def refusal(path: Path, alpha: float = ALPHA) -> str:
    with pytest.raises(StartError) as caught:
        read(path, alpha)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Weights alone


def test_a_network_inside_a_model_is_read_without_the_names_of_its_layers(tmp_path: Path) -> None:
    """As Keras 2.13 writes it; the arrays of the optimizer, of metrics and of random generators are not read."""
    others: dict[str, list[Any]] = {
        "optimizer": [np.int64(1), *DENSE],
        "metrics/mean": [np.float32(0)],
        "layers/dropout/seed_generator": [np.zeros(2, np.uint32)],
    }
    check(save_current(tmp_path / "own.weights.h5", {**nested(BODY), "layers/dense": DENSE, **others}))
    deeper = nested(BODY, "layers/sequential/layers/functional/layers")
    check(save_current(tmp_path / "own.weights.h5", {**deeper, "layers/dense": DENSE}))


def test_a_network_in_two_halves_is_read_in_their_order(tmp_path: Path) -> None:
    first, second = dict(list(BODY.items())[:30]), dict(list(BODY.items())[30:])
    places = nested(first) | nested(second, "layers/functional_1/layers")
    check(save_current(tmp_path / "own.weights.h5", {**places, "layers/dense": DENSE}))


def test_a_classifier_may_be_a_convolution_or_dense_and_may_have_no_bias(tmp_path: Path) -> None:
    kernel, bias = NETWORK["conv_preds"]
    without = {**NETWORK, "conv_preds": [kernel, np.zeros_like(bias)]}
    path = tmp_path / "own.weights.h5"
    check(save_current(path, {**nested(BODY), "layers/conv2d": [kernel, bias]}))
    check(save_current(path, {**nested(BODY), "layers/conv2d": [kernel]}), without)
    check(save_current(path, {**nested(BODY), "layers/dense": DENSE[:1]}), without)


def test_weights_of_16_bits_are_read_as_float32(tmp_path: Path) -> None:
    halves: dict[str, Any] = {name: [array.astype(np.float16) for array in arrays] for name, arrays in NETWORK.items()}
    path = save_current(tmp_path / "own.weights.h5", nested(halves, "layers"))
    check(path, {name: [half.astype(np.float32) for half in arrays] for name, arrays in halves.items()})

    rounded = {n: [(a.view(np.uint32) >> 16).astype(np.uint16) for a in arrays] for n, arrays in NETWORK.items()}
    path = save_current(path, nested({n: [a.view("V2") for a in arrays] for n, arrays in rounded.items()}, "layers"))
    check(path, {n: [(a.astype(np.uint32) << 16).view(np.float32) for a in arrays] for n, arrays in rounded.items()})


def frozen(rename: dict[str, str], first: int = 40) -> list[tuple[str, Array]]:
    """Return the arrays of a model inside a model as Keras 2 writes them when its first layers are not trained.

    Those that are trained come first, and no statistics of batch normalisation are.
    """
    found = list(weights({rename[name]: arrays for name, arrays in BODY.items()}))
    still = {rename[name] for name in list(BODY)[:first]}
    trained = [one for one in found if one[0].partition("/")[0] not in still and "moving" not in one[0]]
    return trained + [one for one in found if not any(one is other for other in trained)]


@pytest.mark.parametrize(
    "names", [dict(zip(BODY, BODY, strict=True)), numbered(BODY)], ids=["applications", "numbered"]
)
def test_arrays_that_are_not_in_the_order_of_the_model_are_ordered_by_names(
    names: dict[str, str], tmp_path: Path
) -> None:
    last = list(weights({"dense": DENSE}))
    for first in (0, 40, len(BODY)):
        groups = {"rescaling": [], "mobilenet": frozen(names, first), "dropout": [], "dense": last}
        check(save_legacy(tmp_path / "own.h5", groups))


def test_an_order_that_the_file_does_not_say_is_not_guessed(tmp_path: Path) -> None:
    # Names of the layers that are all different and have no number.
    names = {name: "".join(chr(97 + int(digit)) for digit in f"{index:02}") for index, name in enumerate(BODY)}
    groups = {"mobilenet": frozen(names), "dense": list(weights({"dense": DENSE}))}
    assert "own.h5 does not say whether " in refusal(save_legacy(tmp_path / "own.h5", groups))
    places = {f"own_{names[name]}": arrays for name, arrays in BODY.items()}
    text = refusal(save_current(tmp_path / "own.weights.h5", {**places, "classifier": DENSE}))
    assert "comes first, and both have the shape (8,); save the whole model as .keras instead" in text


def test_layers_in_another_order_are_another_network(tmp_path: Path) -> None:
    kernels = [name for name in BODY if "_pw_" in name and not name.endswith("_bn")]
    swapped = {**BODY, kernels[1]: BODY[kernels[3]], kernels[3]: BODY[kernels[1]]}
    text = refusal(save_current(tmp_path / "own.weights.h5", {**nested(swapped), "layers/dense": DENSE}))
    assert (
        "own.weights.h5 is not a MobileNetV1: layers/functional/layers/conv2d_3, which would have to be conv_pw_"
        in text
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layers/dense": None},
            "has no classifier layer; it was saved with include_top=False",
        ),
        (
            {"layers/dense": [np.ones((CHANNELS, 64)), np.ones(64)], "layers/dense_1": [np.ones((64, 3)), np.ones(3)]},
            "has 2 layers with weights behind its last convolution, layers/dense (256, 64), layers/dense_1 (64, 3); "
            "expected one, the classifier",
        ),
        (
            {"layers/dense": [np.ones((4 * CHANNELS, CLASSES)), np.ones(CLASSES)]},
            "is not a MobileNetV1: at conv_preds it has (1024, 3) and (3,) (its layer layers/dense), expected "
            "(256, classes) or (1, 1, 256, classes), and (classes,)",
        ),
        (
            {"layers/normalization": [np.ones(3), np.ones(3)]},
            "has 2 layers with weights behind its last convolution, layers/dense (256, 3), layers/normalization (3,); "
            "expected one, the classifier",
        ),
        (
            {"layers/functional/layers/conv2d_4": [np.ones((3, 3, 32, 64))]},
            "is not a MobileNetV1: at conv_pw_4 it has (3, 3, 32, 64) (its layer layers/functional/layers/conv2d_4), "
            "expected (1, 1, 32, 64)",
        ),
        (
            {"layers/functional/layers/batch_normalization_26": None},
            "is not a MobileNetV1: at conv_pw_13_bn it has",
        ),
    ],
    ids=["no top", "hidden layer", "flattened", "normalisation", "kernel", "missing"],
)
def test_what_is_not_this_network_is_said_with_the_layer_and_its_shape(
    change: dict[str, list[Array] | None], message: str, tmp_path: Path
) -> None:
    places = {**nested(BODY), "layers/dense": DENSE, **change}
    path = save_current(
        tmp_path / "own.weights.h5", {name: found for name, found in places.items() if found is not None}
    )
    assert refusal(path).startswith(f"own.weights.h5 {message}")


def test_another_width_is_said_wherever_the_network_is(tmp_path: Path) -> None:
    path = save_current(tmp_path / "own.weights.h5", {**nested(BODY), "layers/dense": DENSE})
    assert refusal(path, 0.5) == "own.weights.h5 has weights of α 0.25, but MOBILENET_ALPHA is 0.5"


def test_a_file_without_layers_says_so(tmp_path: Path) -> None:
    path = save_current(tmp_path / "own.weights.h5", {"optimizer": DENSE})
    assert refusal(path) == "own.weights.h5 has no layers with weights"


def test_groups_that_contain_one_another_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.weights.h5", "w") as file:
        file["layers/one/two"] = file["/"]
    assert refusal(tmp_path / "own.weights.h5").endswith("or it is damaged: its groups contain one another")


def test_an_array_that_no_network_has_is_not_read(tmp_path: Path) -> None:
    path = save_current(tmp_path / "own.weights.h5", {**nested(BODY), "layers/dense": DENSE[:1]})
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (CHANNELS, 10**9), np.float32, chunks=(1, 1000))
    assert refusal(path).endswith(f"or it is damaged: /layers/dense/vars/0 is larger than {2**30} bytes")


# Whole models


def model(*front: Config, layers: list[Config] | None = None, end: list[Config] | None = None) -> Config:
    inside = functional(IMAGE, *(layers or body()), name="mobilenet")
    return functional(layer("InputLayer", "pixels"), *front, inside, *(end or top()))


PLACES = {**nested(BODY), "layers/dense": DENSE}


def test_a_whole_model_is_read_in_the_order_of_its_configuration(tmp_path: Path) -> None:
    check(save_archive(tmp_path / "own.keras", PLACES, model(RESCALING)))
    check(save_archive(tmp_path / "own.keras", PLACES, model()))
    legacy = {"mobilenet": frozen({name: name for name in BODY}), "dense": list(weights({"dense": DENSE}))}
    check(save_legacy(tmp_path / "own.h5", legacy, model(RESCALING)))


def test_the_order_is_that_of_the_calls_and_not_that_of_the_list(tmp_path: Path) -> None:
    config = model()
    inside = config["config"]["layers"][1]["config"]
    inside["layers"] = inside["layers"][::-1]
    backwards = {name: BODY[name] for name in reversed(BODY)}
    check(save_archive(tmp_path / "own.keras", {**nested(backwards), "layers/dense": DENSE}, config))


def test_the_names_of_a_whole_model_may_be_any(tmp_path: Path) -> None:
    names = {name: f"own_{chr(97 + index % 26)}{chr(97 + index // 26)}" for index, name in enumerate(BODY)}
    renamed = [{**one, "name": names.get(one["name"], one["name"])} for one in body()]
    groups = {"mobilenet": frozen(names), "dense": list(weights({"dense": DENSE}))}
    check(save_legacy(tmp_path / "own.h5", groups, model(layers=renamed)))


def operation(name: str, value: Any) -> Config:
    return layer(name, operands=[value])


def operation_of_keras_2(function: str, value: Any) -> Config:
    return {**layer("TFOpLambda", f"tf.{function}", function=function, keywords={"y": value, "name": None})}


@pytest.mark.parametrize(
    "front",
    [
        [RESCALING],
        [operation("TrueDivide", 127.5), operation("Subtract", 1.0)],
        [operation("Multiply", 1 / 127.5), operation("Add", -1)],
        [layer("Resizing", height=64, width=64), layer("RandomFlip", mode="horizontal"), RESCALING],
        [sequential(layer("RandomFlip"), layer("RandomRotation"), name="augmentation"), RESCALING],
        [layer("Rescaling", "first", scale=1 / 255, offset=0), layer("Rescaling", "second", scale=2, offset=-1)],
    ],
    ids=["Rescaling", "preprocess_input", "other operations", "resizing", "augmentation", "two steps"],
)
def test_the_scaling_of_the_service_may_be_in_front(front: list[Config], tmp_path: Path) -> None:
    check(save_archive(tmp_path / "own.keras", PLACES, model(*copy.deepcopy(front))))


def test_the_operations_of_keras_2_may_be_in_front(tmp_path: Path) -> None:
    inside = functional_of_keras_2(IMAGE, *body(), name="mobilenet")
    for offset, accepted in ((1.0, True), (0.5, False)):
        front = operation_of_keras_2("math.truediv", 127.5), operation_of_keras_2("math.subtract", offset)
        config = functional_of_keras_2(layer("InputLayer", "pixels"), *front, inside, *top())
        path = save_archive(tmp_path / "own.keras", PLACES, config)
        if accepted:
            check(path)
        else:
            assert "own.keras scales pixels to -0.5 … 1.5 before its first convolution" in refusal(path)


@pytest.mark.parametrize(
    ("front", "message"),
    [
        (
            [layer("Rescaling", scale=1 / 255, offset=0)],
            "scales pixels to 0 … 1 before its first convolution, by rescaling",
        ),
        ([layer("Rescaling", scale=1, offset=0)], "scales pixels to 0 … 255 before its first convolution"),
        ([layer("Rescaling", scale=[1, 2, 3], offset=0)], "scales pixels to 0 … 255, 510, 765 before its first"),
        ([RESCALING, operation("Multiply", 2)], "scales pixels to -2 … 2 before its first convolution, by rescaling"),
        (
            [layer("Lambda")],
            "has the layer lambda (Lambda) before its first convolution, whose effect on pixels is not",
        ),
        ([layer("Normalization")], "has the layer normalization (Normalization) before its first convolution"),
        ([layer("CenterCrop")], "has the layer centercrop (CenterCrop) before its first convolution"),
        ([operation("Power", 2)], "has the layer power (Power) before its first convolution"),
    ],
    ids=lambda value: None if isinstance(value, list) else value[:40],
)
def test_another_scaling_is_refused_with_what_is_expected(front: list[Config], message: str, tmp_path: Path) -> None:
    text = refusal(save_archive(tmp_path / "own.keras", PLACES, model(*copy.deepcopy(front))))
    assert text.startswith(f"own.keras {message}")
    assert "Rescaling(1/127.5, offset=-1) or keras.applications.mobilenet.preprocess_input" in text


def changed(name: str, **config: Any) -> list[Config]:
    return [{**one, "config": one["config"] | config} if one["name"] == name else one for one in body()]


def inserted(before: str, one: Config) -> list[Config]:
    found = body()
    place = [layer["name"] for layer in found].index(before)
    return [*found[:place], one, *found[place:]]


def padded(name: str, *edges: int) -> list[Config]:
    """Return the layers with the padding before a convolution in a layer of its own."""
    layers = inserted(name, layer("ZeroPadding2D", padding=[[*edges]] * 2))
    for one in layers:
        if one["name"] == name:
            one["config"]["padding"] = "valid"
    return layers


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            changed("conv_dw_2", strides=[1, 1]),
            "at conv_dw_2 it has the layer conv_dw_2 (DepthwiseConv2D), expected strides=",
        ),
        (
            changed("conv_pw_2", activation="relu"),
            "at conv_pw_2 it has the layer conv_pw_2 (Conv2D), expected activation=",
        ),
        (
            changed("conv_dw_3", padding="valid"),
            "at conv_dw_3 it has the layer conv_dw_3 (DepthwiseConv2D), expected padd",
        ),
        (
            changed("conv_dw_3", dilation_rate=[2, 2]),
            "at conv_dw_3 it has the layer conv_dw_3 (DepthwiseConv2D), expected d",
        ),
        (
            changed("conv1_bn", epsilon=1e-5),
            "at conv1_bn it has the layer conv1_bn (BatchNormalization), expected epsilon=",
        ),
        (changed("conv1_relu", max_value=None), "at conv1_relu it has the layer conv1_relu (ReLU), expected ReLU(6.0)"),
        (
            inserted("conv_pw_3", layer("SpatialMean")),
            "at conv_pw_3 it has the layer spatialmean (SpatialMean), expected a",
        ),
        (
            inserted("conv_dw_2", layer("ZeroPadding2D", padding=[[1, 1], [1, 1]])),
            "at conv_dw_2 it has the layer conv_dw_2 (DepthwiseConv2D), expected padding=",
        ),
        (padded("conv1", 1, 1), "at conv1 it has the layer conv1 (Conv2D), expected padding="),
        (body()[:-3], "at conv_pw_13 it has (256, 3) and (3,) (its layer layers/dense), expected (1, 1, 256, 256)"),
    ],
    ids=lambda value: None if isinstance(value, list) else value[:24],
)
def test_layers_that_compute_something_else_are_refused(layers: list[Config], message: str, tmp_path: Path) -> None:
    names = {one["name"] for one in layers}
    places = {**nested({name: found for name, found in BODY.items() if name in names}), "layers/dense": DENSE}
    text = refusal(save_archive(tmp_path / "own.keras", places, model(layers=layers)))
    assert text.startswith(f"own.keras is not a MobileNetV1: {message}")


@pytest.mark.parametrize("front", [[IMAGE], [IMAGE, RESCALING]], ids=["scaled before", "scaled by the model"])
@pytest.mark.parametrize("name", ["conv1", "conv_dw_2"])
def test_padding_as_keras_applications_has_it_is_read(name: str, front: list[Config], tmp_path: Path) -> None:
    check(save_archive(tmp_path / "own.keras", PLACES, model(*copy.deepcopy(front), layers=padded(name, 0, 1))))


POOL, DROPOUT, LAST = top()


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            [layer("GlobalMaxPooling2D", "pool"), LAST],
            "is not a MobileNetV1: between its last convolution and its classifier it has",
        ),
        (
            [LAST],
            "is not a MobileNetV1: between its last convolution and its classifier it has nothing, expected a Global",
        ),
        (
            [POOL, layer("LayerScale"), LAST],
            "is not a MobileNetV1: at conv_preds it has the layer layerscale (LayerScale)",
        ),
        ([POOL, *top("sigmoid")[2:]], "ends in a sigmoid, which gives each class a probability of its own"),
        ([POOL, *top("tanh")[2:]], "ends in tanh; expected a softmax"),
        ([POOL, LAST, layer("Softmax")], "ends in softmax and then softmax; expected one softmax, or nothing (logits)"),
        ([POOL, LAST, layer("Multiply", operands=[2])], "is not a MobileNetV1: at its end it has the layer multiply"),
    ],
    ids=["maximum", "no pooling", "another layer", "sigmoid", "tanh", "two softmax", "operation"],
)
def test_an_end_that_the_service_does_not_have_is_refused(end: list[Config], message: str, tmp_path: Path) -> None:
    text = refusal(save_archive(tmp_path / "own.keras", PLACES, model(end=copy.deepcopy(end))))
    assert text.startswith(f"own.keras {message}")


@pytest.mark.parametrize(
    "end",
    [
        [POOL, DROPOUT, LAST],
        [layer("Flatten"), LAST],
        [POOL, layer("Flatten"), *top("linear")[2:], layer("Softmax")],
        [POOL, *top("linear")[2:], layer("Activation", activation="softmax")],
        [POOL, *top("linear")[2:], layer("Activation", activation="linear")],
        [sequential(POOL, DROPOUT, LAST, name="head")],
    ],
    ids=["dropout", "flatten", "softmax", "activation", "logits", "nested"],
)
def test_ends_that_mean_the_same_are_read(end: list[Config], tmp_path: Path) -> None:
    inside = end[0]["class_name"] == "Sequential"
    places = {**nested(BODY), "layers/sequential/layers/dense" if inside else "layers/dense": DENSE}
    check(save_archive(tmp_path / "own.keras", places, model(end=copy.deepcopy(end))))
    groups = {"mobilenet": list(weights(BODY)), "head" if inside else "dense": list(weights({"dense": DENSE}))}
    check(save_legacy(tmp_path / "own.h5", groups, model(end=copy.deepcopy(end))))


def test_branches_second_calls_and_training_are_refused(tmp_path: Path) -> None:
    def text(change: Callable[[Config], None]) -> str:
        config = model(RESCALING)
        change(next(one for one in config["config"]["layers"] if one["name"] == "dense"))
        return refusal(save_archive(tmp_path / "own.keras", PLACES, config))

    def joined(one: Config) -> None:
        one["inbound_nodes"][0]["args"] = [[tensor("dropout"), tensor("pool")]]

    assert "its layer dense (Dense) joins the outputs of 2 layers, expected one" in text(joined)
    assert "it uses the layer dense 2 times" in text(lambda one: one["inbound_nodes"].append(one["inbound_nodes"][0]))
    training = text(lambda one: one["inbound_nodes"][0]["kwargs"].update(training=True))
    assert "calls its layer dense with training=True" in training


def test_a_configuration_and_arrays_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    assert "own.keras is not a MobileNetV1: it has 135 arrays, expected 137" in refusal(
        save_archive(path, nested(BODY), model())
    )
    extra = {**PLACES, "layers/dense_1": DENSE}
    assert "has arrays of layers/dense_1, where its configuration has no such" in refusal(
        save_archive(path, extra, model())
    )
    with h5py.File(save_archive(path, PLACES, model()).with_name("inside.h5"), "r+") as file:
        file["layers/dense/vars"].attrs["name"] = "other"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_name("inside.h5"), "model.weights.h5")
        archive.writestr("config.json", json.dumps(model()))
    assert "has arrays of other, where its configuration has dense (Dense)" in refusal(path)
    own = {"class_name": "Own", "config": {"name": "own"}}
    assert "own.keras is a model of a class of your own, Own, and" in refusal(save_archive(path, PLACES, own))


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3), lambda more: st.lists(more, max_size=3)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_configuration_has_the_answer_is_one_line(data: st.DataObject, tmp_path: Path) -> None:
    text = json.dumps(model(RESCALING, end=[POOL, LAST]))
    found = json.loads(text)
    one: Any = found
    while data.draw(st.integers(0, 9)) and isinstance(one, dict | list) and one:
        key = data.draw(st.sampled_from(sorted(one) if isinstance(one, dict) else range(len(one))))
        if not isinstance(one[key], dict | list) or not one[key] or not data.draw(st.integers(0, 7)):
            one[key] = data.draw(ANY)
            break
        one = one[key]
    path = tmp_path / "own.h5"
    if not path.exists():
        save_legacy(path, LEGACY)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(found)
    try:
        check(path)
    except StartError as exc:
        assert "\n" not in str(exc)  # noqa: PT017


LEGACY: dict[str, list[tuple[str, Array]]] = {
    "mobilenet": list(weights(BODY)),
    "dense": list(weights({"dense": DENSE})),
}


def test_a_configuration_without_end_is_refused(tmp_path: Path) -> None:
    path = save_legacy(tmp_path / "own.h5", LEGACY)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "[" * 20_000
    assert refusal(path).startswith("own.h5 is not a Keras weight file, or it is damaged")
