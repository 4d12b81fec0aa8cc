"""What is measured: each row with its contestants and targets."""

from __future__ import annotations

from tests.benchmarks.row import Contestant, Row
from tests.benchmarks.rows_of_admin import ADMIN_ROWS
from tests.benchmarks.rows_of_delivery import DELIVERY_ROWS
from tests.benchmarks.rows_of_http import HTTP_ROWS
from tests.benchmarks.stores import Store
from tests.benchmarks.targets import Faster, Memory, RateOrShare, Slower

OURS, PEER, HISTORY = "ours_seeds", "eventsourcing_side", "simple_history_side"


def _ours(
    work: str,
    content: str,
    what: str = "",
    key: str = "ours",
    *,
    use: str = "",
    dispatcher: str = "none",
    prepared: bool = True,
    sqlite: bool = False,
) -> Contestant:
    how = "prepared" if prepared else "nothing prepared"
    return Contestant(
        key=key,
        who="ours" if sqlite else f"ours, {how}: {what}",
        work=work,
        store=Store(OURS, content, use, sqlite),
        dispatcher=dispatcher,
        prepared=prepared,
    )


def _peer(work: str, content: str, who: str, key: str = "eventsourcing", use: str = "") -> Contestant:
    return Contestant(
        key=key,
        who=f"eventsourcing, prepared: {who}",
        work=f"{PEER}.{work}",
        store=Store(PEER, content, use),
        peer=True,
    )


def _history(work: str, who: str, key: str) -> Contestant:
    return Contestant(
        key=key,
        who=f"simple-history, nothing prepared: {who}",
        work=f"{HISTORY}.{work}",
        store=Store(HISTORY, "accounts"),
        peer=True,
    )


_FLOOR = Contestant(
    key="floor",
    who="floor, prepared: psycopg, two statements",
    work="floor.command",
    store=Store(OURS, "accounts", "floor"),
)
_COMMAND = (
    _ours("ours.command", "accounts", "get, deposit, save"),
    _peer("command", "accounts", "get, trigger, save"),
    _history("command", "load, change, save in atomic()", "simple-history"),
    _FLOOR,
    _ours("ours.perform", "accounts", "objects.perform", "perform"),
)
_COMMAND_MORE = (
    _ours("ours.command", "accounts", "get, deposit, save, waking django-q2", "waking", dispatcher="django_q"),
    _ours("ours.command", "accounts", "get, deposit, save, by Django's default", "unprepared", prepared=False),
    _peer("command_cached", "accounts", "the same, cached", "cached"),
    _history("command_apart", "the same in autocommit", "apart"),
)
_COMMAND_TARGETS = (Faster("eventsourcing", 1.5), Faster("simple-history", 1.2), Faster("floor", 0.4))


def _sqlite(name: str, title: str, unit: str, work: str, content: str, *, writes: bool = True) -> Row:
    ours = _ours(work, content, use=name.removeprefix("sqlite-"), sqlite=True)
    return Row(
        name=name, title=f"SQLite (WAL, synchronous=FULL): {title}", unit=unit, contestants=(ours,), writes=writes
    )


ROWS = (
    Row(
        name="command",
        title="load + command + save, one event a transaction, 1 process",
        unit="commands/s",
        contestants=_COMMAND + _COMMAND_MORE,
        targets=_COMMAND_TARGETS,
    ),
    Row(
        name="commands",
        title="the same, several processes",
        unit="commands/s",
        contestants=_COMMAND,
        targets=_COMMAND_TARGETS,
        several=True,
    ),
    Row(
        name="ten",
        title="load + 10 commands + save",
        unit="events/s",
        contestants=(
            _ours("ours.ten", "accounts", "get, 10 deposits, save"),
            _peer("ten", "accounts", "get, 10 triggers, save"),
        ),
        targets=(Faster("eventsourcing", 1.2),),
    ),
    Row(
        name="ten-kept",
        title="10 commands + save of a kept instance",
        unit="events/s",
        contestants=(
            _ours("ours.ten_kept", "accounts", "10 deposits, save", use="kept"),
            _peer("ten_kept", "accounts", "10 triggers, save", use="kept"),
        ),
        targets=(Faster("eventsourcing", 1.2),),
    ),
    Row(
        name="bulk",
        title="1,000 commands over 100 kept aggregates, saved in one transaction",
        unit="events/s",
        contestants=(
            _ours("ours.bulk", "accounts", "deposits, save_all", use="bulk"),
            _peer("bulk", "accounts", "triggers, save(*aggregates)", use="bulk"),
            Contestant(
                key="copy", who="floor: COPY of the events", work="floor.copy", store=Store(OURS, "accounts", "copy")
            ),
        ),
        targets=(Faster("eventsourcing", 2), Faster("copy", 0.35)),
    ),
    Row(
        name="replay",
        title="fold of one long stream from its first event",
        unit="events/s",
        contestants=(
            _ours("ours_long.replay", "streams", "objects.replay(pk)"),
            _peer("replay", "streams", "repository.get(id)"),
        ),
        targets=(Faster("eventsourcing", 3),),
        writes=False,
    ),
    Row(
        name="read",
        title="typed read of the whole log",
        unit="events/s",
        contestants=(
            _ours("ours_long.read", "log", "log.read.read(), .event"),
            _peer("read", "log", "select_notifications, to_domain_event"),
        ),
        targets=(Faster("eventsourcing", 1.5), Memory(100)),
        writes=False,
        memory="over the idle process",
        warm=False,
    ),
    Row(
        name="rebuild-check",
        title="rebuild --check of the whole log: compares, repairs nothing; start of the command included",
        unit="events/s",
        contestants=(_ours("ours_long.rebuild", "log", "manage.py rebuild --check"),),
        targets=(RateOrShare(60_000, 0.3, "read"), Memory(150)),
        writes=False,
        memory="the largest process",
        warm=False,
        profiled="ours_long.rebuild_here",
    ),
    Row(
        name="growth",
        title="load + command + save with a large log against a small one",
        unit="commands/s",
        contestants=(
            _ours("ours.command", "log", "large log"),
            _ours("ours.command", "small_log", "small log", "small"),
        ),
        targets=(Slower("small", 1.15),),
        rounds=3,
    ),
    Row(
        name="at",
        title="objects.at(pk, version=…) near the end of a long stream against a short one",
        unit="states/s",
        contestants=(
            _ours("ours_long.at_long", "streams", "long stream"),
            _ours("ours_long.at_short", "streams", "short stream", "short"),
        ),
        writes=False,
    ),
    *DELIVERY_ROWS,
    *HTTP_ROWS,
    *ADMIN_ROWS,
    _sqlite("sqlite-command", "load + command + save, 1 process", "commands/s", "ours.command", "accounts"),
    _sqlite("sqlite-ten", "load + 10 commands + save", "events/s", "ours.ten", "accounts"),
    _sqlite("sqlite-bulk", "1,000 commands over 100 kept aggregates", "events/s", "ours.bulk", "accounts"),
    _sqlite("sqlite-replay", "fold of one long stream", "events/s", "ours_long.replay", "streams", writes=False),
    _sqlite("sqlite-read", "typed read of the whole log", "events/s", "ours_long.read", "sqlite_log", writes=False),
)
"""In the order in which they are run: those that write last to what others read."""
