"""Which methods of a class are commands and which apply events: collected once a class."""

from __future__ import annotations

from functools import cache

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.aggregates.declare import Command, command_of
from eventsourcing_app.events.declare import declaration_of


@cache
def applies_of(cls: type) -> dict[type, str]:
    """Map each event class to the name of the method that applies it; nearer classes win over their parents."""
    found: dict[type, str] = {}
    for base in reversed(cls.__mro__):
        own: dict[type, str] = {}
        for name, attribute in vars(base).items():
            for event in getattr(attribute, "__applies__", ()):
                if event in own:
                    raise ImproperlyConfigured(
                        f"{base.__qualname__}: both {own[event]}() and {name}() apply {event.__name__}. Keep one."
                    )
                own[event] = name
        found |= own
    return found


def ending_names(cls: type) -> list[str]:
    """Return the wire names, older ones too, of the events of a class that end a stream."""
    declared = map(declaration_of, applies_of(cls))
    return [name for declaration in declared if declaration.ends for name in declaration.names]


@cache
def commands_of(cls: type) -> dict[str, Command]:
    """Map the names of a class's commands to their declarations; nearer classes win over their parents.

    A name that a nearer class gives to something else (``close = None``) is no command any more.
    """
    found: dict[str, Command] = {}
    for base in reversed(cls.__mro__):
        for name, attribute in vars(base).items():
            declared = getattr(attribute, "__command__", None)
            if isinstance(declared, Command):
                found[name] = declared
            else:
                found.pop(name, None)
    return found


def own_command(cls: type, function: object) -> Command:
    """Return the declaration of a command of this class. Raises ``TypeError`` for anything else."""
    declared = command_of(function)
    if commands_of(cls).get(declared.name) is not declared:
        raise TypeError(f"{declared.function.__qualname__} is no command of {cls.__name__}.")
    return declared


def method_for(cls: type, event: type) -> str:
    """Return the name of the method that applies ``event``. Raises ``ImproperlyConfigured`` if there is none."""
    try:
        return applies_of(cls)[event]
    except KeyError:
        raise ImproperlyConfigured(
            f"{cls.__name__} does not say what {event.__name__} changes: add a method decorated with "
            f"@applies({event.__name__}), empty if it changes nothing."
        ) from None
