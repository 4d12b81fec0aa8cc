"""Canonical JSON (RFC 8785): the one text of a value, so that a hash over it means the value and nothing else.

msgspec writes it where its output is the same as RFC 8785: no float anywhere and only ASCII keys (code points and
UTF-16 units then sort alike). Everything else is written by the ``rfc8785`` package, which is slow and right.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec
import rfc8785

from eventsourcing_app.exceptions import EventRefused, EventUnreadable

if TYPE_CHECKING:
    pass

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""A plain JSON value."""

MAX_INT = 2**53 - 1
"""Largest integer that every reader of JSON keeps exact (RFC 7493, section 2.2); its negative is the smallest."""

TOO_DEEP = "nested too deeply, or contains itself"

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()
_LONG_NUMBER = re.compile("[0-9]{16}")
_IDENTIFIER = re.compile(r"[^\W\d]\w*")


class Refusal(Exception):
    """Why a value cannot be stored; each container on the way up adds its step, so that success costs no path."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self._steps: list[str | int] = []

    def at(self, step: str | int) -> Refusal:
        """Say in which field, key or index it was; innermost first."""
        self._steps.append(step)
        return self

    @property
    def path(self) -> str:
        """The place, such as ``lines[2].amount``."""
        return "".join(map(_step, reversed(self._steps))).removeprefix(".")


def dumps(value: object, *, subject: str = "value", max_bytes: int | None = None, max_depth: int | None = None) -> str:
    """Return the RFC 8785 text of a plain JSON value, or raise ``EventRefused`` with the path of what it cannot hold.

    Refused are NaN, infinities, NUL, lone surrogates, integers beyond ±(2^53 - 1), keys that are not ``str``, any
    other type, nesting deeper than ``max_depth`` (``{}`` is one deep) and text longer than ``max_bytes`` in UTF-8.
    Tuples become arrays; subclasses of ``str``, ``int`` and ``float`` are stored as the plain value.
    """
    walk = _Walk(math.inf if max_depth is None else max_depth)
    try:
        plain = walk.plain(value, 0)
        raw = write(plain, exotic=walk.exotic)
    except Refusal as refusal:
        raise EventRefused(subject, refusal.path, refusal.why) from None
    except RecursionError:
        raise EventRefused(subject, "", TOO_DEEP) from None
    if max_bytes is not None and len(raw) > max_bytes:
        raise EventRefused(subject, "", too_long(len(raw), max_bytes))
    return raw.decode()


def loads(text: str) -> JSON:
    """Read JSON text; ``EventUnreadable`` if it is none.

    ``dumps(loads(text)) == text`` says whether a text is canonical; a repeated key shows there, since only the last
    one is kept. An integer beyond ±(2^53 - 1) is read as the float that it is in RFC 8785 (``1e20`` is written as
    ``100000000000000000000``).
    """
    try:
        value = _decoder.decode(text)
        if _LONG_NUMBER.search(text):
            value = json.loads(text, parse_int=_number)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise EventUnreadable(f"This is not JSON text: {error}") from error
    return cast("JSON", value)


def write(plain: object, *, exotic: bool) -> bytes:
    """Write a value that was checked already; ``exotic`` says that it holds a float or a key beyond ASCII."""
    return rfc8785.dumps(cast("dict[str, str]", plain)) if exotic else _encoder.encode(plain)


def too_long(size: int, limit: int) -> str:
    """Say why a text is refused for its length."""
    return f"its canonical text has {size} bytes, more than the {limit} allowed (MAX_EVENT_BYTES)"


class _Walk:
    """One pass over a value: checks it, makes it plain, and notices what only the rfc8785 package writes right."""

    __slots__ = ("exotic", "limit")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.exotic = False

    def plain(self, value: object, depth: int) -> object:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return check_text(value)
        if isinstance(value, int):
            return check_int(value)
        if isinstance(value, float):
            self.exotic = True
            return check_float(value)
        if depth >= self.limit:
            raise Refusal(f"nested deeper than the {self.limit} levels allowed (MAX_EVENT_DEPTH), or contains itself")
        if isinstance(value, dict):
            return self._object(value, depth + 1)
        if isinstance(value, list | tuple):
            return self._array(value, depth + 1)
        raise Refusal(f"{type(value).__name__} is not a JSON value")

    def _object(self, value: dict[object, object], depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        for key, item in value.items():
            name = check_key(key)
            if not name.isascii():
                self.exotic = True
            try:
                made[name] = self.plain(item, depth)
            except Refusal as refusal:
                refusal.at(name)
                raise
        return made

    def _array(self, value: list[object] | tuple[object, ...], depth: int) -> list[object]:
        made: list[object] = []
        try:
            for item in value:
                made.append(self.plain(item, depth))  # noqa: PERF401 - its length is the place of a refusal
        except Refusal as refusal:
            refusal.at(len(made))
            raise
        return made


def check_text(value: str) -> str:
    """Return exactly a ``str``, or refuse what not every database and reader can hold."""
    if "\0" in value:
        raise Refusal("contains NUL (U+0000), which PostgreSQL cannot hold")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refusal("contains a lone surrogate, which has no UTF-8 form") from None
    return value if type(value) is str else str.__str__(value)


def check_key(key: object) -> str:
    """Return exactly a ``str`` for the key of an object."""
    if not isinstance(key, str):
        raise Refusal(f"has a key of type {type(key).__name__}; keys must be str")
    try:
        return check_text(key)
    except Refusal as refusal:
        raise Refusal(f"has a key that {refusal.why}") from None


def check_int(value: int) -> int:
    """Return exactly an ``int`` that every reader of JSON keeps."""
    if -MAX_INT <= value <= MAX_INT:
        return value if type(value) is int else int.__int__(value)
    raise Refusal("is an integer beyond ±(2^53 - 1), which readers of JSON round; store it as a str or Decimal")


def check_float(value: float) -> float:
    """Return exactly a finite ``float``."""
    if math.isfinite(value):
        return value if type(value) is float else float.__float__(value)
    raise Refusal("is not finite; JSON has no NaN and no infinity")


def _number(digits: str) -> int | float:
    value = float(digits)
    return value if abs(value) > MAX_INT else int(digits)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _IDENTIFIER.fullmatch(step) else f"[{json.dumps(step)}]"
