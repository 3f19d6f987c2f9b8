"""The answer of `/variants`: the sixteen variants, and what each costs, scores and takes."""

from collections.abc import Iterable, Sequence

from app import accuracy, latency, model_info
from app.config import Settings
from app.latency import Latency
from app.mobilenet.cost import cost
from app.mobilenet.variants import PUBLISHED, Variant
from app.model import Model
from app.schemas import Accuracy, Catalogue, Parameters, VariantItem

BYTES = {"float32": 4, "int8": 1}


def describe(models: Sequence[Model], settings: Settings) -> Catalogue:
    """Describe the published variants, and the served ones that are none of them; the first model is the default."""
    model = models[0]
    machine = latency.machine()
    setup = (machine, model.engine.name, model.engine.precision, settings.model_threads, model.engine.classes)
    measured = {(one.alpha, one.resolution): one for one in latency.read(settings.cache) if one.setup == setup}
    served = {one.variant: one for one in models}
    items = [
        _item(
            served.get(variant, model),
            variant,
            variant == model.variant,
            measured.get((variant.alpha, variant.resolution)),
        )
        for variant in dict.fromkeys([*PUBLISHED, *served])
    ]
    return Catalogue(
        weights=model.weights,
        classes=model.engine.classes,
        precision=model.engine.precision,
        engine=model.engine.name,
        machine=machine,
        variants=_with_frontiers(items),
    )


def _item(model: Model, variant: Variant, default: bool, measured: Latency | None) -> VariantItem:
    total = cost(variant, model.engine.classes)
    score = accuracy.find(model.weights, variant, model.engine.precision)
    published = model_info.published(model, variant)
    top1 = score.top1 if score else published.checkpoint_top1 / 100 if published else None
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
        top1=top1,
        accuracy=Accuracy(measured=score, published=published),
        latency=measured,
    )


def _with_frontiers(items: Sequence[VariantItem]) -> list[VariantItem]:
    by_macs = frontier((item.macs, item.top1) for item in items)
    by_latency = frontier((item.latency.median_ms if item.latency else None, item.top1) for item in items)
    return [
        item.model_copy(update={"macs_frontier": cheap, "latency_frontier": quick})
        for item, cheap, quick in zip(items, by_macs, by_latency, strict=True)
    ]


def frontier(points: Iterable[tuple[float | None, float | None]]) -> list[bool | None]:
    """Return for each (price, value) whether no other has at least its value for no more; None if one is unknown.

    Of two that are equal both are on the frontier.
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
