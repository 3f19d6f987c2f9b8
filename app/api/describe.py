"""The answers of `/model-info` and `/variants`: what a variant is, costs and scores, and what is served."""

import platform
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from app import __version__
from app.config import Settings
from app.measurements import UNFAMILIAR, Latency
from app.mobilenet.ablations import ABLATIONS, Ablation
from app.mobilenet.architecture import IMAGENET_CLASSES
from app.mobilenet.cost import Cost, LayerCost, SeparableCost, cost
from app.mobilenet.variants import BASE, CHECKPOINTS, PAPER, PUBLISHED, Precision, Variant
from app.model import latency
from app.model.alternatives import alternatives
from app.model.model import Model
from app.model.recommendation import Measured, Recommendation, recommend
from app.schemas import (
    AblationItem,
    Accuracy,
    Batching,
    Catalogue,
    FamiliarityInfo,
    FasterSetting,
    FastestSetting,
    LayerItem,
    ModelInfo,
    Parameters,
    Preprocessing,
    PublishedAccuracy,
    SeparableItem,
    SettingRef,
    VariantItem,
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


BYTES: dict[Precision, int] = {"float32": 4, "int8": 1, "bfloat16": 2}


def variants(models: Sequence[Model], settings: Settings) -> Catalogue:
    """Describe the 16 published variants and any other that is served; the first model is the default."""
    model = models[0]
    machine, threads = latency.machine(), settings.model_threads
    saved = latency.read(settings.cache)
    setup = (machine, model.engine.name, model.engine.precision, threads, model.engine.classes)
    measured = latency.under(saved, setup, model.weights)
    served = {one.variant: one for one in models}
    known = {
        variant: alternatives(saved, model, variant, machine=machine, threads=threads)
        for variant in dict.fromkeys([*PUBLISHED, *served])
    }
    items = [
        _item(
            served.get(variant, model),
            variant,
            default=variant == model.variant,
            measured=measured.get((variant.alpha, variant.resolution)),
            best=_fastest(found),
        )
        for variant, found in known.items()
    ]
    return Catalogue(
        weights=model.weights,
        classes=model.engine.classes,
        precision=model.engine.precision,
        engine=model.engine.name,
        machine=machine,
        faster=_faster(known[model.variant], model.engine.name, model.engine.precision),
        variants=_with_frontiers(items),
    )


def _item(
    model: Model, variant: Variant, *, default: bool, measured: Latency | None, best: FastestSetting | None
) -> VariantItem:
    total = cost(variant, model.engine.classes)
    return VariantItem(
        alpha=variant.alpha,
        rho=variant.rho,
        resolution=variant.resolution,
        served=variant == model.variant,
        default=default,
        macs=total.macs,
        flops=total.flops,
        parameters=Parameters(total=total.parameters, trainable=total.trainable),
        size_bytes=total.parameters * BYTES[model.engine.precision],
        top1=model.top1_in(variant, model.engine.precision),
        accuracy=Accuracy(measured=model.score(variant), published=published(model, variant)),
        latency=measured,
        fastest=best,
    )


def _fastest(known: Sequence[Measured]) -> FastestSetting | None:
    """Return the recommended one of the settings that were measured of a variant; None if there are none."""
    found = recommend(known)
    return None if found is None else FastestSetting(**_facts(found, known))


def _faster(known: Sequence[Measured], engine: str, precision: Precision) -> FasterSetting | None:
    """Return the recommended one of these settings if it is faster than the one that serves, which was measured too."""
    found = recommend(known)
    serving = SettingRef(engine=engine, precision=precision)
    now = next((one for one in known if _named(one) == serving), None)
    if found is None or now is None or now.latency.median_ms <= found.best.latency.median_ms:
        return None
    return FasterSetting(**_facts(found, known), served_ms=now.latency.median_ms, sure=found.best.surely_faster(now))


def _facts(found: Recommendation, known: Sequence[Measured]) -> dict[str, Any]:
    best = found.best.latency
    return {
        "engine": best.engine,
        "precision": best.precision,
        "median_ms": best.median_ms,
        "top1": found.best.top1,
        "compared": len(known),
        "rivals": [_named(one) for one in found.rivals],
        "command": found.best.command,
    }


def _named(one: Measured) -> SettingRef:
    return SettingRef(engine=one.latency.engine, precision=one.latency.precision)


def _with_frontiers(items: Sequence[VariantItem]) -> list[VariantItem]:
    by_macs = frontier((item.macs, item.top1) for item in items)
    by_latency = frontier((item.latency.median_ms if item.latency else None, item.top1) for item in items)
    return [
        item.model_copy(update={"macs_frontier": cheap, "latency_frontier": quick})
        for item, cheap, quick in zip(items, by_macs, by_latency, strict=True)
    ]


def frontier(points: Iterable[tuple[float | None, float | None]]) -> list[bool | None]:
    """Return for each (price, value) whether it is on the frontier; None if one of the two is unknown.

    A point is on the frontier if no other has at least its value at no higher price. Equal points are on it together.
    """
    known = list(points)
    return [
        None
        if price is None or value is None
        else not any(
            other <= price and gain >= value and (other, gain) != (price, value)
            for other, gain in known
            if other is not None and gain is not None
        )
        for price, value in known
    ]
