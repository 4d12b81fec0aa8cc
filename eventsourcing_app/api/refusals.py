"""What is answered to a command that an error ends: see ``log.outcome``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from eventsourcing_app.api.problems import Busy, DoneWithError, StateRefused
from eventsourcing_app.log.outcome import Outcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventsourcing_app.log.watch import Written


@contextmanager
def refusals_answered(written: Sequence[Written]) -> Iterator[None]:
    """Turn what the database refuses into an answer: constraints are the last word on which states are allowed.

    Raises ``DoneWithError`` if what was ``written`` inside is stored for good in spite of the error.
    """
    try:
        yield
    except Exception as error:
        outcome = outcome_of(error, written)
        if outcome is Outcome.STORED:
            raise DoneWithError from error
        if outcome is Outcome.BUSY:
            raise Busy from error
        if outcome is Outcome.NOT_ALLOWED:
            raise StateRefused(_("The state that this would lead to is not allowed.")) from error
        raise
