"""Who may run which command of an event-sourced model: the same permission in the admin and in the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel


def permission_of(model: type[EventSourcedModel], command: Command) -> str:
    """Return the permission that a command needs, as ``User.has_perm`` takes it.

    That is ``deposit_account`` if the model declares it in ``Meta.permissions``; else the permission to add an account,
    for a command that creates one, or to change one.
    """
    options = model._meta
    own = f"{command.name}_{options.model_name}"
    if own in (codename for codename, *_names in options.permissions):
        return f"{options.app_label}.{own}"
    return f"{options.app_label}.{'add' if command.creates else 'change'}_{options.model_name}"
