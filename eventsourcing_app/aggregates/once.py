"""Idempotency: the receipt of a command is stored with its events, so that repeating the request answers, not acts.

A key is scoped to actor, operation and stream. Refusals are not stored: they are decided again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec
from django.apps import apps
from django.db import IntegrityError

from eventsourcing_app.aggregates.receipts import Receipt
from eventsourcing_app.conf import conf
from eventsourcing_app.context import current, reacting
from eventsourcing_app.exceptions import KeyInFlight, KeyRefused, KeyReused
from eventsourcing_app.log import clock
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.unit import unit_of_writes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

A = TypeVar("A")

MAX_KEY = 255


class Operation(NamedTuple):
    """What a key is scoped to, besides the actor."""

    name: str
    stream_key: str = ""
    """Empty where the operation creates an aggregate or spans several."""


class Kept(NamedTuple):
    """What is stored of an answer."""

    result: dict[str, Any]
    """Plain JSON."""
    response_status: int | None = None
    response_body: str = ""
    """The response that told of it, if it was told over HTTP."""


class Answers(Protocol[A]):
    """How the answer of an operation is kept."""

    def dump(self, answer: A) -> Kept:
        """Return what is stored of it."""

    def load(self, kept: Kept) -> A:
        """Return the answer to a repetition."""


Keeping: TypeAlias = "Callable[[Answers[A]], Answers[A]]"
"""Adds to how an answer is kept: the API keeps its response beside it."""


@dataclass(frozen=True, slots=True)
class Receipts:
    """The answers of commands. ``to_key`` makes the primary key of its text."""

    to_key: Callable[[str], Any]

    def dump(self, answer: Receipt) -> Kept:
        """See ``Answers``."""
        return Kept(
            {
                "pk": None if answer.pk is None else str(answer.pk),  # nothing was recorded, and so no key drawn
                "position": answer.position,
                "version": answer.version,
                "count": answer.count,
            }
        )

    def load(self, kept: Kept) -> Receipt:
        """See ``Answers``."""
        pk = kept.result["pk"]
        return Receipt(**{**kept.result, "pk": None if pk is None else self.to_key(pk)}, replayed=True)


def run_once(
    key: str,
    operation: Operation,
    *,
    request: Mapping[str, Any],
    act: Callable[[], A],
    answers: Answers[A],
    older: Sequence[str] = (),
) -> A:
    """Run ``act`` and store its answer, or return the answer that ``key`` has already earned.

    ``older`` are the names that the operation had before its streams were renamed, the first one last. Under that one
    receipts are kept, so that code from before the rename, which may still be running, finds those of today as well.

    Must run inside the transaction of the command. Raises ``KeyRefused`` for a text that cannot be a key, ``KeyReused``
    if the key came with another request, and ``KeyInFlight`` while the first request is still running (on PostgreSQL;
    SQLite waits for it instead).
    """
    if not key or len(key) > MAX_KEY or not key.isprintable():
        raise KeyRefused(f"An idempotency key has 1 to {MAX_KEY} printable characters; {key!r:.80} is refused.")
    actor, names = current().resolve_actor(), (operation.name, *older)
    for name in names:
        _claim((actor, name, operation.stream_key, key))
    fingerprint = fingerprint_of(request)
    receipts = apps.get_model("eventsourcing_app", "StoredReceipt").objects.using(conf.DATABASE)
    scope = {"actor": actor, "stream_key": operation.stream_key, "key": key}
    stored = receipts.filter(**scope, operation__in=names).first()
    if stored is not None:
        if bytes(stored.fingerprint) != fingerprint:
            raise KeyReused(
                f"The idempotency key {key!r} has already answered another request for {operation.name}. Use a new key "
                "for a new request."
            )
        return answers.load(Kept(stored.result, stored.response_status, stored.response_body))
    answer = act()
    kept = answers.dump(answer)._asdict()
    try:
        receipts.create(**scope, operation=names[-1], fingerprint=fingerprint, **kept, recorded_at=clock.now())
    except IntegrityError as error:
        # It was stored since we looked: by this very request inside itself, or unseen by an older snapshot.
        raise _in_flight(key) from error
    return answer


def reaction_key(operation: str, stream_key: str = "") -> str | None:
    """Return the key that a command is given implicitly where a subscriber runs it, else ``None``.

    It names subscription, event and the place of the command among those of its kind to that stream in this run of the
    handler, so that a handler which runs again after a crash does again only what it had not done. A handler that then
    gives another command in that place is stopped by ``KeyReused``: nobody could say which of the two was meant.

    Inside a flow that has a key there is none: the flow is repeated as a whole or not at all. What it runs takes no
    place either, since it does not run again when the flow is only answered.
    """
    reaction = reacting.get()
    unit = unit_of_writes()
    if reaction is None or reaction.kind != "subscriber" or (unit is not None and unit.repeatable):
        return None
    ordinal = reaction.next_ordinal(operation, stream_key)
    return f"{reaction.subscription}:{reaction.event_id}:{ordinal}"


def _claim(scope: tuple[str, ...]) -> None:
    connection = log_connection()
    if connection.vendor != "postgresql":
        return
    number = int.from_bytes(sha256(json.dumps(scope).encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        (claimed,) = cursor.fetchone()
    if not claimed:
        raise _in_flight(scope[-1])


def _in_flight(key: str) -> KeyInFlight:
    return KeyInFlight(
        f"The first request with the idempotency key {key!r} is still running. Send it again in a moment."
    )


def fingerprint_of(request: Mapping[str, Any]) -> bytes:
    """Return what arguments are compared by; ``TypeError`` for those that cannot be."""
    try:
        return sha256(msgspec.json.encode(request, order="deterministic")).digest()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"The arguments cannot be compared with those of a repetition ({error}). Pass plain values: text, numbers, "
            "dates, UUIDs, enums, dataclasses, lists and dicts of them."
        ) from error
