"""The fingerprint of the code that folds a model's events. A snapshot that other code has made is not believed.

It covers the model's class and its bases, its fields, the events that it applies with their upcasters, and whatever
functions, classes and constants these name, followed from module to module, imports inside functions too. Of the
standard library, Django and this package it takes the names only. Code counts as the interpreter runs it, so comments
and line numbers do not matter, and the same code has the same fingerprint in every process and on every machine with
the same versions of Python and Django.

Rather too much than too little: a snapshot dropped for nothing costs one fold, one believed for nothing is a wrong
answer. What it cannot see (settings, data read from files or tables, attributes found by ``getattr``, objects that keep
state) is the reader's to declare, by raising ``snapshot_version`` of the model.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from types import CodeType, EllipsisType, FunctionType, MappingProxyType, MethodType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin
from uuid import UUID

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import cached_property

from eventsourcing_app.aggregates.dispatch import applies_of
from eventsourcing_app.aggregates.past.imports import imported, imports, is_foreign
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.events.declare import declaration_of, field_types, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventsourcing_app.aggregates.model import EventSourcedModel

_FORMAT = 1
"""Raise it when the way in which this package folds events, or keeps snapshots, gives other states."""

_PLAIN = frozenset(
    {NoneType, bool, int, float, complex, str, bytes, range, EllipsisType}
    | {Decimal, UUID, date, datetime, time, timedelta, timezone}
)
_WRAPPERS = (staticmethod, classmethod, property, functools.cached_property, cached_property, functools.partial)
_IN_CLASSES = (FunctionType, *_WRAPPERS, functools.partialmethod, type, Enum, re.Pattern)
_IN_CLASSES_PLAIN = (*_PLAIN, list, tuple, dict, set, frozenset, MappingProxyType)
_ANNOTATIONS = frozenset({"__annotate__", "__annotate_func__"})
_PRESENTATION = frozenset({"verbose_name", "help_text", "error_messages", "db_comment"})
"""Arguments of a field that say nothing about its values."""


@functools.cache
def fingerprint_of(model: type[EventSourcedModel]) -> bytes:
    """Return the fingerprint of the code that folds the events of ``model``, 32 bytes."""
    walk = _Walk()
    walk.add((_FORMAT, django.VERSION[:2], sys.version_info[:2], settings.TIME_ZONE, model.snapshot_version))
    for base in model.__mro__:  # not their names: a proxy that adds nothing folds alike
        if not is_foreign(base.__module__):
            walk.add_body(base)
    for field in (model._meta.pk, *history_fields(model)):
        name, path, args, kwargs = field.deconstruct()
        walk.add((name, path, args, {key: kwargs[key] for key in sorted(kwargs.keys() - _PRESENTATION)}))
        walk.add(type(field))
    for event, method in sorted(applies_of(model).items(), key=lambda item: declaration_of(item[0]).name):
        declared = declaration_of(event)
        walk.add((method, declared.name, declared.version, declared.ends, declared.aliases, declared.upcasters, event))
    return walk.digest()


def fingerprint_of_functions(*functions: object) -> bytes:
    """Return the fingerprint of functions and methods, with all that they name, 32 bytes."""
    walk = _Walk()
    walk.add((_FORMAT, django.VERSION[:2], sys.version_info[:2], settings.TIME_ZONE, functions))
    return walk.digest()


def _names(code: CodeType) -> Iterator[str]:
    """Yield every name that a function looks up, in the functions inside it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _rank(value: object) -> str:
    """Give the members of a set an order that is the same in every process."""
    if type(value) in _PLAIN:
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, tuple):
        return " ".join(map(_rank, value))
    named = value if isinstance(value, type | FunctionType) else type(value)
    return f"{named.__module__}.{named.__qualname__} {value.name if isinstance(value, Enum) else ''}"


class _Walk:
    """Takes in values and the code behind them, each function and class once, in an order that depends on them only."""

    def __init__(self) -> None:
        self._hash = sha256()
        self._places: dict[int, int] = {}
        self._waiting: list[FunctionType | type] = []
        self._entered: set[int] = set()

    def digest(self) -> bytes:
        """Take in the functions and classes that were met, and those met on the way, and return the hash of it all."""
        taken = 0
        while taken < len(self._waiting):
            waiting = self._waiting[taken]
            taken += 1
            if isinstance(waiting, type):
                self._add_class(waiting)
            else:
                self._add_function(waiting)
        return self._hash.digest()

    def _say(self, *words: object) -> None:
        for word in words:
            text = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
            self._hash.update(b"%d:" % len(text))
            self._hash.update(text)

    def add(self, value: object) -> None:
        """Take in a value: a constant by what it is, a function or class by its code."""
        kind = type(value)
        if kind in _PLAIN:
            self._say(kind.__name__, repr(value))
        elif isinstance(value, FunctionType | type):
            self._refer(value)
        elif isinstance(value, Enum):
            self._say("member", value.name)
            self._refer(kind)
        elif isinstance(value, str):
            self._say("str", repr(str.__str__(value)))
        elif isinstance(value, CodeType):
            self._add_code(value)
        elif isinstance(value, ModuleType):
            self._say("module", value.__name__)
        elif id(value) in self._entered:
            self._say("again")
        else:
            self._entered.add(id(value))
            self._add_parts(value)
            self._entered.discard(id(value))

    def _add_parts(self, value: object) -> None:
        if isinstance(value, dict | MappingProxyType):
            self._add_all("mapping", [part for item in value.items() for part in item])
        elif isinstance(value, set | frozenset):
            self._add_all("set", sorted(value, key=_rank))
        elif isinstance(value, list | tuple):
            self._add_all("sequence", value)
        elif isinstance(value, staticmethod | classmethod | MethodType):
            self._add_all("method", [value.__func__])
        elif isinstance(value, property):
            self._add_all("property", [value.fget, value.fset, value.fdel])
        elif isinstance(value, functools.cached_property | cached_property):
            self._add_all("cached", [value.func])
        elif isinstance(value, functools.partial | functools.partialmethod):
            self._add_all("partial", [value.func, value.args, value.keywords])
        elif isinstance(value, re.Pattern):
            self._add_all("pattern", [value.pattern, value.flags])
        else:
            self._add_instance(value)

    def _add_all(self, what: str, parts: Iterable[object]) -> None:
        parts = list(parts)
        self._say(what, len(parts))
        for part in parts:
            self.add(part)

    def _add_instance(self, value: object) -> None:
        kind = type(value)
        self._say("instance")
        self._refer(kind)
        if dataclasses.is_dataclass(kind) and not is_foreign(kind.__module__):
            self._add_all("fields", [getattr(value, spec.name, None) for spec in dataclasses.fields(kind)])
        # Of functools.cache and its like. Not asked of the instance itself, which may be lazy.
        wrapped = inspect.getattr_static(value, "__wrapped__", None)
        if isinstance(wrapped, FunctionType):
            self.add(wrapped)

    def _refer(self, value: FunctionType | type) -> None:
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self._waiting)
            self._waiting.append(value)
        self._say("place", place)

    def _add_function(self, function: FunctionType) -> None:
        """Take in its code and what it names; of a foreign one its name, and what it wraps."""
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # not filled
                cells.append(None)
        self._add_all("function", [*cells, getattr(function, "__wrapped__", None)])
        module = function.__globals__.get("__name__")
        if is_foreign(module):
            self._say(module, function.__qualname__)
            return
        self._add_code(function.__code__)
        self.add((function.__defaults__, function.__kwdefaults__))
        names = frozenset(_names(function.__code__))
        self._add_named(function.__globals__, names, set())
        self._add_imports(function, names)

    def _add_imports(self, function: FunctionType, names: frozenset[str]) -> None:
        """Take in what it names of the modules that it imports itself; one that is not there says so when it runs."""
        for name, taken in imports(function.__code__):
            try:
                modules = list(imported(name, taken, function.__globals__.get("__package__")))
            except ImportError:
                self._say("not there", name)
                continue
            for module in modules:
                self._say("imports", module.__name__)
                self._add_named(vars(module), names, {module.__name__})

    def _add_named(self, namespace: dict[str, Any], names: frozenset[str], entered: set[str]) -> None:
        for name in sorted(names & namespace.keys()):
            value = namespace[name]
            self._say("name", name)
            if isinstance(value, ModuleType) and not is_foreign(value.__name__):
                if value.__name__ not in entered:
                    entered.add(value.__name__)
                    self._add_named(vars(value), names, entered)
            else:
                self.add(value)

    def _add_code(self, code: CodeType) -> None:
        self._say("code", code.co_code, code.co_exceptiontable, code.co_flags)
        self._say(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self.add((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_consts))

    def _add_class(self, cls: type) -> None:
        if is_foreign(cls.__module__):
            self._say("class", cls.__module__, cls.__qualname__)
            return
        self._add_all("class", cls.__bases__)
        if issubclass(cls, Enum):
            self._add_all("members", [(name, member.value) for name, member in cls.__members__.items()])
        if dataclasses.is_dataclass(cls):
            self._add_fields(cls)
        self.add_body(cls)

    def add_body(self, cls: type) -> None:
        """Take in what a class defines itself: methods, classes and constants. Descriptors of Django are left out."""
        for name, value in sorted(vars(cls).items()):
            if name.startswith("__") and not (isinstance(value, FunctionType) and name not in _ANNOTATIONS):
                continue
            if isinstance(value, type) and issubclass(value, BaseException):  # DoesNotExist and the like
                continue
            if issubclass(cls, Enum) and not isinstance(value, FunctionType | property | staticmethod | classmethod):
                continue
            if (
                isinstance(value, _IN_CLASSES)
                or type(value) in _IN_CLASSES_PLAIN
                or not is_foreign(type(value).__module__)
            ):
                self._say("attribute", name)
                self.add(value)

    def _add_fields(self, cls: type) -> None:
        try:
            types = field_types(cls)
        except ImproperlyConfigured:  # a dataclass that is no part of an event may be written in any way
            types = {}
        for spec in dataclasses.fields(cls):
            self._say("field", spec.name)
            self._add_annotation(types.get(spec.name, spec.type))
            for default in (spec.default, spec.default_factory):
                if default is not dataclasses.MISSING:
                    self.add(default)

    def _add_annotation(self, annotation: Any) -> None:
        annotation = unwrapped(annotation)
        arguments = get_args(annotation)
        if not arguments:
            self.add(annotation)
            return
        self._say("generic", len(arguments))
        self.add(get_origin(annotation))
        for argument in arguments:
            self._add_annotation(argument)
