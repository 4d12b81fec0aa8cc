"""Collects what a storm left behind, in the database and in files, as the plain data that the checker judges."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.db import connection

from demo_bank.models import Account
from eventsourcing_app.models import ParkedEvent, Segment, Subscription
from tests.storm import bank
from tests.storm.facts import Facts, Observation, Operation, Parked, Row, Watched
from tests.storm.history import read
from tests.storm.models import Entry
from tests.storm.sql import LOG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from tests.storm.models import Folded
    from tests.storm.reactions import Promise

_ROWS = f"""
SELECT position, event_id::text, stream_type, stream_key, version, type, coalesce(data::jsonb ->> 'reference', ''),
       coalesce(causation_id::text, ''),
       coalesce(((data::jsonb ->> 'amount')::numeric * 100)::bigint, 0)
           * CASE WHEN type = 'bank.transfer_sent' THEN -1 ELSE 1 END
FROM {LOG} WHERE position > %s ORDER BY position
"""


def log_rows(after: int = 0) -> list[Row]:
    """Return the log, in its order."""
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [after])
        return [Row(*row) for row in cursor.fetchall()]


def watched(promises: Mapping[str, Promise], folder: Path) -> list[Watched]:
    """Return what is known of each subscription that the database knows."""
    started = dict(Subscription.objects.values_list("name", "started_after"))
    return [_watched(name, promises[name], folder, started[name]) for name in promises if name in started]


def _watched(name: str, promise: Promise, folder: Path, started_after: int) -> Watched:
    segments = list(Segment.objects.filter(subscription=name).values_list("number", "checkpoint", "parked"))
    parked = ParkedEvent.objects.filter(segment__subscription=name)
    delivered: list[int] | None = None
    if promise.entries:
        entries = Entry.objects.filter(subscription=name).order_by("pk")
        delivered = list(entries.values_list("position", flat=True))
    elif promise.lines:
        delivered = [line["position"] for line in read(folder / f"{name}.lines")]
    return Watched(
        name=name,
        types=promise.types,
        once=promise.once,
        started_after=started_after,
        checkpoints={number: checkpoint for number, checkpoint, _ in segments},
        parked_counts={number: count for number, _, count in segments},
        parked=[Parked(*row) for row in parked.values_list("segment__number", "position", "state", "attempts")],
        max_attempts=promise.max_attempts,
        delivered=delivered,
        deaths=[line["position"] for line in read(folder / f"{name}.deaths")],
        folds=None if promise.folds is None else _folds(promise.folds, name),
        publishes=promise.publishes,
    )


def _folds(table: type[Folded], name: str) -> dict[str, str]:
    return dict(table._default_manager.filter(subscription=name).values_list("stream", "folded"))


def operations(folder: Path) -> list[Operation]:
    """Return what the writers set out to do; what was tried several times is what was said last that is certain."""
    events: dict[str, int] = {}
    told: dict[str, tuple[str, int | None]] = {}
    for path in sorted(folder.glob("*.history")):
        for line in read(path):
            if line["phase"] == "invoke":
                events[line["id"]] = line["events"]
            elif line["phase"] == "told" and line["outcome"] != "unknown":
                told[line["id"]] = line["outcome"], line["position"]
    return [_operation(ident, count, *told.get(ident, ("unknown", None))) for ident, count in events.items()]


def _operation(ident: str, events: int, outcome: Any, position: int | None) -> Operation:
    return Operation(ident, events, outcome, position)


def observations(folder: Path) -> list[Observation]:
    """Return what the readers saw."""
    lines = (line for path in sorted(folder.glob("*.history")) for line in read(path))
    return [Observation(line["accounts"], line["total"]) for line in lines if line["phase"] == "observed"]


def balances() -> dict[str, tuple[int, int]]:
    """Return version and balance of each account."""
    rows = Account.objects.values_list("pk", "version", "balance")
    return {str(key): (version, int(balance * 100)) for key, version, balance in rows}


def everything(
    promises: Mapping[str, Promise], folder: Path, accounts: Sequence[UUID], *, broken: list[str], at_rest: bool
) -> Facts:
    """Collect all of it."""
    opened = Operation(bank.OPENED, len(accounts), "ok")
    return Facts(
        log=log_rows(),
        watched=watched(promises, folder),
        operations=[opened, *operations(folder)],
        observations=observations(folder),
        expected=Observation(len(accounts), int(len(accounts) * bank.OPENING * 100)),
        balances=balances(),
        account_type=Account.stream_type,
        broken=broken,
        at_rest=at_rest,
    )


def outcomes(facts: Facts) -> dict[str, int]:
    """Count operations by what their writers were told."""
    counts: dict[str, int] = defaultdict(int)
    for operation in facts.operations:
        counts[operation.outcome] += 1
    return dict(counts)
