"""Names of the query's parameters: a misspelt limit must not seem to work, and neither may one that is given twice."""

from collections.abc import Collection, Iterable

from fastapi import Request

from app.errors import InvalidParameter
from app.validation import COMPARED, nearest


def unknown_parameter(name: str, known: Collection[str]) -> InvalidParameter:
    """Return the error of a query with a parameter that does not exist: with the nearest that does, or with all."""
    wrong = name[:COMPARED]
    if near := nearest(name, known):
        return InvalidParameter(f"{wrong}: there is no such parameter; the nearest is {near}")
    return InvalidParameter(f"{wrong}: there is no such parameter; this route has {', '.join(known) or 'none'}")


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Raise `InvalidParameter` for a parameter that does not exist, or that is given twice."""
    seen: set[str] = set()
    for name in names:
        if name not in known:
            raise unknown_parameter(name, known)
        if name in seen:
            raise InvalidParameter(f"{name} is given twice; once is allowed")
        seen.add(name)


def parameters_of(request: Request) -> list[str]:
    """Return the names of the parameters that the query may have on the route of this request."""
    return [parameter.alias for parameter in request.scope["route"].dependant.query_params]


async def check_parameters(request: Request) -> None:
    """Raise `InvalidParameter` for a parameter of the query that the route does not have, or that is given twice."""
    check_names((name for name, _ in request.query_params.multi_items()), parameters_of(request))
