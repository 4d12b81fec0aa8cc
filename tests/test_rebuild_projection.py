"""A projection is built again beside the one that serves, and put in its place in one moment, or not at all."""

from __future__ import annotations

import getpass
import itertools
import json
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.test.utils import override_settings

from eventsourcing_app import Projection, RecordedEvent, handles
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription
from eventsourcing_app.projections import shadows
from eventsourcing_app.projections.rebuilding import Wishes, cancel, rebuild, rebuild_in_place
from eventsourcing_app.projections.replay import shadow_of
from tests.reactions_sample.scene import count_it, deliver, no_subscriptions, segment, total, wallet
from tests.reactions_sample.totals import NAME, after_one, counting, table, totals
from tests.samples.events import MoneyAdded, WalletOpened
from tests.samples.models import OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_subscriptions() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none"}):
        yield


def catalogue() -> Any:
    """What migrations know a table by: its constraints and indexes, and their names."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table())
        sequences = connection.introspection.get_sequences(cursor, table())
        columns = [tuple(column)[:2] for column in connection.introspection.get_table_description(cursor, table())]
    return found, sequences, columns


def test_what_serves_is_what_its_events_say_again_under_the_names_that_migrations_know() -> None:
    counting()
    opened = [wallet(adds=3), wallet(adds=2)]
    deliver()
    OwnerTotal.objects.filter(reference=str(opened[0].pk)).update(events=99)
    OwnerTotal.objects.create(reference="nobody")
    before = catalogue()
    result = rebuild(NAME, Wishes())
    assert result.swapped
    assert totals() == {str(opened[0].pk): (3, Decimal(3)), str(opened[1].pk): (2, Decimal(2))}
    assert catalogue() == before
    assert not shadows.exist([table()])
    assert not Subscription.objects.filter(kind="rebuild").exists()
    assert segment(NAME).checkpoint == result.checkpoint
    Wallet.objects.perform(opened[0].pk, Wallet.add, Decimal(5))
    deliver()
    assert total(str(opened[0].pk)) == (4, Decimal(8))
    OwnerTotal.objects.create(reference="a key of its own")


def read_by_another() -> int:
    """What a reader finds, on a connection of its own: the events of all totals."""
    reader = connection.copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute(f'SELECT sum(events) FROM "{table()}"')
            found: int = cursor.fetchone()[0]
    finally:
        reader.close()
    return found


def test_until_the_swap_the_old_one_serves_and_goes_on() -> None:
    """Read while handlers fill the new one. Before its batches and before the swap, events come to the live one."""
    counting(segments=4)
    wallets = [wallet(adds=3) for _ in range(8)]
    deliver()
    read: list[tuple[int, int]] = []
    adds = itertools.count(25)
    serving = [24]

    def watched(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it(recorded.stream_key, event.amount)
        read.append((read_by_another(), serving[-1]))

    def go_on(_progress: object) -> None:
        Wallet.objects.perform(wallets[0].pk, Wallet.add, Decimal(1))
        serving.append(next(adds))
        counting(segments=4)
        deliver()

    counting(add=watched, segments=4)
    assert rebuild(NAME, Wishes(progress=go_on)).swapped
    assert all(found == expected for found, expected in read)
    assert {expected for _, expected in read} >= {25, 26}  # while it was built, and in the swap
    assert sum(events for events, _ in totals().values()) == serving[-1]


def test_it_goes_on_where_it_was_stopped_and_begins_anew_when_the_code_has_changed() -> None:
    counting()
    wallets = [wallet(adds=2) for _ in range(3)]
    deliver()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    assert shadows.exist([table()])
    notes: list[str] = []
    assert rebuild(NAME, Wishes(note=notes.append)).swapped
    assert notes == ["Going on where the last run was."]
    assert not rebuild(NAME, Wishes(stop=after_one())).finished

    def twice(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it(recorded.stream_key, event.amount * 2)

    counting(add=twice)
    notes.clear()
    assert rebuild(NAME, Wishes(note=notes.append)).swapped
    assert "begins anew" in notes[0]
    assert totals() == {str(each.pk): (2, Decimal(4)) for each in wallets}


def test_it_begins_anew_when_the_same_code_handles_another_event() -> None:
    def declare(event: type) -> None:
        def count(self: Projection, event: object, recorded: RecordedEvent) -> None:
            count_it(recorded.stream_key, Decimal(1))

        # As read from the same line of a file: the code is the same but for the event.
        added = handles(event)(count)
        type("Totals", (Projection,), {"name": NAME, "models": (OwnerTotal,), "added": added})

    declare(WalletOpened)
    opened = wallet(adds=3)
    deliver()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    declare(MoneyAdded)
    Subscription.objects.filter(name=NAME).update(types=["samples.money_added"])  # as migrate does
    notes: list[str] = []
    assert rebuild(NAME, Wishes(note=notes.append)).swapped
    assert "begins anew" in notes[0]
    assert total(str(opened.pk)) == (3, Decimal(3))


def test_what_failed_because_of_the_data_is_tried_again_by_beginning_anew() -> None:
    fails = [True]

    def failing_at_first(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if fails:
            raise ValueError("no such owner")
        count_it(recorded.stream_key, event.amount)

    counting()
    opened = wallet()
    deliver()
    counting(add=failing_at_first)
    with pytest.raises(RebuildFailed, match="--restart"):
        rebuild(NAME, Wishes())
    fails.clear()
    assert rebuild(NAME, Wishes(restart=True)).swapped
    assert total(str(opened.pk)) == (3, Decimal(3))


def test_a_rebuild_can_be_dropped() -> None:
    counting()
    wallet()
    deliver()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    assert cancel(NAME)
    assert not shadows.exist([table()])
    assert not Subscription.objects.filter(kind="rebuild").exists()
    assert not cancel(NAME)


@pytest.mark.parametrize("only", [True, False])
def test_the_two_are_compared_and_what_differs_is_told(only: bool) -> None:
    counting()
    opened = wallet(adds=3)
    deliver()
    OwnerTotal.objects.update(events=99)
    result = rebuild(NAME, Wishes(compare=not only, only_compare=only))
    assert result.differing == 2
    assert sorted((each.values["events"], each.live, each.rebuilt) for each in result.differences) == [
        (3, 0, 1),
        (99, 1, 0),
    ]
    assert total(str(opened.pk))[0] == (99 if only else 3)
    assert not shadows.exist([table()])
    if not only:
        assert rebuild(NAME, Wishes(only_compare=True)).differing == 0


def test_what_the_live_one_is_behind_with_is_no_difference() -> None:
    counting()
    opened = wallet(adds=3)
    deliver()
    Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))  # the live one is behind
    assert rebuild(NAME, Wishes(only_compare=True)).differing == 0
    assert total(str(opened.pk)) == (3, Decimal(3))  # it is only compared
    assert rebuild(NAME, Wishes(compare=True)).differing == 0
    assert total(str(opened.pk)) == (4, Decimal(4))


def test_an_event_that_fails_keeps_the_new_one_out_unless_it_is_wanted_so() -> None:
    counting()
    wallet(adds=3)
    deliver()

    def failing(event: MoneyAdded, recorded: RecordedEvent) -> None:
        if recorded.version == 3:
            raise ValueError("no stamps left")
        count_it(recorded.stream_key, event.amount)

    counting(add=failing)
    with pytest.raises(RebuildFailed, match=r"(?s)1 events failed.*no stamps left"):
        rebuild(NAME, Wishes())
    assert sum(events for events, _ in totals().values()) == 3
    assert rebuild(NAME, Wishes(with_parked=True)).swapped
    assert sum(events for events, _ in totals().values()) == 1
    assert list(ParkedEvent.objects.values_list("segment__subscription", "state")) == [(NAME, "dead"), (NAME, "behind")]
    counting()
    assert rebuild(NAME, Wishes()).swapped
    assert not ParkedEvent.objects.exists()
    assert sum(events for events, _ in totals().values()) == 3


def test_a_halted_projection_goes_on_after_it() -> None:
    counting()
    wallet()
    deliver()
    Subscription.objects.filter(name=NAME).update(status="halted", status_reason="x")
    rebuild(NAME, Wishes())
    assert Subscription.objects.get(name=NAME).status == "active"


def _elsewhere(event: MoneyAdded, recorded: RecordedEvent) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'DELETE FROM "{Wallet._meta.db_table}" WHERE 1 = 1')


def _unquoted(event: MoneyAdded, recorded: RecordedEvent) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table()} SET events = 0")


def _definition(event: MoneyAdded, recorded: RecordedEvent) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'DROP TABLE "{table()}"')


@pytest.mark.parametrize(
    ("add", "why"), [(_elsewhere, "writes to"), (_unquoted, "without quotes"), (_definition, "changes tables")]
)
def test_what_would_reach_beyond_the_shadows_ends_the_rebuild(
    add: Callable[[MoneyAdded, RecordedEvent], None], why: str
) -> None:
    counting()
    opened = wallet()
    deliver()
    counting(add=add)
    with pytest.raises(RebuildFailed, match=why):
        rebuild(NAME, Wishes())
    assert total(str(opened.pk)) == (3, Decimal(3))
    assert Wallet.objects.filter(pk=opened.pk).exists()
    assert not ParkedEvent.objects.exists()


@pytest.mark.parametrize(("add", "why"), [(_elsewhere, "writes to"), (_definition, "changes tables")])
def test_what_would_reach_beyond_its_tables_ends_it_in_place_as_well(
    add: Callable[[MoneyAdded, RecordedEvent], None], why: str
) -> None:
    counting()
    opened = wallet()
    deliver()
    counting(add=add)
    with pytest.raises(RebuildFailed, match=why):
        rebuild_in_place(NAME, Wishes())
    assert total(str(opened.pk)) == (3, Decimal(3))
    counting(add=_unquoted)  # it is the table itself
    assert rebuild_in_place(NAME, Wishes()).swapped


def test_in_place_it_can_be_stopped_and_nothing_has_changed() -> None:
    counting()
    opened = wallet()
    deliver()
    OwnerTotal.objects.update(events=99)
    told: list[bool] = []

    def stopping(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it(recorded.stream_key, event.amount)
        told.append(True)

    counting(add=stopping)
    assert not rebuild_in_place(NAME, Wishes(stop=lambda: bool(told))).finished
    assert told
    assert total(str(opened.pk))[0] == 99


def test_what_would_be_lost_with_a_table_is_told_before_anything_is_built() -> None:
    counting()
    wallet()
    deliver()
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE VIEW samples_seen AS SELECT * FROM "{table()}"')
    try:
        with pytest.raises(RebuildFailed, match=r"the view samples_seen reads it.*--in-place"):
            rebuild(NAME, Wishes())
        assert rebuild_in_place(NAME, Wishes()).swapped
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP VIEW samples_seen")


def test_a_table_that_was_changed_meanwhile_is_not_exchanged() -> None:
    counting()
    wallet()
    deliver()
    assert not rebuild(NAME, Wishes(stop=after_one())).finished
    index = models.Index(fields=["total"], name="samples_total_later")
    with connection.schema_editor() as editor:
        editor.add_index(OwnerTotal, index)
    try:
        with pytest.raises(RebuildFailed, match="has been changed since"):
            rebuild(NAME, Wishes())
        assert rebuild(NAME, Wishes(restart=True)).swapped
    finally:
        with connection.schema_editor() as editor:
            editor.remove_index(OwnerTotal, index)


def test_in_place_all_is_handled_again_in_one_transaction_or_nothing_changes() -> None:
    counting()
    opened = wallet(adds=3)
    deliver()
    OwnerTotal.objects.update(events=99)

    def failing(event: MoneyAdded, recorded: RecordedEvent) -> None:
        raise ValueError("no stamps left")

    counting(add=failing)
    with pytest.raises(RebuildFailed, match="no stamps left"):
        rebuild_in_place(NAME, Wishes())
    assert total(str(opened.pk))[0] == 99
    counting()
    rebuild_in_place(NAME, Wishes(reason="it was wrong"))
    assert total(str(opened.pk)) == (3, Decimal(3))
    act = StoredEvent.objects.get(type="eventsourcing.projection_rebuilt")
    assert (act.data["reason"], act.data["in_place"]) == ("it was wrong", True)


def test_the_command_tells_and_its_exit_code_as_well() -> None:
    counting()
    wallet(adds=3)
    deliver()
    OwnerTotal.objects.update(events=99)
    out = StringIO()
    with pytest.raises(CommandError, match="2 rows differ"):
        call_command("rebuild_projection", NAME, "--check", "--json", stdout=out, stderr=StringIO())
    assert json.loads(out.getvalue())["differing"] == 2
    out = StringIO()
    call_command("rebuild_projection", NAME, "--reason", "it drifted", stdout=out, stderr=StringIO())
    assert "built again" in out.getvalue()
    with pytest.raises(CommandError, match="no projection of this code"):
        call_command("rebuild_projection", "t.unknown", "--check")
    counting(models=())
    with pytest.raises(CommandError, match="models = "):
        call_command("rebuild_projection", NAME, "--check")


@pytest.mark.parametrize("how", [[], ["--in-place"]])
def test_the_log_tells_who_has_rebuilt_it_and_why(how: list[str]) -> None:
    counting()
    wallet()
    deliver()
    with pytest.raises(CommandError, match="Say why"):
        call_command("rebuild_projection", NAME, *how, "--reason", " ")
    call_command("rebuild_projection", NAME, *how, "--reason", "it drifted", "--actor", "user:7", stdout=StringIO())
    call_command("rebuild_projection", NAME, *how, "--reason", "again", stdout=StringIO())
    acts = StoredEvent.objects.filter(type="eventsourcing.projection_rebuilt").order_by("position")
    login = f"shell:{getpass.getuser()}"
    assert [(act.actor, act.data["reason"]) for act in acts] == [("user:7", "it drifted"), (login, "again")]
    call_command("rebuild_projection", NAME, "--cancel", stdout=StringIO())


def test_a_name_of_a_shadow_is_never_too_long_and_never_that_of_another() -> None:
    names = {shadow_of("a" * length) for length in range(1, 64)}
    assert len(names) == 63
    assert all(len(name) <= 63 for name in names)


def test_several_segments_keep_their_checkpoints() -> None:
    counting(segments=4)
    wallets = [wallet(adds=2) for _ in range(8)]
    deliver()
    assert rebuild(NAME, Wishes()).swapped
    assert Segment.objects.filter(subscription=NAME).count() == 4
    Wallet.objects.perform(wallets[0].pk, Wallet.add, Decimal(1))
    deliver()
    assert totals()[str(wallets[0].pk)] == (3, Decimal(3))
