"""The answer of `/variants`: every variant with its price and its accuracy, and which of them are worth it."""

from collections.abc import Iterable, Sequence
from typing import Any

from app.api.describe import published
from app.config import Settings
from app.measurements import Latency
from app.mobilenet.cost import cost
from app.mobilenet.variants import PUBLISHED, Precision, Variant
from app.model import latency
from app.model.alternatives import alternatives
from app.model.model import Model
from app.model.recommendation import Measured, Recommendation, recommend
from app.schemas import Accuracy, Catalogue, FasterSetting, FastestSetting, Parameters, SettingRef, VariantItem

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
