"""Events to canonical JSON text and back. What is accepted is read back equal; the rest is refused, with its path.

Each event class is compiled once, at first use. Writing: one closure a type, which checks the value and returns what
msgspec writes. Reading: msgspec decodes the text into a twin of the class with stricter types (a ``Decimal`` only from
its own text, no unknown field), and the class is called with what it held, ``__post_init__`` included. Which types
there are, and how each is written, is in ``fieldtypes``.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from eventsourcing_app.conf import conf
from eventsourcing_app.events import canonical
from eventsourcing_app.events.canonical import Refusal
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.events.fieldtypes import Compiler
from eventsourcing_app.events.registry import registry
from eventsourcing_app.exceptions import EventRefused, EventUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventsourcing_app.events.kinds import Kind
    from eventsourcing_app.events.registry import Declaration

_encoder = msgspec.json.Encoder(order="sorted")
_PLACE = re.compile(r"(.*) - at `(?:key in )?\$\.?(.*)`", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    kind: Kind
    decoder: msgspec.json.Decoder[Any]
    floats: bool
    keyed: bool


_codecs: dict[type, _Codec] = {}
_limits: tuple[int, int] | None = None


def encode(event: object) -> str:
    """Return the canonical JSON text of an event's data, or raise ``EventRefused`` with the path of what is wrong.

    ``TypeError`` if its class is no event; ``ImproperlyConfigured`` if its declaration has a type without a JSON form.
    """
    codec = _codecs.get(type(event)) or _codec_of(declaration_of(event))
    if codec.name in registry.ambiguous:
        registry.check(codec.name)
    max_bytes, max_depth = _limits or _read_limits()
    try:
        plain = codec.kind.dump(event)
        if codec.floats or codec.kind.depth > max_depth:
            return _encode_carefully(codec, plain)
        raw = _encoder.encode(plain)
    except Refusal as refusal:
        raise EventRefused(codec.name, refusal.path, refusal.why) from None
    except RecursionError:
        raise EventRefused(codec.name, "", canonical.TOO_DEEP) from None
    except UnicodeEncodeError:
        return _encode_carefully(codec, plain)
    # Looked for in the text, once, instead of in each string: NUL, and keys that only the rfc8785 package sorts right.
    if b"\\u0000" in raw or (codec.keyed and not raw.isascii()):
        return _encode_carefully(codec, plain)
    if len(raw) > max_bytes:
        raise EventRefused(codec.name, "", canonical.too_long(len(raw), max_bytes))
    return raw.decode()


def decode(declaration: Declaration, text: str, *, stored_version: int | None = None) -> object:
    """Return the event of this text, which has the declaration's current version, or raise ``EventUnreadable``.

    As strict as ``encode``, except that other spellings of the same date, time, duration or UUID are read (to refuse
    them would cost as much as to write them again). A missing field takes its default; a field that the class does not
    have is refused: it would be lost.
    ``stored_version`` is for messages: the version that was upcast.
    """
    try:
        if declaration.name in registry.ambiguous:
            registry.check(declaration.name)
        codec = _codecs.get(declaration.cls) or _codec_of(declaration)
        if "\\u0000" in text:
            canonical.dumps(canonical.loads(text), subject=codec.name)
        return cast("Callable[[Any], object]", codec.kind.build)(codec.decoder.decode(text))
    except Refusal as refusal:
        path, why, cause = refusal.path, refusal.why, cast("Exception", refusal)
    except Exception as error:  # noqa: BLE001 - also what the class raises in __post_init__, and an Enum in _missing_
        found = _PLACE.fullmatch(str(error))
        why, path = found.groups() if found else (f"{error}", "")
        cause = error
    upcast = "" if stored_version in (None, declaration.version) else f" (stored in version {stored_version})"
    place = f" at {path}" if path else ""
    raise EventUnreadable(
        f"{declaration.name} version {declaration.version}{upcast} is unreadable{place}: {why}"
    ) from cause


def problems(cls: type) -> list[str]:
    """Return what keeps a class from being stored, a sentence a field: for the system check. Empty if all is well."""
    compiler = Compiler()
    compiler.dataclass(cls)
    return compiler.problems


def _encode_carefully(codec: _Codec, plain: object) -> str:
    max_bytes, max_depth = _limits or _read_limits()
    try:
        built = msgspec.to_builtins(plain)
    except RecursionError:
        raise EventRefused(codec.name, "", canonical.TOO_DEEP) from None
    return canonical.dumps(built, subject=codec.name, max_bytes=max_bytes, max_depth=max_depth)


def _codec_of(declaration: Declaration) -> _Codec:
    compiler = Compiler()
    kind = compiler.dataclass(declaration.cls)
    if compiler.problems:
        raise ImproperlyConfigured(f"Event {declaration.name!r} cannot be stored. " + " ".join(compiler.problems))
    decoder = msgspec.json.Decoder(kind.wire)
    codec = _Codec(declaration.name, kind, decoder, floats=compiler.floats, keyed=compiler.keyed)
    # A class whose module was loaded again leaves its codec behind: development only, and events of it may still live.
    _codecs[declaration.cls] = codec
    return codec


def _read_limits() -> tuple[int, int]:
    # Two looks into the settings cost as much as the encoding itself; Django says when they change.
    global _limits  # noqa: PLW0603
    _limits = limits = (conf.MAX_EVENT_BYTES, conf.MAX_EVENT_DEPTH)
    return limits


def _forget_limits(*, setting: str, **kwargs: object) -> None:
    global _limits  # noqa: PLW0603
    if setting == "EVENTSOURCING":
        _limits = None


setting_changed.connect(_forget_limits, dispatch_uid="eventsourcing_app.events.codec")
