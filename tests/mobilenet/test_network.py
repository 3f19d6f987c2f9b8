from typing import Any

import numpy as np
import pytest

from app.mobilenet.ablations import ABLATIONS, Architecture
from app.mobilenet.architecture import layers
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import ALPHAS, Variant
from tests.support import needs
from tests.support.networks import images, lively

pytestmark = [pytest.mark.tensorflow, needs.TENSORFLOW.mark()]


def build(alpha: float, resolution: int | None, classes: int, **options: Any) -> Any:
    from app.mobilenet import network

    return network.build(alpha, resolution, classes, **options)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_network_has_the_parameters_that_the_account_counts(alpha: float) -> None:
    network = build(alpha, 128, 1000)
    total = cost(Variant(alpha, 128))
    assert network.count_params() == total.parameters
    assert sum(weight.size for weight in map(np.asarray, network.trainable_weights)) == total.trainable


def count(network: Any) -> dict[str, int]:
    """Return the MACs of each layer with weights, by its kernel and what it puts out, as Keras built it."""
    import keras

    found = {}
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            _, height, width, _ = layer.output.shape
            found[layer.name] = int(np.prod(layer.kernel.shape)) * height * width
    return found


@pytest.mark.parametrize(("alpha", "resolution"), [(1.0, 224), (0.75, 96), (0.25, 160)])
@pytest.mark.parametrize("table", [layers, *(item.layers for item in ABLATIONS)])
def test_the_account_is_what_counting_over_the_network_gives(
    table: Architecture, alpha: float, resolution: int
) -> None:
    from app.mobilenet.network import assemble

    network = assemble(table(alpha, resolution, 10), resolution)
    total = Cost.of(table(alpha, resolution, 10))
    assert count(network) == {item.layer.name: item.macs for item in total.layers}
    assert network.count_params() == total.parameters


def test_the_feature_maps_have_the_sizes_of_the_table() -> None:
    network = build(0.25, 96, 5)
    for layer in list(layers(0.25, 96, 5))[:-1]:
        shape = network.get_layer(f"{layer.name}_relu").output.shape
        assert shape == (None, layer.out_size, layer.out_size, layer.out_channels)


@pytest.mark.parametrize("resolution", [128, 160, 224])
def test_it_answers_as_the_network_of_keras_applications_with_the_same_weights(resolution: int) -> None:
    import keras

    theirs = keras.applications.MobileNet((resolution, resolution, 3), alpha=0.25, weights=None, classes=11)
    ours = lively(0.25, resolution, 11)
    named = {layer.name: layer for layer in theirs.layers if layer.weights}
    assert [layer.name for layer in ours.layers if layer.weights] == list(named)
    for layer in ours.layers:
        if layer.weights:
            named[layer.name].set_weights(layer.get_weights())
    pixels = images(4, resolution, seed=1)
    expected = np.asarray(theirs(pixels.astype(np.float32) / 127.5 - 1))
    assert np.ptp(expected, axis=0).max() > 0.1, "the images must not look alike to the network"
    np.testing.assert_allclose(ours(pixels), expected, atol=1e-5)


def test_without_a_resolution_one_network_takes_images_of_any_size() -> None:
    network = build(0.25, None, 4, input_dtype="float32")
    for resolution in (96, 128):
        pixels = np.zeros((1, resolution, resolution, 3), np.float32)
        assert network(pixels).shape == (1, 4)
