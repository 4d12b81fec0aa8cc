"""Every error this app raises, in one tree; each also is what Django or Python would call it.

    EventSourcingError
    ├── CommandRejected            (ValidationError)    a rule of the aggregate said no; nothing was stored
    │   └── StreamEnded                                 the stream was closed by an event declared ``ends=True``
    ├── ConcurrencyError           (DatabaseError)      somebody else wrote first; load again and decide again
    ├── DirectWriteRefused         (TypeError)          a write that would leave no event behind
    │   └── AppendOnly                                  a write that would change what is already stored
    ├── UnrecordedChange           (RuntimeError)       a field was assigned outside ``@applies``
    ├── NothingRecorded            (RuntimeError)       ``save()`` without an event
    ├── SpentInstance              (RuntimeError)       the instance no longer agrees with the database
    ├── NotAdopted                 (RuntimeError)       the row is older than its history, which has not begun yet
    ├── AdoptionRefused            (ValueError)         a row would not be what its opening event says
    ├── ReactionRefused            (RuntimeError)       a handler did what its kind of handler may not do
    │   └── CausationTooDeep                            reactions to reactions to reactions: a loop, it seems
    ├── HandlerError               (Exception)          what a handler raises to say how its failure is to be taken
    │   ├── Permanent                                   trying again is of no use
    │   └── RetryLater                                  not now; try again after a while
    ├── OperationRefused           (ValueError)         an operator asked for what cannot be done
    │   └── NoSuchSubscription     (LookupError)        the database knows no subscription of that name
    ├── NotCaughtUp                (TimeoutError)       a subscription did not reach a position in time
    ├── EventRefused               (ValueError)         a payload that cannot be stored and read back as it is
    ├── MetadataRefused            (ValueError)         context that cannot or must not be stored
    ├── EventUnreadable            (ValueError)         a stored event that this code cannot read
    │   ├── UnknownEventType       (LookupError)        its wire name is not declared here
    │   └── NewerEventVersion                           it was written by newer code
    ├── NoSuchVersion              (LookupError)        an aggregate never had that version
    ├── PastFilterRefused          (NotSupportedError)  the database cannot choose by what columns held in the past
    ├── IdempotencyError
    │   ├── KeyRefused             (ValueError)         the text cannot be an idempotency key
    │   ├── KeyReused              (ValueError)         the same key came with another request
    │   └── KeyInFlight            (RuntimeError)       the first request with this key is still running
    ├── StateDrifted               (RuntimeError)       rows are not what their history says
    ├── RebuildFailed              (RuntimeError)       a rebuild could not go on
    │   └── RebuildRunning                              another rebuild of the model is under way
    └── LogUnsafe                  (ImproperlyConfigured)  the log cannot be read or written safely as configured

Messages say what was refused, why, and what to call instead; the facts are attributes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class EventSourcingError(Exception):
    """The root of every error raised by this app."""


class CommandRejected(EventSourcingError, ValidationError):
    """A command refused: a rule of the aggregate does not allow it now. Nothing was stored.

    ``code`` is stable and meant for programs, ``reason`` for people. It is a ``ValidationError``, so that forms show it
    as one of theirs.
    """

    def __init__(self, message: str, *, code: str = "rejected") -> None:
        ValidationError.__init__(self, message, code=code)
        self.reason = message

    def __str__(self) -> str:
        return str(self.reason)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r}, code={self.code!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), (self.reason,), {"code": self.code}))


class StreamEnded(CommandRejected):
    """The aggregate's stream was closed; it accepts no further event."""

    def __init__(self, message: str, *, code: str = "ended") -> None:
        super().__init__(message, code=code)


class ConcurrencyError(EventSourcingError, DatabaseError):
    """The stream has moved on since the aggregate was loaded. Load it again and decide again.

    ``expected`` is the version that the writer had loaded, ``actual`` the version in the database (``None`` where the
    row is gone or the database did not say).
    """

    def __init__(self, stream_type: str, stream_key: str, *, expected: int | None, actual: int | None = None) -> None:
        self.stream_type, self.stream_key = stream_type, stream_key
        self.expected, self.actual = expected, actual
        found = "has another version now" if actual is None else f"is at version {actual} now"
        super().__init__(
            f"{stream_type} {stream_key!r} was expected at version {expected} but {found}: somebody else wrote first. "
            "Load it again and run the command again."
        )

    def __reduce__(self) -> tuple[object, ...]:
        facts = {"expected": self.expected, "actual": self.actual}
        return (_rebuild, (type(self), (self.stream_type, self.stream_key), facts))


class DirectWriteRefused(EventSourcingError, TypeError):
    """A write that would leave no event behind."""


class AppendOnly(DirectWriteRefused):
    """A write that would change or forge what is already stored."""


class UnrecordedChange(EventSourcingError, RuntimeError):
    """Fields of an event-sourced model were assigned outside an ``@applies`` method. ``fields`` names them, and
    ``commands`` the commands of the model.
    """

    def __init__(self, model: str, fields: Iterable[str], commands: Iterable[str] = ()) -> None:
        self.model, self.fields, self.commands = model, tuple(fields), tuple(commands)
        named = f" ({model} has {', '.join(f'{name}()' for name in self.commands)})" if self.commands else ""
        super().__init__(
            f"{model}: {', '.join(self.fields)} changed without an event. Record an event in a command{named} and "
            "assign in its @applies method, or list the field in `unrecorded` if it has no history."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.model, self.fields, self.commands))


class NothingRecorded(EventSourcingError, RuntimeError):
    """``save()`` was called but no command has recorded an event."""


class SpentInstance(EventSourcingError, RuntimeError):
    """The instance no longer agrees with the database (failed save, failed command, rollback). Load it again."""


class NotAdopted(EventSourcingError, RuntimeError):
    """The row was there before its model was event-sourced, and has no history yet: it has to be adopted first."""

    def __init__(self, model: str, pk: object) -> None:
        self.model, self.pk = model, pk
        super().__init__(
            f"{model} {pk} was loaded without a history: a command would begin it in the middle. Run manage.py adopt "
            f"{model}, which gives every such row its opening event, and load it again."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.model, self.pk))


class AdoptionRefused(EventSourcingError, ValueError):
    """A row cannot be adopted: it would not be what its opening event says, or no such event can be made of it.

    ``pk`` names the row; ``fields`` has, for each field that differs, its value in the row and its value by the event.
    """

    def __init__(self, model: str, pk: object, why: str, fields: Mapping[str, tuple[object, object]]) -> None:
        self.model, self.pk, self.why, self.fields = model, pk, why, dict(fields)
        super().__init__(f"{model} {pk}: {why}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.model, self.pk, self.why, self.fields))


class ReactionRefused(EventSourcingError, RuntimeError):
    """A projection tried to append, or a subscriber wrote in a way that could not be repeated safely."""


class CausationTooDeep(ReactionRefused):
    """An event would be the last of too long a chain of events that subscribers caused: they react to one another."""


class HandlerError(EventSourcingError):
    """What a handler raises to say how its failure is to be taken; any other exception is retried with backoff."""


class Permanent(HandlerError):
    """Trying again is of no use: the event is dead for this subscription at once, until an operator says otherwise."""


_YEAR = 366 * 86_400


class RetryLater(HandlerError):
    """It cannot be done yet: try this event again ``after`` so many seconds, or a ``timedelta``. Uses up no attempt.

    Raises ``TypeError`` or ``ValueError`` for what is no time from now on.
    """

    def __init__(self, message: str = "", *, after: float | timedelta) -> None:
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"after={after!r} is neither a number of seconds nor a timedelta.")
        if not 0 <= seconds <= _YEAR:
            raise ValueError(f"after={after!r} is not between 0 and a year.")
        self.after = float(seconds)
        super().__init__(message or f"Not yet; again after {self.after:g} seconds.")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), (str(self),), {"after": self.after}))


class OperationRefused(EventSourcingError, ValueError):
    """An operator asked for what cannot be done to a subscription as it is."""


class NoSuchSubscription(OperationRefused, LookupError):
    """The database knows no subscription of that name."""


class NotCaughtUp(EventSourcingError, TimeoutError):
    """A subscription did not reach a position in time. ``position`` was waited for; ``waiting`` says who is behind."""

    def __init__(self, position: int, waiting: Iterable[str]) -> None:
        self.position, self.waiting = position, tuple(waiting)
        super().__init__(f"#{position} has not been reached in time by {', '.join(self.waiting)}.")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.position, self.waiting))


class EventRefused(EventSourcingError, ValueError):
    """A payload that could not be stored and read back exactly as it is. ``path`` names the place."""

    def __init__(self, subject: str, path: str, why: str) -> None:
        self.subject, self.path, self.why = subject, path, why
        super().__init__(f"{subject} refused at {path or 'the top'}: {why}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.subject, self.path, self.why))


class MetadataRefused(EventSourcingError, ValueError):
    """Context that cannot be stored, or must never be (a secret). ``path`` names the key."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"Metadata refused at {path}: {why}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.path, self.why))


class EventUnreadable(EventSourcingError, ValueError):
    """A stored event that this code cannot turn into its class. Its raw data stays readable."""


class UnknownEventType(EventUnreadable, LookupError):
    """No declared event, and no alias, has this wire name."""


class NewerEventVersion(EventUnreadable):
    """The event was written by newer code than this."""


class NoSuchVersion(EventSourcingError, LookupError):
    """The aggregate never had the version that was asked for."""


class PastFilterRefused(EventSourcingError, NotSupportedError):
    """A list of the past was to be filtered, sorted or counted by the database, which knows the columns of now only."""


class IdempotencyError(EventSourcingError):
    """An idempotency key was used in a way that cannot be answered."""


class KeyRefused(IdempotencyError, ValueError):
    """The text cannot be an idempotency key."""


class KeyReused(IdempotencyError, ValueError):
    """The key has already answered another request."""


class KeyInFlight(IdempotencyError, RuntimeError):
    """The first request with this key has not finished. Try again shortly."""


class StateDrifted(EventSourcingError, RuntimeError):
    """Rows are not what their history says: something has changed them without an event."""


class RebuildFailed(EventSourcingError, RuntimeError):
    """A rebuild could not go on: an event that cannot be applied, or a worker that dies again and again."""


class RebuildRunning(RebuildFailed):
    """Another rebuild of the same model is under way."""


class LogUnsafe(EventSourcingError, ImproperlyConfigured):
    """The log cannot be read or written safely in this database or with these settings."""


def _rebuild(cls: type[Exception], args: tuple[object, ...], kwargs: dict[str, object]) -> Exception:
    return cls(*args, **kwargs)
