"""Checks of declared events: every name means one class, and every old version leads to the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks

from eventsourcing_app.events.codec import problems
from eventsourcing_app.events.evolution import gaps
from eventsourcing_app.events.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventsourcing_app.events.registry import Declaration


def check_declarations(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check the events that this process has declared."""
    messages = [_duplicate(name, claims) for name, claims in registry.duplicates().items()]
    messages += [_gap(declaration, start) for declaration in registry.all() for start in gaps(declaration)]
    messages += [_unstorable(declaration, what) for declaration in registry.all() for what in problems(declaration.cls)]
    return messages


def _duplicate(name: str, claims: Iterable[Declaration]) -> checks.CheckMessage:
    return checks.Error(
        f"Several events are declared as {name!r}: {', '.join(claim.place for claim in claims)}.",
        hint="Give each class a wire name of its own; a stored event must mean one class.",
        obj=name,
        id="eventsourcing_app.E030",
    )


def _unstorable(declaration: Declaration, what: str) -> checks.CheckMessage:
    return checks.Error(
        f"Event {declaration.name!r} cannot be stored: {what}",
        hint="Declare a type that can be written as JSON and read back: docs/events.md lists them.",
        obj=declaration.cls,
        id="eventsourcing_app.E032",
    )


def _gap(declaration: Declaration, start: int) -> checks.CheckMessage:
    return checks.Error(
        f"Event {declaration.name!r} has version {declaration.version}, but no upcaster leads from version {start} to "
        f"{start + 1}: events stored in version {start} could not be read.",
        hint=f"Add it to the declaration: @event({declaration.name!r}, …, upcasters={{{start}: function}}).",
        obj=declaration.cls,
        id="eventsourcing_app.E031",
    )
