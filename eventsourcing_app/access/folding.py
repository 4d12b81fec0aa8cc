"""What goes wrong while a history is folded for a page, in words: a page that helps to find out what must come up."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from eventsourcing_app.exceptions import EventUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.aggregates.model import EventSourcedModel

logger = logging.getLogger(__name__)

_UNREADABLE: Final = (EventUnreadable, ImproperlyConfigured)
"""What a fold raises at an event that no code here can read or apply."""


@dataclass(slots=True)
class Folding:
    """How it went."""

    problem: str | None = None
    """Why no code here can tell what follows from an event."""


@contextmanager
def folding(model: type[EventSourcedModel], stream_key: str) -> Iterator[Folding]:
    """End the block at an event that no code here can fold, and say why. Errors of the database pass.

    Let nothing stand inside but folds. The problem may quote what an event says: who may see that, ``past`` says.
    """
    outcome = Folding()
    try:
        yield outcome
    except Error:
        raise
    except _UNREADABLE as error:
        outcome.problem = str(error)
    except Exception as error:  # whatever a project's @applies method does
        logger.exception("%s %s cannot be folded.", model.stream_type, stream_key)
        outcome.problem = "\n".join((f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())))
