"""``@event``: turns a class into a declared fact with a stable wire name. A declared event is immutable."""

from __future__ import annotations

import dataclasses
import re
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.events.registry import Declaration, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from eventsourcing_app.events.registry import Upcaster

__all__ = ["Declaration", "declaration_of", "event", "registry"]

E = TypeVar("E")

MAX_NAME = 200
"""Longest wire name, in characters."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def event(
    name: str,
    *,
    version: int = 1,
    ends: bool = False,
    aliases: Sequence[str] = (),
    upcasters: Mapping[int, Upcaster] | None = None,
) -> Callable[[type[E]], type[E]]:
    """Declare a class as an event; it becomes a frozen, keyword-only, slotted dataclass.

    ``name`` is its wire name, stored with every event: explicit, and never changed. To rename, list the old name in
    ``aliases``. ``version`` counts the shapes that its data has had; ``upcasters[n]`` turns the plain dict of version
    n into one of version n + 1 (versions count on through a rename). ``ends=True`` closes the stream. A declaration
    that cannot work raises ``ImproperlyConfigured``.
    """
    older = (aliases,) if isinstance(aliases, str) else tuple(aliases)
    for each in (name, *older):
        _check_name(each)
    if len({name, *older}) != 1 + len(older):
        raise ImproperlyConfigured(f"Event {name!r} lists one of its names twice: {older}.")
    if type(version) is not int or version < 1:
        raise ImproperlyConfigured(f"Event {name!r}: its version must be 1 or more, not {version!r}.")
    steps = dict(upcasters or {})
    for start, step in steps.items():
        if type(start) is not int or not 1 <= start < version or not callable(step):
            raise ImproperlyConfigured(
                f"Event {name!r}: upcasters[{start!r}] must be a function, for a version from 1 to {version - 1}."
            )

    def declare(cls: type[E]) -> type[E]:
        made = _dataclass_of(cls, name)
        declaration = Declaration(
            name=name, cls=made, version=version, ends=ends, aliases=older, upcasters=MappingProxyType(steps)
        )
        made.__event__ = declaration  # type: ignore[attr-defined]  # a plain attribute, so that subclasses stay plain
        registry.add(declaration)
        return made

    return declare


def declaration_of(event: object) -> Declaration:
    """Return the declaration of an event or event class; ``TypeError`` for anything else, subclasses included."""
    cls = event if isinstance(event, type) else type(event)
    declaration = vars(cls).get("__event__")
    if not isinstance(declaration, Declaration):
        raise TypeError(f'{cls.__qualname__} is not a declared event. Put @event("app.what_happened") on the class.')
    return declaration


def field_types(cls: type) -> dict[str, object]:
    """Return the resolved annotation of each field of a dataclass; ``ImproperlyConfigured`` if that is not possible."""
    if not dataclasses.is_dataclass(cls):
        raise ImproperlyConfigured(f"{cls.__qualname__} is not a dataclass.")
    try:
        try:
            hints = get_type_hints(cls, include_extras=True)
        except NameError:  # a recursive class that is declared inside a function is no global of its module
            hints = get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    except Exception as error:
        raise ImproperlyConfigured(
            f"The annotations of {cls.__qualname__} cannot be read ({type(error).__name__}: {error}). Import what they "
            "name at module level, outside `if TYPE_CHECKING`."
        ) from error
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise ImproperlyConfigured(f"{cls.__qualname__}.{name} is an InitVar, which is not kept. Make it a field.")
    _check_init(cls)
    return {spec.name: hints[spec.name] for spec in dataclasses.fields(cls)}


def unwrapped(annotation: Any) -> Any:
    """Return what an annotation stands for, without ``Annotated``, ``NewType`` and the name of a type alias."""
    while not isinstance(annotation, type):
        inner = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif inner is not None:
            annotation = inner
        else:
            break
    return annotation


def advice(annotation: object) -> str:
    """Say why a field cannot have this type, and what to write instead."""
    shown = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    origin = get_origin(annotation) or annotation
    if annotation in (Any, object):
        return f"{shown} says nothing about how to read it back; declare a type."
    if origin in (list, tuple, dict, set, frozenset):
        return f"{shown} does not say what is in it; write list[str], tuple[int, ...], dict[str, Decimal]."
    if annotation in (bytes, bytearray, memoryview):
        return f"{shown} has no JSON form; store text (base64, hex) or a reference to where the file is kept."
    if annotation in (None, NoneType):
        return "None alone holds nothing; remove the field."
    return (
        f"{shown} cannot be stored. Use str, bool, int, float, Decimal, date, datetime, time, timedelta, UUID, Enum, "
        "Literal, X | None, list, tuple, dict[str, …], set, frozenset or a dataclass of those."
    )


def is_name(name: object) -> bool:
    """Whether this can be a wire name; the names of streams have the same form."""
    return isinstance(name, str) and len(name) <= MAX_NAME and bool(_NAME.fullmatch(name))


def _check_name(name: str) -> None:
    if not is_name(name):
        raise ImproperlyConfigured(
            f"{name!r} cannot be the wire name of an event. Use words of ASCII letters, digits, '_' and '-', joined by "
            f'single dots, such as "bank.money_deposited"; at most {MAX_NAME} characters.'
        )


def _dataclass_of(cls: type[E], name: str) -> type[E]:
    if not isinstance(cls, type):
        raise ImproperlyConfigured(f"@event({name!r}) goes on a class, not on {cls!r}.")
    if "__dataclass_fields__" in vars(cls):
        raise ImproperlyConfigured(
            f"@event({name!r}) makes {cls.__qualname__} a dataclass itself (and declares it once): remove the other "
            "decorator."
        )
    try:
        made = dataclasses.dataclass(frozen=True, kw_only=True, slots=True)(cls)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"Event {name!r} ({cls.__qualname__}) cannot be a frozen dataclass: {error}."
        ) from error
    _check_init(made)
    return made


def _check_init(cls: type) -> None:
    for spec in dataclasses.fields(cls):
        if not spec.init:
            raise ImproperlyConfigured(
                f"{cls.__qualname__}.{spec.name} has init=False, so it could not be read back. Make it a property."
            )
