"""What operations are put together from: parameters, headers, examples, and what a method promises."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from eventsourcing_app.api.described import ALWAYS_THERE, ANSWER_HEADERS
from eventsourcing_app.api.openapi_fields import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventsourcing_app.api.described import Described


def returning(method: Any) -> Any:
    """A function that promises what a method does, and no more: its arguments may have names for type checkers only."""
    function = getattr(method, "__func__", method)
    promise = FunctionType((lambda: None).__code__, function.__globals__, function.__name__)
    promise.__dict__.update(function.__dict__)
    promise.__doc__ = function.__doc__
    promise.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if name == "return"}
    return promise


def parameter(name: str, place: str, described: Described, *, repeatable: bool = False) -> dict[str, Any]:
    """Describe a query parameter, or a header of a request."""
    schema = dict(described.schema)
    made: dict[str, Any] = {"name": name, "in": place, "required": False, "schema": schema}
    if repeatable:
        made |= {"schema": {"type": "array", "items": schema}, "style": "form", "explode": True}
    # Not as an `example`: Swagger UI would fill it in, and send it along with whatever is tried out.
    such_as = None if described.example is None else f"For example `{described.example}`."
    if description := " ".join(filter(None, (described.description, such_as))):
        made["description"] = description
    return made


def headers(names: Iterable[str]) -> dict[str, Any]:
    """Describe headers of an answer."""
    return {
        name: {
            "description": ANSWER_HEADERS[name].description,
            "schema": dict(ANSWER_HEADERS[name].schema),
            **({"required": True} if name in ALWAYS_THERE else {}),
        }
        for name in names
    }


def examples(values: dict[str, Any]) -> dict[str, Any]:
    """Name examples."""
    return {name: {"value": plain(value)} for name, value in values.items()}
