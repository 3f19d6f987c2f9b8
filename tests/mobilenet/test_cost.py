import math

import pytest

from app.mobilenet.architecture import layers
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant

# Independent check values, counted with other programs.
MACS = {
    1.0: (568_740_352, 418_121_728, 290_675_200, 186_400_768),
    0.75: (325_400_448, 239_273_472, 166_396_800, 106_770_432),
    0.5: (149_497_088, 109_970_432, 76_524_800, 49_160_192),
    0.25: (41_030_272, 30_212_608, 21_059_200, 13_570_048),
}
PARAMETERS = {1.0: 4_253_864, 0.75: 2_601_976, 0.5: 1_342_536, 0.25: 475_544}


@pytest.mark.parametrize("alpha", MACS)
def test_the_cost_of_the_sixteen_published_variants_is_exact(alpha: float) -> None:
    for resolution, macs in zip((224, 192, 160, 128), MACS[alpha], strict=True):
        total = cost(Variant(alpha, resolution))
        assert (total.macs, total.flops, total.parameters) == (macs, 2 * macs, PARAMETERS[alpha])


def test_what_does_not_train_is_the_moving_mean_and_variance_of_each_channel() -> None:
    assert cost(Variant(1.0, 224)).trainable == 4_231_976


def test_fewer_classes_save_what_the_classifier_costs_for_them() -> None:
    many, few = cost(Variant(0.5, 160), 1000), cost(Variant(0.5, 160), 10)
    assert many.macs - few.macs == 990 * 512
    assert many.parameters - few.parameters == 990 * 513


def test_the_totals_are_the_sums_of_the_layers() -> None:
    total = cost(Variant(0.75, 192))
    assert len(total.layers) == 28
    for name in ("macs", "flops", "parameters", "trainable", "activation_bytes"):
        assert getattr(total, name) == sum(getattr(layer, name) for layer in total.layers)


def test_a_separable_layer_costs_1_over_n_plus_1_over_9_of_a_standard_one() -> None:
    separable = cost(Variant(1.0, 224)).separable
    assert len(separable) == 13
    for item, pointwise in zip(separable, list(layers(1.0, 224))[2::2], strict=False):
        assert math.isclose(item.ratio, 1 / pointwise.out_channels + 1 / 9)
    # Block 12 by hand: 3 · 3 · 512 · 1024 · 7 · 7 as a standard convolution.
    assert separable[11].standard_macs == 231_211_008
    assert separable[11].name == "conv_dw_12+conv_pw_12"
    # Parameters by hand, with batch normalisation's four a channel.
    assert separable[11].parameters == 9 * 512 + 512 * 1024 + 4 * (512 + 1024)
    assert separable[11].standard_parameters == 9 * 512 * 1024 + 4 * 1024


def test_activations_are_float32_outputs() -> None:
    stem, *_, classifier = cost(Variant(1.0, 224)).layers
    assert stem.activation_bytes == 112 * 112 * 32 * 4
    assert classifier.activation_bytes == 1000 * 4


def test_each_half_of_a_separable_layer_has_its_share_of_the_standard_one() -> None:
    stem, *features, classifier = cost(Variant(0.5, 160)).layers
    assert stem.ratio == classifier.ratio == 1
    for depthwise, pointwise in zip(features[::2], features[1::2], strict=True):
        assert math.isclose(depthwise.ratio, 1 / pointwise.layer.out_channels)
        assert math.isclose(pointwise.ratio, 1 / 9)
