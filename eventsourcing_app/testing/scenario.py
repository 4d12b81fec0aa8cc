"""Given a history, when a command runs, then it records these events, or refuses: the rules of a model, as tests.

A scenario is a value: each step returns another one, so that many may go on from the same beginning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from eventsourcing_app.aggregates.declare import command_of
from eventsourcing_app.events.codec import decode, encode
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.exceptions import CommandRejected
from eventsourcing_app.testing.differences import event_differences, shown, shown_arguments, state_differences
from eventsourcing_app.testing.grounds import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.testing.grounds import Ground

M = TypeVar("M", bound="EventSourcedModel")
P = ParamSpec("P")


def given(model: type[M], *events: object, pk: Any = None, unrecorded: Mapping[str, Any] | None = None) -> Scenario[M]:
    """Begin a scenario: the aggregate as these events have made it, or a new one. Needs no database::

        given(Account, AccountOpened(owner="Ada")).when(Account.deposit, amount=Decimal(5)).then(MoneyDeposited(...))

    Events may be of an older version (``OldEvent``). ``pk`` is its key, where that has no default or matters;
    ``unrecorded`` are the values of columns without history.

    Raises what recording and saving the events would raise (``EventRefused``, ``StreamEnded``, ``CommandRejected`` for
    a state that does not fit its columns, ``ImproperlyConfigured`` for an event that nothing applies),
    ``UnrecordedChange``, ``ValueError`` without a key, and ``AssertionError`` if applying them asks the database.
    """
    return Scenario(Memory.begin(model, events, pk=pk, unrecorded=unrecorded))


class Scenario(Generic[M]):
    """An aggregate in a known state. Made by ``given()``."""

    def __init__(self, ground: Ground[M]) -> None:
        self._ground = ground

    def when(self, command: Callable[Concatenate[M, P], object], /, *args: P.args, **kwargs: P.kwargs) -> Outcome[M]:
        """Run a command, as ``objects.perform`` and ``perform_new`` do: ``when(Account.deposit, amount=Decimal(5))``.

        What comes of it is asserted next; a refusal that nobody has asserted is an error of the step after it. Any
        other error of the command is raised as it is. Raises ``TypeError`` for what is no command of this model, and
        ``AssertionError`` if the command asks the database and the scenario is not ``stored()``.
        """
        ground = self._reached()
        call = f"{command_of(command).function.__qualname__}({shown_arguments(args, kwargs)})"
        try:
            after, events = ground.run(command, args, kwargs)
        except CommandRejected as rejection:
            return Outcome(ground, call, [], rejection)
        return Outcome(after, call, events)

    def then_state(self, **expected: object) -> Self:
        """Assert the values of fields (or properties) of the state. Raises ``AttributeError`` if it has none such."""
        __tracebackhide__ = True
        if not expected:
            raise TypeError("then_state() asserts nothing: name at least one field.")
        instance = self.instance
        with self._reached().looked_at():
            found = {name: getattr(instance, name) for name in expected}
        differences = state_differences(expected, found)
        if differences:
            raise AssertionError(f"{type(instance).__name__} is not in the state expected:\n{differences}")
        return self

    @property
    def instance(self) -> M:
        """The aggregate in its present state, to assert whatever else: a copy, or loaded if ``stored()``."""
        __tracebackhide__ = True
        return self._reached().instance()

    def stored(self) -> Scenario[M]:
        """Write the history and the row so far, and go on there: commands then run through ``objects.perform``.

        ``instance`` is then the row, loaded. Needs a test that may use the database. Raises what ``stored_history``
        raises, and ``ValueError`` if there is a row of this key already: a scenario is stored once.
        """
        return Scenario(self._reached().stored())

    def _reached(self) -> Ground[M]:
        return self._ground


class Outcome(Scenario[M]):
    """What came of a command. Made by ``when()``."""

    def __init__(
        self, ground: Ground[M], call: str, events: list[object], rejection: CommandRejected | None = None
    ) -> None:
        super().__init__(ground)
        self._call, self._events, self._rejection = call, events, rejection

    @property
    def events(self) -> list[object]:
        """The events that the command recorded, as they are read back."""
        __tracebackhide__ = True
        self._reached()
        return list(self._events)

    def then(self, *expected: object) -> Self:
        """Assert that the command recorded exactly these events, in this order."""
        __tracebackhide__ = True
        if not expected:
            raise TypeError("then() expects at least one event; then_nothing() says that there is none.")
        read_back = [decode(declaration_of(event), encode(event)) for event in expected]
        self._require_accepted(f"it was expected to record {', '.join(map(shown, expected))}")
        differences = event_differences(read_back, self._events)
        if differences:
            raise AssertionError(f"{self._call} did not record what was expected:\n{differences}")
        return self

    def then_nothing(self) -> Self:
        """Assert that the command was accepted and found nothing to do: it recorded no event."""
        __tracebackhide__ = True
        self._require_accepted("it was expected to record nothing")
        if self._events:
            raise AssertionError(f"{self._call} was expected to record nothing:\n{event_differences([], self._events)}")
        return self

    def then_rejected(self, code: str | None = None, *, match: str | None = None) -> Scenario[M]:
        """Assert that the command was refused (``CommandRejected``), with this code.

        ``match`` is a pattern to be found in the reason. The scenario goes on from the state before the command.
        """
        __tracebackhide__ = True
        rejection = self._rejection
        if rejection is None:
            recorded = "\n".join(f"  + {shown(event)}" for event in self._events) or "  nothing"
            raise AssertionError(
                f"{self._call} was expected to be rejected, but was accepted and recorded:\n{recorded}"
            )
        wrong = []
        if code is not None and rejection.code != code:
            wrong.append(f"  its code is {rejection.code!r}, expected {code!r}")
        if match is not None and not re.search(match, rejection.reason):
            wrong.append(f"  its reason does not match {match!r}")
        if wrong:
            raise AssertionError("\n".join([f"{self._was_rejected(rejection)}, but", *wrong])) from rejection
        return Scenario(self._ground)

    def _reached(self) -> Ground[M]:
        self._require_accepted("no then_rejected() expected that")
        return self._ground

    def _require_accepted(self, but: str) -> None:
        __tracebackhide__ = True
        if self._rejection is not None:
            raise AssertionError(f"{self._was_rejected(self._rejection)}, but {but}.") from self._rejection

    def _was_rejected(self, rejection: CommandRejected) -> str:
        return f"{self._call} was rejected, code {rejection.code!r}, reason {rejection.reason!r}"
