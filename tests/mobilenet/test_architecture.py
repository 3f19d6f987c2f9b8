from itertools import pairwise

from app.mobilenet.architecture import STRIDE, layers


def test_the_layers_are_those_of_table_1_of_the_paper() -> None:
    rows = [
        (layer.kind, layer.stride, layer.in_size, layer.in_channels, layer.out_channels) for layer in layers(1.0, 224)
    ]
    five = [("depthwise", 1, 14, 512, 512), ("pointwise", 1, 14, 512, 512)] * 5
    assert rows == [
        ("convolution", 2, 224, 3, 32),
        ("depthwise", 1, 112, 32, 32),
        ("pointwise", 1, 112, 32, 64),
        ("depthwise", 2, 112, 64, 64),
        ("pointwise", 1, 56, 64, 128),
        ("depthwise", 1, 56, 128, 128),
        ("pointwise", 1, 56, 128, 128),
        ("depthwise", 2, 56, 128, 128),
        ("pointwise", 1, 28, 128, 256),
        ("depthwise", 1, 28, 256, 256),
        ("pointwise", 1, 28, 256, 256),
        ("depthwise", 2, 28, 256, 256),
        ("pointwise", 1, 14, 256, 512),
        *five,
        ("depthwise", 2, 14, 512, 512),
        ("pointwise", 1, 7, 512, 1024),
        ("depthwise", 1, 7, 1024, 1024),
        ("pointwise", 1, 7, 1024, 1024),
        ("classifier", 1, 1, 1024, 1000),
    ]


def test_every_layer_reads_what_the_one_before_it_writes() -> None:
    for alpha, resolution in [(0.75, 192), (0.25, 32)]:
        *features, classifier = layers(alpha, resolution, classes=7)
        for before, after in pairwise(features):
            assert (before.out_size, before.out_channels) == (after.in_size, after.in_channels)
        assert features[-1].out_size == resolution // STRIDE
        assert (classifier.in_channels, classifier.out_channels) == (features[-1].out_channels, 7)
