"""``OldEvent``: an event as code of an earlier day stored it, and the assertion that code of today reads it right."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from eventsourcing_app.events import canonical, evolution
from eventsourcing_app.events.codec import decode, encode
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.testing.differences import event_differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.aggregates.model import EventSourcedModel


@dataclass(frozen=True, slots=True)
class OldEvent:
    """An event in an older version of its schema, or under an older name: ``OldEvent(Renamed, version=1, data={…})``.

    Stands wherever ``given()``, ``stored_history()`` and ``stored_facts()`` take an event. ``data`` are the plain JSON
    values of that version; ``name`` is one of the event's wire names, by default the present one.

    Raises ``TypeError`` for a class that is no event, ``ValueError`` for a version or a name that it never had,
    ``EventRefused`` for data that is no plain JSON.
    """

    event_class: type
    _: KW_ONLY
    version: int
    data: Mapping[str, object]
    name: str = ""

    def __post_init__(self) -> None:
        declaration = declaration_of(self.event_class)
        if not 1 <= self.version <= declaration.version:
            raise ValueError(
                f"{self.event_class.__name__} has versions 1 to {declaration.version}, and none is {self.version}."
            )
        if self.name and self.name not in declaration.names:
            raise ValueError(f"{self.event_class.__name__} is called {', '.join(declaration.names)}, not {self.name}.")
        canonical.dumps(self.data, subject=declaration.name)

    @property
    def type(self) -> str:
        """The wire name under which it is stored."""
        return self.name or declaration_of(self.event_class).name

    @property
    def text(self) -> str:
        """Its data as it is stored: canonical JSON text."""
        return canonical.dumps(self.data, subject=self.type)

    @property
    def event(self) -> object:
        """The event as its class of today, upcast. Raises ``EventUnreadable``."""
        return evolution.read(self.type, self.version, self.text)


def as_stored(event: object) -> tuple[str, int, str]:
    """Return wire name, schema version and text with which an event, or an old one, is stored."""
    if isinstance(event, OldEvent):
        return event.type, event.version, event.text
    declaration = declaration_of(event)
    return declaration.name, declaration.version, encode(event)


def record(instance: EventSourcedModel, event: object) -> None:
    """Record an event, or an old one: the state moves on by what is read of it, and its own text will be stored."""
    if not isinstance(event, OldEvent):
        instance.record(event)
        return
    instance.record(event.event)
    pending = instance._recording.pending
    pending[-1] = pending[-1]._replace(type=event.type, schema_version=event.version, data=event.text)


def assert_upcasts(
    event_class: type, *, from_version: int, data: Mapping[str, object], to: object, name: str = ""
) -> None:
    """Assert that data stored in an older version is read as the event ``to``::

        assert_upcasts(BookRenamed, from_version=1, data={"title": "Emma: A Novel"}, to=BookRenamed(title="Emma", …))

    Needs no database. ``name`` is the wire name it was stored under, if it was another one. Raises ``AssertionError``
    with the fields that differ, ``EventUnreadable`` if it cannot be read at all, and what ``OldEvent`` raises.
    """
    __tracebackhide__ = True
    found = OldEvent(event_class, version=from_version, data=data, name=name).event
    differences = event_differences([decode(declaration_of(to), encode(to))], [found], was="read")
    if differences:
        raise AssertionError(f"{event_class.__name__} version {from_version} is read as another event:\n{differences}")
