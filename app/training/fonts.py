"""Draws text in any script, as far as the fonts that are installed have its signs."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import matplotlib
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

USUAL = "sans-serif"
REGULAR = (400, "normal", "regular")
PLACEHOLDERS = "lastresort"
"""A font of this name has a box for every sign."""


def drawable(names: Sequence[str], what: str = "class") -> list[str]:
    """Return names as they can be drawn: `class 3`, by `what` they name, for one with a sign that no font here has."""
    text = "".join(names)
    lacking = set(text) - _signs(_families(text), text)
    return [f"{what} {index}" if lacking & set(name) else name for index, name in enumerate(names)]


@contextmanager
def drawing(texts: Iterable[str]) -> Iterator[None]:
    """Have these texts drawn as they are: in fonts that have their signs, and with no formula between `$` and `$`."""
    with matplotlib.rc_context({"text.parse_math": False, "font.family": _families("".join(texts))}):
        yield


def _families(text: str) -> list[str]:
    """Return the usual family of fonts, and others for the signs that those before them lack."""
    families = [USUAL]
    lacking = set(text) - _signs(families, text)
    while lacking:
        best = max(_installed(), key=lambda family: len(_signs([family], lacking)))
        found = _signs([best], lacking)
        if not found:
            break
        families.append(best)
        lacking -= found
    return families


def _installed() -> list[str]:
    """Return the families that have an upright font of the usual weight; matplotlib complains of others."""
    names = {font.name for font in fontManager.ttflist if font.style == "normal" and font.weight in REGULAR}
    return sorted(name for name in names if PLACEHOLDERS not in name.replace(" ", "").casefold())


def _signs(families: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """Return those of the wanted signs that a font of these families has; a line break needs none."""
    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in families]
    return {sign for sign in wanted if sign == "\n" or any(font.get_char_index(ord(sign)) for font in fonts)}
