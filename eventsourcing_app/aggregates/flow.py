"""``@flow``: a function over any number of aggregates as one whole, run again on conflict, and safe to repeat by key.

No model is imported here, so that flows can be declared anywhere.
"""

from __future__ import annotations

import inspect
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeAlias, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from eventsourcing_app.aggregates.answers import Answer
from eventsourcing_app.aggregates.declare import Parameter, parameters_of, require_plain
from eventsourcing_app.aggregates.once import Keeping, Operation, fingerprint_of, reaction_key, run_once
from eventsourcing_app.aggregates.receipts import FlowReceipt
from eventsourcing_app.events.declare import MAX_NAME, is_name
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.errors import is_lost_race
from eventsourcing_app.log.unit import one_unit

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
R = TypeVar("R")
Backoff: TypeAlias = Callable[[int], float]
"""Tells for how many seconds to wait after attempt 1, 2, …"""

logger = logging.getLogger("eventsourcing_app.flows")

FIRST_WAIT, LONGEST_WAIT = 0.02, 1.0
"""Seconds: the upper bound of the wait after the first attempt, doubled each time, and what it never exceeds."""


def jittered(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after ``attempt``: exponential backoff with full jitter.

    Any time up to the bound is as likely: those who met wait for different times, and so do not meet again. See
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return chance() * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 30))


class Flow(Generic[P, R]):
    """A function that runs as a whole. Made by ``@flow``."""

    __qualname__: str  # of the function, as all that a wrapper takes over

    def __init__(self, function: Callable[P, R], name: str, attempts: int, backoff: Backoff) -> None:
        self._function, self._attempts, self._backoff = function, attempts, backoff
        self.name = name
        """Its stable name: the scope of its idempotency keys."""
        self._signature = inspect.signature(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it: in one transaction, again if that loses a race. Returns what the function returns.

        Raises whatever the function raises, and then nothing is stored. If every attempt lost, that is
        ``ConcurrencyError`` or an ``OperationalError`` of the database. ``TypeError`` for an iterator among the
        arguments, and instead of another attempt if the function has changed them.
        """
        return self.run(None, args, kwargs).value

    def receipt(self, *args: P.args, **kwargs: P.kwargs) -> FlowReceipt[R]:
        """Run it, and return its value together with the position of its last event."""
        return self.run(None, args, kwargs)

    def once(self, key: str) -> OnceFlow[P, R]:
        """Make the next call safe to repeat: the same key answers with the same value, and acts once.

        The key is scoped to actor and flow. A call raises ``KeyRefused`` for a text that cannot be a key, ``KeyReused``
        if it came with other arguments, ``KeyInFlight`` while the first request is running, and, before anything is
        done, ``ImproperlyConfigured`` if what the flow returns could not be stored.
        """
        return OnceFlow(self, key)

    @cached_property
    def answers(self) -> Answer[R]:
        """How its answers are stored; ``ImproperlyConfigured`` if they cannot be.

        Not looked at before there is a key: without one, a flow returns what it likes, and its annotation may name what
        is imported for the type checker alone.
        """
        return Answer(f"flow {self.name!r}", self._function)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its arguments, in the order of its signature: what a form or a schema is made of.

        Raises ``ImproperlyConfigured`` for those that none can be made of.
        """
        return tuple(parameters_of(f"Flow {self.name!r}", self._function))

    @property
    def place(self) -> str:
        """Where it is declared."""
        return f"{self.__module__}.{self.__qualname__}"

    def __set_name__(self, owner: type, name: str) -> NoReturn:
        raise ImproperlyConfigured(
            f"{owner.__qualname__}.{name} is a method: a flow is a function of its module, so that its arguments are "
            "all there is to compare with those of a repetition. Pass what `self` would tell as arguments."
        )

    def __reduce__(self) -> str:
        return self.__qualname__  # pickled as the function that it stands for: by its name

    def __repr__(self) -> str:
        return f"<flow {self.name!r}: {self.place}>"

    def run(
        self,
        key: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        keeping: Keeping[FlowReceipt[R]] = lambda answers: answers,
    ) -> FlowReceipt[R]:
        """Run it as ``receipt()`` does, with a key if there is one; ``keeping`` adds to how its answer is stored."""
        request = self._signature.bind(*args, **kwargs)  # at once, with the error that a call of the function raises
        request.apply_defaults()
        self._refuse_iterators(request)
        operation = Operation(f"flow:{self.name}")  # no stream type has a colon: it is in nobody else's scope
        if key is None:
            key = reaction_key(operation.name)
        answers = None if key is None else keeping(self.answers)
        given, attempt = _compared(request), 0
        while True:
            attempt += 1
            trial = _Trial(log_connection())
            try:
                with trial.transaction():
                    if key is None or answers is None:
                        return self._act(request)
                    return run_once(
                        key,
                        operation,
                        request=request.arguments,
                        act=lambda: self._act(request, keyed=True),
                        answers=answers,
                    )
            except Exception as error:
                if not trial.may_be_repeated or not is_lost_race(error):
                    raise
                if attempt >= self._attempts:
                    error.add_note(f"The flow {self.name!r} lost every race: {attempt} of {self._attempts} attempts.")
                    raise
                if _compared(request) != given:
                    raise TypeError(
                        f"The flow {self.name!r} lost a race and has changed its arguments in their place: a second "
                        "attempt would do something else. Nothing was stored. Let it copy what it changes."
                    ) from error
                logger.info("%s lost a race, attempt %d of %d: %s", self.name, attempt, self._attempts, error)
            _wait(self._backoff(attempt))

    def _refuse_iterators(self, request: inspect.BoundArguments) -> None:
        for value in (*request.args, *request.kwargs.values()):
            if isinstance(value, Iterator):
                raise TypeError(
                    f"The flow {self.name!r} was given {type(value).__name__}, which can be read only once: a second "
                    "attempt would find it empty. Pass a list."
                )

    def _act(self, request: inspect.BoundArguments, *, keyed: bool = False) -> FlowReceipt[R]:
        with one_unit(repeatable=keyed) as unit:
            before = len(unit.writes)
            value = self._function(*request.args, **request.kwargs)
            if log_connection().needs_rollback:
                raise transaction.TransactionManagementError(
                    f"The flow {self.name!r} returned although its transaction must be rolled back: an error of the "
                    "database was kept from passing, or a rollback was asked for. Nothing was stored. Put what may "
                    "fail into transaction.atomic(), and raise to take everything back."
                )
            unit.find_undone()
            return FlowReceipt(value=value, position=unit.position(since=before))


class OnceFlow(Generic[P, R]):
    """A flow with an idempotency key. Made by ``Flow.once``."""

    def __init__(self, flow: Flow[P, R], key: str) -> None:
        self._flow, self._key = flow, key

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """See ``Flow.once``."""
        return self._flow.run(self._key, args, kwargs).value

    def receipt(self, *args: P.args, **kwargs: P.kwargs) -> FlowReceipt[R]:
        """The same, and return the value together with its position, and whether it is that of an earlier request."""
        return self._flow.run(self._key, args, kwargs)


class _Trial:
    """One attempt: the transaction that it runs in, and whether another attempt may follow."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._begins = not connection.in_atomic_block
        # A test case's own transaction is there so that it can be undone; to the code under test it is none. Django
        # looks at it in the same way: see atomic(durable=True).
        in_test = not self._begins and getattr(connection.atomic_blocks[-1], "_from_testcase", False)
        self._outermost = in_test or (self._begins and connection.get_autocommit())
        self._committed = False

    @property
    def may_be_repeated(self) -> bool:
        """Whether all of it was undone.

        Inside another transaction it was not: what that one has read and decided before may be what lost the race, and
        a deadlock has undone all of it. Nor after the commit, if what the commit set off has failed.
        """
        return self._outermost and not self._committed

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open the transaction, and learn whether it was committed."""
        with transaction.atomic(using=self._connection.alias):
            if self._begins:
                transaction.on_commit(self._note_commit, using=self._connection.alias)
            yield

    def _note_commit(self) -> None:
        self._committed = True


_declared: dict[str, Flow[..., Any]] = {}
"""The flows of this process, by their names."""


def declared_flows() -> list[Flow[..., Any]]:
    """Return the flows that this process has declared."""
    return list(_declared.values())


def flow(name: str, *, attempts: int = 5, backoff: Backoff = jittered) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Declare a function as a flow: it runs in one transaction on the log's database, all of it or nothing.

    ``name`` is stable, since it is the scope of idempotency keys: ``transfer.once(key)(…)``. Where the flow begins the
    transaction, it runs again if it loses a race (``ConcurrencyError``, a deadlock, a serialization failure, SQLite's
    "database is locked", on COMMIT as well), ``attempts`` times in all, and then raises the last error; ``backoff``
    tells how many seconds to wait after attempt 1, 2, …. So it does nothing that a rollback would not undo. Refusals
    are not tried again.

    All its events have one ``recorded_at``. What it returns is stored with a key, so for one that is called with a key,
    and for one that subscribers call, the annotation names a type that an event could hold, None or ``Receipt``; the
    check W061 names those that do not. Raises ``ImproperlyConfigured`` for what cannot work.
    """
    if not is_name(name):
        raise ImproperlyConfigured(
            f"{name!r} cannot be the name of a flow. Use words of ASCII letters, digits, '_' and '-', joined by single "
            f'dots: @flow("bank.transfer"); at most {MAX_NAME} characters.'
        )
    if type(attempts) is not int or attempts < 1:
        raise ImproperlyConfigured(f"Flow {name!r}: attempts must be 1 or more, not {attempts!r}.")

    def declare(function: Callable[P, R]) -> Flow[P, R]:
        given: object = function
        if not inspect.isfunction(given):
            raise ImproperlyConfigured(f"@flow({name!r}) goes on a function, not on {function!r}.")
        require_plain(function)
        made = Flow(function, name, attempts, backoff)
        other = _declared.get(name, made)
        if other.place != made.place:
            raise ImproperlyConfigured(
                f"Flow {name!r} is declared by {other.place} and by {made.place}: each would answer the idempotency "
                "keys of the other. Give each a name of its own."
            )
        _declared[name] = made  # a module that is run again declares it anew
        return made

    return declare


def _compared(request: inspect.BoundArguments) -> bytes | None:
    """What tells whether an attempt has changed its arguments; ``None`` if nothing does."""
    try:
        return fingerprint_of(request.arguments)
    except TypeError:
        return None


def _wait(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)
