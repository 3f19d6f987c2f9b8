"""What `/variants` says of the fastest engine and precision, by the rule of `mobilenet bench`."""

from collections.abc import Sequence
from typing import Any

from app.mobilenet.variants import Precision
from app.model.recommendation import Measured, Recommendation, recommend
from app.schemas import FasterSetting, FastestSetting, SettingRef


def fastest(known: Sequence[Measured]) -> FastestSetting | None:
    """Return the recommended one of the settings that were measured of a variant; None if there are none."""
    found = recommend(known)
    return None if found is None else FastestSetting(**_facts(found, known))


def faster(known: Sequence[Measured], engine: str, precision: Precision) -> FasterSetting | None:
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
