"""The query of a prediction, read once and remembered: clients ask in the same words again and again."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError

from app.prediction.selection import TopK, Wish

LONGEST = 256
"""Bytes of a query that is read here, so that what is remembered is bounded."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a query asks for: a way to choose the variant, and a number of classes."""

    wish: Wish
    top_k: int | None


NOTHING = Query(Wish(), None)
TOP_K = "top_k"
_NAMES = {TOP_K, *Wish.__slots__}
_wish: TypeAdapter[Wish] = TypeAdapter(Wish)
_top_k: TypeAdapter[int | None] = TypeAdapter(TopK)


def read(query: bytes) -> Query | None:
    """Read a query; None if it has anything that is unknown, twice there or wrong, which the application is to say."""
    if not query:
        return NOTHING
    return _read(query) if len(query) <= LONGEST else None


@lru_cache(256)
def _read(query: bytes) -> Query | None:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given = dict(pairs)
    if len(given) < len(pairs) or not given.keys() <= _NAMES:
        return None
    try:
        return Query(top_k=_top_k.validate_python(given.pop(TOP_K, None)), wish=_wish.validate_python(given))
    except ValidationError:
        return None
