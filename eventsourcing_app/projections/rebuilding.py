"""Rebuilding a projection: the new one is built beside the old one, which goes on serving until the swap.

Until then the rebuild is a subscription of its own, drained by the same loop: so it can be killed and goes on where it
was, a batch has its effect once, and what fails is set aside and told. The swap is one short transaction, in which the
live projection stands still: whoever reads sees the old tables or the new ones, and never an older state than before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from django.db import OperationalError, transaction
from django.db.models import Min, Sum

from eventsourcing_app.aggregates.past.applycode import fingerprint_of_functions
from eventsourcing_app.aggregates.rebuild.exclusion import exclusive
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.projections import shadows
from eventsourcing_app.projections.arrival import failed_in, require_checkpoint, require_none_failed
from eventsourcing_app.projections.base import projection_named
from eventsourcing_app.projections.builders import build
from eventsourcing_app.projections.swapping import LETS_GO, Stopped, Swapped, fill_again, swap_in
from eventsourcing_app.subscriptions.definitions import create, ensure, segments_of, stored
from eventsourcing_app.subscriptions.records import Subscription
from eventsourcing_app.subscriptions.registry import Definition, registry

if TYPE_CHECKING:
    from eventsourcing_app.projections.base import Projection

SUFFIX = "~rebuild"
_NEAR = 200
"""So few positions may be left for the swap to handle while the live projection stands still."""
_SWAPS, _PAUSE = 60, 0.5
"""How often a swap is tried that could not get its locks, and the seconds in between."""
_ROUND_PAUSE = 0.05
"""Between two rounds, in seconds; the shorter, the less has come when the next one begins."""


class Progress(NamedTuple):
    """How far a rebuild has come, in positions of the log."""

    done: int
    whole: int


@dataclass(kw_only=True, slots=True)
class Wishes:
    """What a rebuild is asked for."""

    processes: int = 1
    restart: bool = False
    compare: bool = False
    """Compare before the swap."""
    only_compare: bool = False
    """Compare, and keep what serves."""
    with_parked: bool = False
    """Swap also if events failed, which then stay parked."""
    reason: str = ""
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[Progress], None] = lambda _progress: None
    note: Callable[[str], None] = lambda _text: None


@dataclass(kw_only=True, slots=True)
class Rebuilt:
    """What came of it."""

    finished: bool = False
    """False if it was stopped; another call goes on where it was."""
    swapped: bool = False
    checkpoint: int = 0
    differing: int | None = None
    """How many rows differed, if they were compared."""
    differences: tuple[shadows.Difference, ...] = ()
    parked: list[str] = field(default_factory=list)


class Target(NamedTuple):
    """A projection that can be rebuilt."""

    projection: type[Projection]
    live: Definition
    definition: Definition
    """Of the rebuild."""
    tables: tuple[str, ...]


def target_of(name: str) -> Target:
    """Return what is to be built again; raises ``RebuildFailed`` for a projection that cannot be."""
    target = _declared(name)
    if name not in ensure([target.live]):
        raise RebuildFailed(
            f"{name} is stored with other events than this code reacts to, and what it would build would lack them: "
            "run migrate, or use the newer code."
        )
    require_checkpoint(name)
    row = stored().get(name=name)
    return target._replace(definition=replace(target.definition, start=row.started_after, segments=row.segment_count))


def _declared(name: str) -> Target:
    """Return a projection that says which tables are its own, as the code declares it."""
    projection = projection_named(name)
    live = registry.get(name)
    if projection is None or live is None:
        known = ", ".join(each.name for each in registry.all() if projection_named(each.name))
        raise RebuildFailed(f"{name!r} is no projection of this code. There are: {known or 'none'}.")
    if not projection.models:
        raise RebuildFailed(
            f"{name} does not say which tables are its own. Write in {live.place}: models = (…), with the models that "
            "it alone writes."
        )
    definition = replace(
        live, name=f"{name}{SUFFIX}", kind="rebuild", rate="", burst=None, on_failure="park", max_attempts=1
    )
    return Target(projection, live, definition, shadows.tables_of(projection.models))


def rebuild(name: str, wishes: Wishes) -> Rebuilt:
    """Build a projection again beside the one that serves, and put it in its place.

    Raises ``RebuildFailed`` if it cannot be built or swapped in, ``RebuildRunning`` if another process is at it.
    """
    target = target_of(name)
    with exclusive(f"projection {name}"):
        _prepare(target, wishes)
        result = Rebuilt()
        while not wishes.stop():
            if not build(target, wishes, lambda: wishes.progress(progress_of(target))):
                return result
            if not wishes.with_parked:
                require_none_failed(name, failed_in(target.definition.name))
            swapped = _try_to_swap(target, wishes)
            if swapped is not None:
                result.finished, result.swapped = True, not wishes.only_compare
                result.checkpoint, result.parked = swapped.checkpoint, swapped.parked
                result.differing, result.differences = swapped.differing, swapped.differences
                if wishes.only_compare:
                    _forget(target)
                return result
            time.sleep(_ROUND_PAUSE)
        return result


def cancel(name: str) -> bool:
    """Drop what a rebuild has built so far; false if there was nothing.

    Raises ``RebuildFailed`` for one whose tables this code does not know any more, and says what to do.
    """
    if projection_named(name) is None and stored().filter(name=f"{name}{SUFFIX}").exists():
        raise RebuildFailed(
            f"{name} is no projection of this code any more, so its tables are not known. Cancel its rebuild with the "
            f"code that has it, or drop what is named *{SUFFIX} by hand and delete the subscription {name}{SUFFIX}."
        )
    target = _declared(name)
    with exclusive(f"projection {name}"):
        there = stored().filter(name=target.definition.name).exists()
        _forget(target)
        return there


def progress_of(target: Target) -> Progress:
    """Return how far the rebuild has come: the positions that it has behind it, averaged over its segments."""
    rows = segments_of(target.definition.name)
    start = stored().values_list("started_after", flat=True).get(name=target.definition.name)
    reached = (rows.aggregate(sum=Sum("checkpoint"))["sum"] or 0) // target.definition.segments
    return Progress(max(0, reached - start), max(0, settled_position() - start))


def _prepare(target: Target, wishes: Wishes) -> None:
    """Make the shadows, or go on with those that are there."""
    if found := shadows.obstacles(target.tables):
        raise RebuildFailed(
            "These tables cannot be exchanged: " + "; ".join(found) + ". Take that away, or use --in-place, which "
            "empties and fills the tables themselves."
        )
    code = _code_of(target)
    before = stored().filter(name=target.definition.name).first()
    if before is not None and (
        wishes.restart or before.options.get("code") != code or not shadows.exist(target.tables)
    ):
        if not wishes.restart:
            wishes.note("The code or the tables have changed since the rebuild was begun: it begins anew.")
        _forget(target)
        before = None
    if before is not None:
        # Nobody else is at it: whoever has claimed something is dead. What it waited for, or halted at, is tried anew.
        rows = segments_of(before.name)
        rows.filter(token__isnull=False).update(claimed_until=LETS_GO)
        rows.update(retry_at=None)
        stored().filter(name=before.name).update(status=Subscription.Status.ACTIVE, status_reason="")
        wishes.note("Going on where the last run was.")
        return
    with transaction.atomic(using=conf.DATABASE):
        shadows.drop(target.tables)
        shadows.create(target.tables)
        create(target.definition, options={"code": code})


def _code_of(target: Target) -> str:
    handlers = sorted(target.live.handlers.items(), key=lambda item: str(item[0]))
    code = fingerprint_of_functions(target.projection, [each for _, each in handlers])
    # To which events the handlers react is said beside their code.
    return sha256(code + "\n".join(sorted(target.live.types)).encode()).hexdigest()


def _forget(target: Target) -> None:
    with transaction.atomic(using=conf.DATABASE):
        stored().filter(name=target.definition.name).delete()
        shadows.drop(target.tables)


def _try_to_swap(target: Target, wishes: Wishes) -> Swapped | None:
    """Swap if the rebuild is near enough; ``None`` if it is not, or the tables are in use just now."""
    rows = segments_of(target.definition.name)
    if settled_position() - (rows.aggregate(low=Min("checkpoint"))["low"] or 0) > _NEAR:
        return None
    for last in (*[False] * (_SWAPS - 1), True):
        try:
            return swap_in(target, wishes)
        except Stopped:
            return None
        except OperationalError as error:
            if last or "lock" not in str(error).lower():
                raise
        if wishes.stop():
            return None
        time.sleep(_PAUSE)
    return None


def rebuild_in_place(name: str, wishes: Wishes) -> Rebuilt:
    """Empty a projection's tables and fill them again, in one transaction: for small ones.

    Readers see the old rows until it commits; the live projection waits. If it is stopped, nothing has changed. Raises
    ``RebuildFailed`` if an event fails.
    """
    target = target_of(name)
    with exclusive(f"projection {name}"):
        try:
            checkpoint = fill_again(target, wishes)
        except Stopped:
            return Rebuilt()
    return Rebuilt(finished=True, swapped=True, checkpoint=checkpoint)
