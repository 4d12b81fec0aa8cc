"""Running a command for somebody who waits at a page: once for each form, on the version that was shown, or not at all.

What was done, and why something was not, is told in words that the form can show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from eventsourcing_app.aggregates.manager import Runner
from eventsourcing_app.conf import conf
from eventsourcing_app.context import context, current
from eventsourcing_app.exceptions import ConcurrencyError, EventRefused, KeyInFlight, KeyReused, NotAdopted
from eventsourcing_app.log.outcome import Outcome, outcome_of
from eventsourcing_app.log.watch import watching

if TYPE_CHECKING:
    from django.http import HttpRequest

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.receipts import Receipt
    from eventsourcing_app.log.watch import Written

PATIENCE: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds for which the second of two clicks waits for the first, each time that it finds it still running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command with all that it is to be run with."""

    model: type[EventSourcedModel]
    command: Command
    arguments: dict[str, Any]
    key: str
    """What two clicks on one form have in common."""
    pk: Any = None
    """The key of the aggregate; ``None`` for a command that creates one."""
    lock: Callable[[Any], EventSourcedModel] | None = None
    """Loads the aggregate by its key and locks it, or raises: about that state everything is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was done."""

    receipt: Receipt | None
    """``None`` if nothing more is known than that it is done."""
    followed: bool = True
    """Whether what the commit has set off went well."""


class NotDone(Exception):
    """Nothing was done: why, for the form, and with which status the page is answered."""

    def __init__(self, error: ValidationError, status: int, *, spent: bool = False) -> None:
        super().__init__(error)
        self.error, self.status = error, status
        self.spent = spent
        """Whether the form has been used for something else, and needs a new key."""


class Moved(Exception):
    """The aggregate has another version than the one that was shown. Nothing was done."""


def run(call: Call, request: HttpRequest) -> Done:
    """Run a command, or answer what it did when the form was sent before. Raises ``NotDone``, ``Moved``."""
    for seconds in PATIENCE:
        try:
            return _run(call, request)
        except KeyInFlight:
            time.sleep(seconds)
    try:
        return _run(call, request)
    except KeyInFlight as error:
        text = _("This form was sent before, and that is still being worked on. Look whether it has been done.")
        raise NotDone(ValidationError(text, code="in_flight"), 409) from error


def _run(call: Call, request: HttpRequest) -> Done:
    written: list[Written] = []
    receipt: Receipt | None = None
    # Who is logged in here is known even where no middleware says so.
    actor = None if current().resolve_actor() else f"user:{request.user.pk}"
    try:
        with context(actor=actor), watching(written.append), transaction.atomic(using=conf.DATABASE):
            receipt = _perform(call)
    except Exception as error:
        outcome = outcome_of(error, written)
        if outcome is Outcome.STORED:
            return Done(receipt=receipt, followed=False)
        reason = _reason(error, outcome)
        if reason is None:
            raise
        raise reason from error
    return Done(receipt=receipt)


def _perform(call: Call) -> Receipt:
    runner: Runner[Any] = Runner(call.model.objects, call.key, lock=call.lock, savepoint=False)
    function = getattr(call.model, call.command.name)
    if call.command.creates:
        return runner.perform_new(function, **call.arguments)
    return runner.perform(call.pk, function, **call.arguments)


def _reason(error: Exception, outcome: Outcome | None) -> NotDone | None:
    if isinstance(error, ValidationError):  # CommandRejected is one
        return NotDone(error, 422)
    if isinstance(error, EventRefused):
        text = _("This cannot be stored: %(why)s") % {"why": f"{error.path} {error.why}".strip()}
        return NotDone(ValidationError(text, code="event_refused"), 422)
    if isinstance(error, KeyReused):
        text = _("This form was sent before with other values, and those were acted on. Look before you send it again.")
        return NotDone(ValidationError(text, code="form_reused"), 409, spent=True)
    if isinstance(error, NotAdopted):
        text = _("It has no history yet, and accepts no command until it has one.")
        return NotDone(ValidationError(text, code="not_adopted"), 503)
    if isinstance(error, ConcurrencyError):
        text = _("Somebody else changed it at the same time. Nothing was done: look again and decide again.")
        return NotDone(ValidationError(text, code="conflict"), 409)
    if outcome is Outcome.BUSY:
        text = _("Others were at work on the same. Nothing was done: send it again.")
        return NotDone(ValidationError(text, code="busy"), 503)
    if outcome is Outcome.NOT_ALLOWED:
        text = _("The state that this would lead to is not allowed.")
        return NotDone(ValidationError(text, code="state_refused"), 422)
    return None
