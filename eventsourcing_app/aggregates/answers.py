"""The answers of flows: what a function returns, kept by its annotation so that a repetition returns the same.

Its types are those of event fields (see ``events.fieldtypes``), None and ``Receipt``.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from types import NoneType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_type_hints
from uuid import UUID

import msgspec
from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.aggregates.once import Kept
from eventsourcing_app.aggregates.receipts import FlowReceipt, Receipt
from eventsourcing_app.conf import conf
from eventsourcing_app.events import canonical
from eventsourcing_app.events.canonical import Refusal
from eventsourcing_app.events.declare import unwrapped
from eventsourcing_app.events.fieldtypes import Compiler
from eventsourcing_app.events.kinds import Kind, Unsupported
from eventsourcing_app.events.scalars import expected
from eventsourcing_app.exceptions import EventRefused, IdempotencyError

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")


class Answer(Generic[R]):
    """How the outcome of one flow is written and read."""

    def __init__(self, subject: str, function: Callable[..., Any]) -> None:
        """Compile the annotation; ``ImproperlyConfigured`` if what it names cannot be stored."""
        self._subject = subject
        self.annotation = annotation = _annotation(function)
        compiler = _Compiler()
        try:
            self._kind = compiler.kind(annotation)
        except Unsupported as error:
            raise ImproperlyConfigured(_unfit(function, str(error))) from None
        if compiler.problems:
            raise ImproperlyConfigured(_unfit(function, " ".join(compiler.problems)))
        self._decoder = msgspec.json.Decoder(self._kind.wire)

    def dump(self, answer: FlowReceipt[R]) -> Kept:
        """Return what is stored; ``TypeError`` if the value is not what the annotation says."""
        # As text: a JSON column may write numbers in another way.
        return Kept({"value": self.text(answer.value), "position": answer.position})

    def load(self, kept: Kept) -> FlowReceipt[R]:
        """Return what was stored; ``IdempotencyError`` if by now the function returns something else."""
        value, position = self._value(kept.result["value"]), kept.result["position"]
        return FlowReceipt(value=value, position=position, replayed=True)

    def text(self, value: object) -> str:
        """Return a value as canonical JSON text; ``TypeError`` if it is not what the annotation says."""
        limits = {"max_bytes": conf.MAX_EVENT_BYTES, "max_depth": conf.MAX_EVENT_DEPTH}
        try:
            return canonical.dumps(msgspec.to_builtins(self._kind.dump(value)), subject=self._subject, **limits)
        except (Refusal, EventRefused) as refusal:
            path, why = refusal.path, refusal.why
        except RecursionError:
            path, why = "", canonical.TOO_DEEP
        place = f" at {path}" if path else ""
        raise TypeError(
            f"{self._subject} returned what its annotation does not allow{place}: {why}. A repetition could not be "
            "given the same; nothing was stored."
        )

    def _value(self, text: str) -> R:
        try:
            decoded = self._decoder.decode(text)
            return cast("R", decoded if self._kind.build is None else self._kind.build(decoded))
        except Exception as error:
            why = error.why if isinstance(error, Refusal) else error
            raise IdempotencyError(
                f"{self._subject} was run with this key when it returned something else than now: its answer cannot be "
                f"read ({why}). It has been done; look at what it did before you use another key."
            ) from error


class _Compiler(Compiler):
    """Knows what only a function returns, besides the types of event fields."""

    def kind(self, annotation: Any) -> Kind:
        plain = unwrapped(annotation)
        if plain in (None, NoneType):
            return Kind(_none, None)
        if plain is Receipt:
            return Kind(_dump_receipt, _WireReceipt, _build_receipt, depth=1, hashable=True)
        return super().kind(annotation)


class _WireReceipt(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pk: str
    type: str
    position: int
    version: int
    count: int
    replayed: bool


_KEYS: dict[str, Callable[[str], Any]] = {
    "UUID": UUID,
    "int": int,
    "str": str,
    "Decimal": Decimal,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "NoneType": lambda _text: None,
}
"""For each type of primary keys, by its name, how it is made of its text: a receipt does not tell its model. There is
none yet where a creating command found nothing to do, and the database draws the key."""


def _none(value: object) -> None:
    if value is not None:
        raise expected("None", value)


def _dump_receipt(value: object) -> dict[str, object]:
    if type(value) is not Receipt:
        raise expected("Receipt", value)
    pk = str.__str__(value.pk) if isinstance(value.pk, str) else value.pk
    if type(pk).__name__ not in _KEYS:
        raise expected(f"a key of one of the types {', '.join(_KEYS)}", pk).at("pk")
    rest = {name: getattr(value, name) for name in ("position", "version", "count", "replayed")}
    return {"pk": str(pk), "type": type(pk).__name__, **rest}


def _build_receipt(decoded: Any) -> Receipt:
    rest = {name: getattr(decoded, name) for name in ("position", "version", "count", "replayed")}
    return Receipt(pk=_KEYS[decoded.type](decoded.pk), **rest)


def _annotation(function: Callable[..., Any]) -> Any:
    try:
        given = function.__annotations__["return"]
        # Only what is returned: what the parameters name may be there for the type checker alone.
        hints = get_type_hints(
            SimpleNamespace(__annotations__={"return": given}),
            globalns=cast("Any", function).__globals__,
            include_extras=True,
        )
    except KeyError:
        raise ImproperlyConfigured(
            f"{function.__qualname__} does not say what it returns: annotate it, with None if it returns nothing, so "
            "that the answer can be stored with an idempotency key."
        ) from None
    except Exception as error:
        raise ImproperlyConfigured(
            f"The return annotation of {function.__qualname__} cannot be read ({type(error).__name__}: {error}). "
            "Import what it names at module level, outside `if TYPE_CHECKING`."
        ) from error
    return hints["return"]


def _unfit(function: Callable[..., Any], why: str) -> str:
    return (
        f"{function.__qualname__} returns what cannot be stored with an idempotency key: {why} None and Receipt can be "
        "returned, too."
    )
