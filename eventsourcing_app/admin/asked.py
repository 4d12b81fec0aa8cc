"""What the address of a page asks for: names of a fixed list, once each, of characters that text has; else 400."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import BadRequest

from eventsourcing_app.access.events import is_text, position_from

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.http import HttpRequest


def asked(request: HttpRequest, names: Collection[str]) -> dict[str, str]:
    """Return the parameters by name, without those that are empty, as a form sends them. Raises ``BadRequest``."""
    found = {}
    for name, values in request.GET.lists():
        if name not in names:
            raise BadRequest(f"{name!r:.80} is no parameter of this page; these are: {', '.join(names)}.")
        if len(values) > 1:
            raise BadRequest(f"'{name}' was given more than once.")
        if not is_text(values[0]):
            raise BadRequest(f"'{name}' contains a character that no text has.")
        if value := values[0].strip():
            found[name] = value
    return found


def asked_position(parameters: dict[str, str], name: str) -> int | None:
    """Take a position out of the parameters, if it was given. Raises ``BadRequest`` if it is none."""
    text = parameters.pop(name, None)
    if text is None:
        return None
    position = position_from(text)
    if position is None:
        raise BadRequest(f"'{name}' must be a position.")
    return position
