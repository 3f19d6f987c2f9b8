"""What is wrong with a value or a name that somebody gave, in plain words: pydantic's errors, and the nearest name."""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

from pydantic_core import ErrorDetails

COMPARED: Final = 80
"""So many characters of a name are compared and repeated: the comparison of a long one would take seconds."""
_MOST_NAMES: Final = 64
"""So many members of an object are compared with the one that is missing."""

_NUMBER, _WHOLE, _BOOLEAN, _OBJECT = (
    f"must be {what}" for what in ("a number", "a whole number", "true or false", "a JSON object")
)
_FAULTS: Final = {
    "bool_parsing": _BOOLEAN,
    "bool_type": _BOOLEAN,
    "extra_forbidden": "is not a member that is known here",
    "finite_number": "must be a finite number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "has too many digits",
    "int_type": _WHOLE,
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": _OBJECT,
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_type": "must be a string",
    "too_long": "may have no more items than {max_length}",
    "url_parsing": "must be a URL such as https://example.com/folder",
    "url_scheme": "must be a URL that begins with http:// or https://",
    "value_error": "{error}",
}
"""What is said for each type of error of pydantic that a setting or a request can have; it follows a name."""


def fault(error: ErrorDetails) -> str:
    """Return what is wrong with a value, and what is allowed, as the rest of a sentence that begins with its name."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "too_short" and context["min_length"] == 1:
        return "is empty"
    said = _FAULTS.get(kind, "is not valid: {msg}").format(**context | {"msg": error["msg"]})
    given = error["input"]
    if kind == "missing" and isinstance(given, dict):
        near = nearest(str(error["loc"][-1]), (str(name)[:COMPARED] for name in islice(given, _MOST_NAMES)))
        return f"{said}; did you write {near} instead?" if near else said
    return said


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of the known names that is most like this one; None if none is like it."""
    return next(iter(get_close_matches(name[:COMPARED], known, n=1)), None)
