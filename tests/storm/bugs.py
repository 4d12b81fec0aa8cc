"""Bugs that the checker has to find. Each is a small patch of the library, applied in the processes of one scene.

All of them have been made: by others in the field, or here on the way.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from unittest import mock

from django.db import connection
from django.db.models.functions import Greatest

from eventsourcing_app.log import locks
from eventsourcing_app.models import Segment
from eventsourcing_app.subscriptions import careful, claim, drain, look, parking, turn, windows, work
from eventsourcing_app.subscriptions.windows import Found
from tests.storm.sql import LOG, SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eventsourcing_app.log.recorded import RecordedEvent
    from eventsourcing_app.subscriptions.claim import Claim
    from eventsourcing_app.subscriptions.turn import Turn


def no_bug() -> None:
    """The library as it is."""


def plain_position_reader() -> None:
    """Go on after the last position that was seen, whatever is still open before it."""

    def newest(**_options: object) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT coalesce(max(position), 0) FROM {LOG}")
            return int(cursor.fetchone()[0])

    _patch(drain, "settled_position", newest)
    _patch(drain, "last_position", newest)


def last_value_as_candidate() -> None:
    """Ask the sequence by ``SELECT last_value``, which is not the newest position drawn."""
    asked = "pg_sequence_last_value(drawn.name::regclass)"
    assert asked in locks._FACTS
    _patch(locks, "_FACTS", locks._FACTS.replace(asked, f"(SELECT last_value FROM {SEQUENCE})"))


def checkpoint_before_effect() -> None:
    """Move the checkpoint, and then call the handlers."""
    handle = work._apart

    def apart(its: Turn, found: Found) -> None:
        claim.mine(its.claimed).update(checkpoint=found.reached)
        handle(its, found)

    _patch(work, "_apart", apart)


def checkpoint_without_fence() -> None:
    """Move the checkpoint whoever has the segment by now."""

    def release(done: Iterable[Claim], *, token: object) -> None:
        for each in done:
            Segment.objects.filter(pk=each.segment).update(checkpoint=each.checkpoint, token=None)

    _patch(claim, "hold", lambda _claimed: True)
    _patch(claim, "mine", lambda claimed: Segment.objects.filter(pk=claimed.segment))
    _patch(claim, "release", release)


def skip_locked_for_each_event() -> None:
    """Let workers share a segment: each takes the first event that no other is at."""
    find = work._find

    def first_free(its: Turn) -> Found:
        for recorded in find(its).events:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [recorded.position])
                if cursor.fetchone() == (True,):
                    return Found([recorded], recorded.position)
        return Found([], its.claimed.checkpoint)

    def release(done: Iterable[Claim], *, token: object) -> None:
        for each in done:
            further = Greatest("checkpoint", each.checkpoint)
            Segment.objects.filter(pk=each.segment).update(checkpoint=further, token=None, lost=False)

    free = "(s.token IS NULL OR s.claimed_until < {now})"
    assert free in look._LOOK
    assert free in claim._CLAIM
    _patch(look, "_LOOK", look._LOOK.replace(free, "true"))
    _patch(claim, "_CLAIM", claim._CLAIM.replace(free, "true").replace("(lost OR token IS NOT NULL)", "false"))
    _patch(claim, "release", release)
    _patch(work, "_find", first_free)


def attempts_counted_afterwards() -> None:
    """Count an attempt when it is over: one that kills its process never is."""
    handle = careful._deliver

    def deliver(its: Turn, recorded: RecordedEvent) -> bool:
        claim.mine(its.claimed).update(attempted_position=None, attempts=0)  # as it was before the attempt
        return handle(its, recorded)

    _patch(careful, "_deliver", deliver)


def death_forgotten() -> None:
    """Take a segment for sound that a worker has died of, when the next one gave it back without looking at it."""
    kept = "(lost OR token IS NOT NULL)"
    assert kept in claim._CLAIM
    _patch(claim, "_CLAIM", claim._CLAIM.replace(kept, "(token IS NOT NULL)"))


def unstable_segment_hash() -> None:
    """Divide streams by Python's ``hash()``, which another process computes otherwise.

    Processes that are forked share the secret of their parent; so here each has its own number instead.
    """
    salt = os.getpid()
    _patch(windows, "segment_of", lambda sequence, segments: hash((salt, sequence)) % segments)


def parking_without_the_lock() -> None:
    """Park an event without looking whether the segment is still one's own."""
    park = parking.park

    def park_at_once(*args: Any, **kwargs: Any) -> bool:
        with mock.patch.object(claim, "hold", return_value=True):
            return park(*args, **kwargs)

    _patch(turn, "park", park_at_once)


def loop_that_ends_early() -> None:
    """End when all that is settled was handled, also while an older append is open."""
    _patch(drain, "last_position", lambda: 0)


def _patch(module: object, name: str, value: object) -> None:
    """Replace for good: the process that has the bug ends with its scene."""
    assert hasattr(module, name)
    setattr(module, name, value)


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug
    for bug in (
        *(no_bug, plain_position_reader, last_value_as_candidate, checkpoint_before_effect, checkpoint_without_fence),
        *(skip_locked_for_each_event, attempts_counted_afterwards, death_forgotten, unstable_segment_hash),
        *(parking_without_the_lock, loop_that_ends_early),
    )
}
