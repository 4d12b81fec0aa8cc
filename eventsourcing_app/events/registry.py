"""Which event has which wire name. A name that two classes claim is kept, reported, and never used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.exceptions import UnknownEventType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """What ``@event`` said about a class."""

    name: str
    cls: type
    version: int = 1
    ends: bool = False
    aliases: tuple[str, ...] = ()
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The wire name, then its older ones."""
        return (self.name, *self.aliases)

    @property
    def place(self) -> str:
        """Where the class is declared, as text."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"


class Registry:
    """The declared events of this process."""

    def __init__(self) -> None:
        self._by_place: dict[str, Declaration] = {}
        self._by_name: dict[str, tuple[Declaration, ...]] = {}
        self.ambiguous: frozenset[str] = frozenset()
        """Names and aliases claimed by more than one class."""

    def add(self, declaration: Declaration) -> None:
        """Register; a class of the same module and qualified name is replaced, since its module was loaded again."""
        self._by_place[declaration.place] = declaration
        by_name: dict[str, tuple[Declaration, ...]] = {}
        for known in self._by_place.values():
            for name in known.names:
                by_name[name] = (*by_name.get(name, ()), known)
        self._by_name = by_name
        self.ambiguous = frozenset(name for name, claims in by_name.items() if len(claims) > 1)

    def find(self, name: str) -> Declaration | None:
        """Return the event with this wire name or alias, if any; ``ImproperlyConfigured`` if several claim it."""
        claims = self._by_name.get(name)
        if claims is None:
            return None
        if name in self.ambiguous:
            self.check(name)
        return claims[0]

    def get(self, name: str) -> Declaration:
        """Return the event with this wire name or alias; ``UnknownEventType`` if there is none."""
        found = self.find(name)
        if found is None:
            raise UnknownEventType(
                f"No event is declared as {name!r} in this code. If it was renamed, keep the old name: "
                f'@event("new.name", aliases=("{name}",)).'
            )
        return found

    def check(self, name: str) -> None:
        """Raise ``ImproperlyConfigured`` if several classes claim this name."""
        if name in self.ambiguous:
            places = ", ".join(claim.place for claim in self._by_name[name])
            raise ImproperlyConfigured(
                f"Event name {name!r} is claimed by {places}. Give each class a name of its own."
            )

    def names_of(self, cls: type) -> tuple[str, ...]:
        """Return every wire name under which events of this class are stored; empty if it is not declared."""
        declaration = vars(cls).get("__event__")
        return declaration.names if isinstance(declaration, Declaration) else ()

    def all(self) -> tuple[Declaration, ...]:
        """Return every declaration, in order of its name."""
        return tuple(sorted(self._by_place.values(), key=lambda declaration: (declaration.name, declaration.place)))

    def duplicates(self) -> dict[str, tuple[Declaration, ...]]:
        """Return the names that more than one class claims, with the claims."""
        return {name: self._by_name[name] for name in sorted(self.ambiguous)}


registry = Registry()
"""The one registry of this process."""
