from itertools import pairwise

import pytest

from app.mobilenet.ablations import ABLATIONS, Architecture, full_convolution, pointwise_stride, shallow
from app.mobilenet.architecture import layers
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import Variant


@pytest.mark.parametrize(
    ("network", "macs", "parameters"),
    [
        # Independent check values, counted with other programs; tables 4 and 5 of the paper round them.
        (full_convolution, 4_867_293_184, 29_306_056),
        (shallow, 307_323_392, 2_899_624),
        # 3 · 9 · (56² · 64 + 28² · 128 + 14² · 256 + 7² · 512) more than with the stride where it belongs.
        (pointwise_stride, 568_740_352 + 10_160_640, 4_253_864),
    ],
)
def test_the_ablations_at_full_width_and_resolution_cost_what_others_count(
    network: Architecture, macs: int, parameters: int
) -> None:
    total = Cost.of(network(1.0, 224, 1000))
    assert (total.macs, total.parameters) == (macs, parameters)


@pytest.mark.parametrize("network", [item.layers for item in ABLATIONS])
def test_every_layer_reads_what_the_one_before_it_writes(network: Architecture) -> None:
    *features, classifier = network(0.75, 160, 7)
    for before, after in pairwise(features):
        assert (before.out_size, before.out_channels) == (after.in_size, after.in_channels)
    for layer in features:
        assert layer.in_size == layer.out_size * layer.stride
    assert (features[-1].out_size, classifier.in_channels, classifier.out_channels) == (5, 768, 7)


def test_the_standard_convolutions_are_those_that_the_separable_layers_are_compared_with() -> None:
    separable = cost(Variant(0.5, 192)).separable
    _, *convolutions, _ = Cost.of(full_convolution(0.5, 192, 1000)).layers
    assert [item.standard_macs for item in separable] == [item.macs for item in convolutions]
    assert [item.standard_parameters for item in separable] == [item.parameters for item in convolutions]


def test_the_misplaced_stride_costs_four_times_the_depthwise_layers_that_have_it() -> None:
    right, wrong = Cost.of(layers(1.0, 224)), Cost.of(pointwise_stride(1.0, 224, 1000))
    for one, other in zip(right.layers, wrong.layers, strict=True):
        strided = one.layer.kind == "depthwise" and one.layer.stride == 2
        assert other.macs == one.macs * (4 if strided else 1)
        assert other.activation_bytes == one.activation_bytes * (4 if strided else 1)
