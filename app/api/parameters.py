"""Parameters of the query that do not exist: a misspelt limit must not seem to work."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from fastapi import Request

from app.errors import InvalidParameter

COMPARED = 80
"""So many characters of a name are compared and repeated: the comparison of a long one would take seconds."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the one of the known names that is most like this one."""
    (found,) = get_close_matches(name[:COMPARED], known, n=1, cutoff=0)
    return found


def unknown_parameter(name: str, known: Collection[str]) -> InvalidParameter:
    """Return the error of a query with a parameter that does not exist, which names the nearest that does, if any."""
    wrong = f"query.{name[:COMPARED]}"
    if not known:
        return InvalidParameter(f"{wrong}: there is no such parameter; this route has none")
    return InvalidParameter(f"{wrong}: there is no such parameter; the nearest is {nearest(name, known)}")


async def check_parameters(request: Request) -> None:
    """Raise `InvalidParameter` for a parameter of the query that the route does not have."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise unknown_parameter(name, known)
