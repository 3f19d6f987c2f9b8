"""The answer of `/model-info`: what a variant is, what it costs and scores, and how it is served."""

import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from app import __version__
from app.config import Settings
from app.measurements import UNFAMILIAR
from app.mobilenet.ablations import ABLATIONS, Ablation
from app.mobilenet.architecture import IMAGENET_CLASSES
from app.mobilenet.cost import Cost, LayerCost, SeparableCost, cost
from app.mobilenet.variants import BASE, CHECKPOINTS, PAPER, PUBLISHED, Variant
from app.model.model import Model
from app.schemas import (
    AblationItem,
    Accuracy,
    Batching,
    FamiliarityInfo,
    LayerItem,
    ModelInfo,
    Parameters,
    Preprocessing,
    PublishedAccuracy,
    SeparableItem,
)

PACKAGES = ("ai-edge-litert", "fastapi", "openvino", "pillow", "tensorflow", "uvicorn")

PREPROCESSING = Preprocessing(
    orientation="turned upright as EXIF says",
    transparency="composited on white",
    crop="central square, 87.5 % of the shorter side",
    resize="bilinear with antialiasing, to the resolution",
    scale="pixels 0 to 255 to -1 to 1, in the network",
)


def model_info(models: Sequence[Model], variant: Variant, settings: Settings, *, layers: bool) -> ModelInfo:
    """Describe a variant for the classes of the served models, whose first is the default.

    With `layers` the description has the tables of layers, separable convolutions and ablations too.
    """
    model = next((one for one in models if one.variant == variant), models[0])
    served = variant == model.variant
    total = cost(variant, model.engine.classes)
    return ModelInfo(
        served=served,
        default=variant == models[0].variant,
        alpha=variant.alpha,
        rho=variant.rho,
        resolution=variant.resolution,
        classes=model.engine.classes,
        labels=[one.label for one in model.labels],
        familiarity=_familiarity(model) if served else None,
        parameters=Parameters(total=total.parameters, trainable=total.trainable),
        macs=total.macs,
        flops=total.flops,
        flops_in_words="FLOPs are 2 × MACs: one multiplication and one addition for each multiply-accumulate",
        activation_bytes=total.activation_bytes,
        accuracy=Accuracy(measured=model.score(variant), published=published(model, variant)),
        weights=model.weights if served else None,
        weights_sha256=model.weights_sha256 if served else None,
        precision=model.engine.precision if served else None,
        engine=model.engine.name if served else None,
        preprocessing=PREPROCESSING,
        batching=Batching(
            max_batch_size=settings.max_batch_size, max_wait_ms=settings.max_wait_ms, max_queue=settings.max_queue
        ),
        versions=_versions(),
        layers=[_layer(item, total) for item in total.layers] if layers else None,
        separable=[_separable(item) for item in total.separable] if layers else None,
        ablations=[_ablation(item, variant, total, model.engine.classes) for item in ABLATIONS] if layers else None,
    )


def _familiarity(model: Model) -> FamiliarityInfo | None:
    known = model.familiarity
    return None if known is None else FamiliarityInfo(images=known.images, unfamiliar_below=UNFAMILIAR)


def published(model: Model, variant: Variant) -> PublishedAccuracy | None:
    """Return what the published ImageNet weights of this variant score; None for other weights."""
    found = PUBLISHED.get(variant)
    # Whether its weights are the published ones is known of the served variant alone; the others have the same classes.
    if found is None or model.engine.classes != IMAGENET_CLASSES:
        return None
    if variant == model.variant and not model.published:
        return None
    return PublishedAccuracy(
        paper_top1=found.paper_top1,
        checkpoint_top1=found.checkpoint_top1,
        checkpoint_top5=found.checkpoint_top5,
        sources=[PAPER, CHECKPOINTS],
    )


def _layer(item: LayerCost, total: Cost) -> LayerItem:
    layer = item.layer
    return LayerItem(
        name=layer.name,
        kind=layer.kind,
        kernel=layer.kernel,
        stride=layer.stride,
        input_shape=(layer.in_size, layer.in_size, layer.in_channels),
        output_shape=(layer.out_size, layer.out_size, layer.out_channels),
        macs=item.macs,
        flops=item.flops,
        parameters=Parameters(total=item.parameters, trainable=item.trainable),
        activation_bytes=item.activation_bytes,
        share=item.macs / total.macs,
        standard_macs=item.standard_macs,
        ratio=item.ratio,
    )


def _separable(item: SeparableCost) -> SeparableItem:
    return SeparableItem.model_validate(item, from_attributes=True)


def _ablation(item: Ablation, variant: Variant, total: Cost, classes: int) -> AblationItem:
    other = Cost.of(item.layers(variant.alpha, variant.resolution, classes))
    return AblationItem(
        name=item.name,
        description=item.description,
        macs=other.macs,
        parameters=Parameters(total=other.parameters, trainable=other.trainable),
        activation_bytes=other.activation_bytes,
        macs_ratio=other.macs / total.macs,
        paper_top1=item.paper_top1 if variant == BASE else None,
    )


@cache
def _versions() -> dict[str, str]:
    found = {"mobilenet-service": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # TensorFlow and OpenVINO are extras
            continue
    return found
