"""The state before an event and after it, in the fields of which its admin lets a history tell; no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import ValidationError

from eventsourcing_app.access.effect import effect_of
from eventsourcing_app.access.past import may_view_past
from eventsourcing_app.admin.audited import Audited, fields_told_by
from eventsourcing_app.admin.values import NOTHING, currency_of, label_of, value_of_field
from eventsourcing_app.aggregates.keys import pk_of
from eventsourcing_app.aggregates.plain_rows import plain_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.step import Step
    from eventsourcing_app.log.records import StoredEvent


class StateField(NamedTuple):
    """One field of the state."""

    name: str
    label: str
    before: str
    after: str
    changed: bool


class EventState(NamedTuple):
    """What an event made of the state."""

    fields: Sequence[StateField]
    created: bool
    """Whether the aggregate began with it."""
    currency: str
    """The currency of the state, if it has one and it is shown."""
    problem: str | None
    """Why no code here can tell what it made."""


def state_of(
    site: AdminSite, request: HttpRequest, model: type[EventSourcedModel], event: StoredEvent
) -> EventState | None:
    """Return what an event made of the state, or ``None`` if the user may not see that."""
    if event.version is None or not may_view_past(request.user, model, event.stream_key, until=event.version):
        return None
    model_admin: Any = site._registry.get(model)
    audited = None if model_admin is None else _audited(model_admin, request, model, event.stream_key)
    if audited is None:
        return None
    effect = effect_of(model, event)
    if effect.step is None:
        return EventState((), created=False, currency="", problem=effect.problem) if effect.problem else None
    return _told(model, effect.step, fields_told_by(model_admin, request, model, audited.state()))


def _told(model: type[EventSourcedModel], made: Step, shown: Collection[str]) -> EventState:
    changes, before, after = made.changes, made.before, made.after
    currency = currency_of(after, shown)
    currency_before = "" if before is None else currency_of(before, shown)
    fields = [
        StateField(
            name=name,
            label=label_of(model, name),
            before=NOTHING
            if before is None
            else value_of_field(model, name, before.get(name), currency=currency_before),
            after=value_of_field(model, name, after[name], currency=currency),
            changed=name in changes,
        )
        for name in shown
        if name in after
    ]
    return EventState(fields, created=before is None, currency=currency, problem=None)


def _audited(model_admin: Any, request: HttpRequest, model: type[EventSourcedModel], stream_key: str) -> Audited | None:
    """Return the aggregate, if its admin shows it to this user.

    One whose row has gone, which its history allows, is shown where its own history is: see ``AuditTrailMixin``. One
    whose row the admin keeps from the user is not.
    """
    if not model_admin.has_view_or_change_permission(request):
        return None
    try:
        pk = pk_of(model, stream_key)
        row = model_admin.get_queryset(request).filter(pk=pk).first()
        if row is None and plain_rows(model).filter(pk=pk).exists():
            return None
    except (ValidationError, ValueError, TypeError, ArithmeticError):
        return None
    if row is not None:
        may_view = model_admin.has_view_or_change_permission(request, row)
    else:
        without_row = getattr(model_admin, "may_view_without_row", None)
        may_view = without_row is not None and without_row(request, model, stream_key)
    return Audited(model=model, stream_key=stream_key, row=row) if may_view else None
