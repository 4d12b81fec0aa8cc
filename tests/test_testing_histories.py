"""A history made for a test is a history: hashed, versioned, guarded and folded as any, only its times are chosen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError
from django.db.models.signals import post_save
from django.test import override_settings

from eventsourcing_app import context
from eventsourcing_app.exceptions import AppendOnly, CommandRejected, EventRefused, EventUnreadable, StreamEnded
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.testing import OldEvent, assert_upcasts, drain, given, stored_facts, stored_history
from tests.samples.events import (
    BookListed,
    BookRenamed,
    Counted,
    MoneyAdded,
    MoneyTaken,
    RateChanged,
    WalletClosed,
    WalletOpened,
)
from tests.samples.factories import drifts, failing, faults, open_wallet, versions
from tests.samples.models import Book, Counter, Wallet

pytestmark = pytest.mark.django_db

START = datetime(2020, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OPENED = WalletOpened(owner="Ada")
FIVE = MoneyAdded(amount=Decimal(5))


def times(wallet: Wallet) -> list[datetime]:
    return list(wallet.history().values_list("recorded_at", flat=True))


def test_a_history_is_stored_as_commands_would_have_stored_it() -> None:
    wallet = stored_history(Wallet, OPENED, FIVE, MoneyTaken(amount=Decimal(2)), recorded_at=START, step=DAY)
    assert (wallet.version, wallet.balance, wallet.position) == (
        3,
        Decimal(3),
        StoredEvent.objects.latest("position").position,
    )
    assert versions(wallet) == [1, 2, 3]
    assert faults() == {}
    assert drifts() == []
    loaded = Wallet.objects.get()
    assert (loaded.owner, loaded.balance, loaded.changed_at) == ("Ada", Decimal(3), START + 2 * DAY)


def test_times_are_given_by_a_start_and_a_step_or_one_by_one_or_are_now() -> None:
    assert times(stored_history(Wallet, OPENED, FIVE, FIVE, recorded_at=START, step=DAY)) == [
        START,
        START + DAY,
        START + 2 * DAY,
    ]
    assert times(stored_history(Wallet, OPENED, FIVE, recorded_at=START)) == [START, START]
    assert times(stored_history(Wallet, OPENED, FIVE, FIVE, recorded_at=[START, START, START + DAY])) == [
        START,
        START,
        START + DAY,
    ]
    before = datetime.now(UTC)
    first, second = times(stored_history(Wallet, OPENED, FIVE))
    assert before <= first == second <= datetime.now(UTC)
    assert times(stored_history(Wallet, OPENED, recorded_at=START.astimezone(timezone(DAY / 3)))) == [START]


def test_the_past_can_be_looked_at() -> None:
    wallet = stored_history(Wallet, OPENED, FIVE, FIVE, recorded_at=START, step=DAY)
    assert Wallet.objects.at(wallet.pk, when=START + DAY).balance == 5
    assert Wallet.objects.at(wallet.pk, version=3).balance == 10


def test_the_clock_is_the_right_one_again_afterwards() -> None:
    with override_settings(EVENTSOURCING={"DISPATCHER": "none", "CLOCK": lambda: START}):
        stored_history(Wallet, OPENED, recorded_at=START - DAY)
        assert open_wallet().changed_at == START
        assert stored_history(Wallet, OPENED).changed_at == START
    with pytest.raises(CommandRejected):
        stored_history(Wallet, OPENED, MoneyAdded(amount=Decimal("0.001")), recorded_at=START)
    changed_at = open_wallet().changed_at
    assert changed_at is not None
    assert changed_at > START + 365 * DAY


def test_every_other_setting_stays_as_it_is(settings: Any) -> None:
    seen = []

    def note(**_signal: object) -> None:
        seen.append(settings.EVENTSOURCING["DISPATCHER"])

    post_save.connect(note, sender=Wallet)
    try:
        stored_history(Wallet, OPENED, recorded_at=START)
    finally:
        post_save.disconnect(note, sender=Wallet)
    assert seen == ["none"]


def test_further_calls_extend_the_same_aggregate() -> None:
    wallet = stored_history(Wallet, OPENED, recorded_at=START)
    again = stored_history(Wallet, FIVE, FIVE, pk=str(wallet.pk), recorded_at=[START + DAY, START + DAY])
    Wallet.objects.perform(wallet.pk, Wallet.take, Decimal(4))
    assert again.pk == wallet.pk
    assert versions(wallet) == [1, 2, 3, 4]
    assert Wallet.objects.get().balance == 6
    assert drifts() == []


def test_a_stored_instance_can_go_on() -> None:
    wallet = stored_history(Wallet, OPENED, FIVE, recorded_at=START)
    wallet.add(Decimal(1))
    wallet.save()
    assert Wallet.objects.get().balance == 6


def test_every_kind_of_key_can_be_given() -> None:
    assert stored_history(Book, BookListed(title="Emma"), pk="9").stream_key == "9"
    assert stored_history(Counter, Counted(by=2), pk=77).pk == 77
    drawn = stored_history(Counter, Counted(by=2), Counted(by=3), recorded_at=START, step=DAY)
    assert (drawn.total, versions(drawn)) == (5, [1, 2])
    with pytest.raises(CommandRejected, match="no key"):
        stored_history(Book, BookListed(title="Emma"))


def test_columns_without_history_are_stored_beside() -> None:
    wallet = stored_history(Wallet, OPENED, unrecorded={"note": "x"})
    assert Wallet.objects.get().note == "x"
    stored_history(Wallet, FIVE, pk=wallet.pk, unrecorded={"note": "y"})
    assert Wallet.objects.get().note == "y"
    with pytest.raises(ValueError, match="balance is not listed in `unrecorded`"):
        stored_history(Wallet, OPENED, unrecorded={"balance": 5})


def test_actor_and_correlation_are_given_or_those_of_the_context() -> None:
    stored_history(Wallet, OPENED, FIVE, recorded_at=START, step=DAY, actor="user:7", correlation_id="c-1")
    with context(actor="user:8", reason="x"):
        stored_history(Wallet, OPENED)
        stored_history(Wallet, OPENED, actor="user:9")
    stored_history(Wallet, OPENED, FIVE, recorded_at=START, step=DAY)
    events = list(StoredEvent.objects.order_by("position"))
    assert [stored.actor for stored in events] == ["user:7", "user:7", "user:8", "user:9", "", ""]
    assert [stored.metadata for stored in events[2:4]] == [{"reason": "x"}] * 2
    assert [stored.correlation_id for stored in events[:2]] == ["c-1", "c-1"]
    assert len({stored.correlation_id for stored in events[4:]}) == 2  # two requests, as it were


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"recorded_at": [START]}, "1 times for 2 events"),
    ({"recorded_at": [START, START - DAY]}, "runs back"),
    ({"recorded_at": START, "step": -DAY}, "runs back"),
    ({"recorded_at": datetime(2020, 1, 1)}, "naive"),  # noqa: DTZ001
    ({"step": DAY}, "step=… goes with one recorded_at=…"),
    ({"recorded_at": [START, START], "step": DAY}, "step=… goes with one recorded_at=…"),
]


@pytest.mark.parametrize(("arguments", "why"), REFUSED)
def test_times_that_cannot_be_are_refused(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        stored_history(Wallet, OPENED, FIVE, **arguments)
    with pytest.raises(ValueError, match=why):
        stored_facts(
            RateChanged(currency="EUR", rate=Decimal(1)), RateChanged(currency="EUR", rate=Decimal(2)), **arguments
        )
    assert not StoredEvent.objects.exists()


def test_a_history_goes_on_after_its_last_event_only() -> None:
    wallet = stored_history(Wallet, OPENED, recorded_at=START)
    with pytest.raises(ValueError, match="none can be of 2020-01-30"):
        stored_history(Wallet, FIVE, pk=wallet.pk, recorded_at=START - DAY)
    assert versions(wallet) == [1]


def test_what_no_command_could_record_is_refused_and_nothing_of_it_is_stored() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        stored_history(Wallet)
    with failing(StreamEnded):
        stored_history(Wallet, OPENED, WalletClosed(), FIVE, recorded_at=START, step=DAY)
    with failing(EventRefused):
        stored_history(Wallet, OPENED, MoneyAdded(amount=1), recorded_at=START, step=DAY)  # type: ignore[arg-type]
    with failing(ImproperlyConfigured, match="@applies"):
        stored_history(Wallet, BookListed(title="Emma"))
    with failing(IntegrityError, match="samples_wallet_not_too_rich"):
        stored_history(Wallet, OPENED, MoneyAdded(amount=Decimal(2_000_000)), recorded_at=START, step=DAY)
    assert not StoredEvent.objects.exists()
    assert not Wallet.objects.exists()


def test_nothing_is_stored_in_a_database_that_is_no_test_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mail, "outbox")  # what Django's test runners make
    with pytest.raises(AppendOnly, match=r"^Storing a history .* is refused: it is not a test database"):
        stored_history(Wallet, OPENED)
    with pytest.raises(AppendOnly, match=r"^Storing facts "):
        stored_facts(RateChanged(currency="EUR", rate=Decimal(1)))
    with pytest.raises(AppendOnly):
        given(Wallet, OPENED).stored()
    assert not StoredEvent.objects.exists()


# Older versions


def test_an_older_event_is_stored_as_it_was_then_and_read_as_today() -> None:
    older = OldEvent(BookRenamed, version=1, data={"title": "Emma: A Novel"})
    book = stored_history(Book, BookListed(title="?"), older, BookRenamed(title="E", subtitle=""), pk="1")
    kept = [(stored.type, stored.schema_version, stored.data) for stored in book.history()]
    assert kept[1] == ("samples.book_renamed", 1, {"title": "Emma: A Novel"})
    assert [version for _, version, _ in kept] == [1, 1, 2]
    assert Book.objects.at("1", version=2).subtitle == "A Novel"
    assert faults() == {}
    assert drifts() == []


def test_an_older_event_may_have_an_older_name() -> None:
    put_in = OldEvent(MoneyAdded, version=1, data={"amount": "5"}, name="samples.money_put_in")
    wallet = stored_history(Wallet, OPENED, put_in)
    assert [stored.type for stored in wallet.history()] == ["samples.wallet_opened", "samples.money_put_in"]
    assert Wallet.objects.get().balance == 5
    assert drifts() == []


def test_an_older_event_that_never_was_is_refused() -> None:
    with pytest.raises(ValueError, match="versions 1 to 2, and none is 3"):
        OldEvent(BookRenamed, version=3, data={})
    with pytest.raises(ValueError, match="none is 0"):
        OldEvent(BookRenamed, version=0, data={})
    with pytest.raises(ValueError, match=r"is called samples\.money_added, samples\.money_put_in, not x"):
        OldEvent(MoneyAdded, version=1, data={}, name="x")
    with pytest.raises(TypeError, match="not a declared event"):
        OldEvent(Wallet, version=1, data={})
    with pytest.raises(EventRefused, match="amount"):
        OldEvent(MoneyAdded, version=1, data={"amount": Decimal(5)})


def test_an_older_event_that_cannot_be_read_is_not_stored() -> None:
    with failing(EventUnreadable, match="KeyError"):
        stored_history(Book, BookListed(title="?"), OldEvent(BookRenamed, version=1, data={}), pk="1")
    assert not Book.objects.exists()


def test_upcasting_is_asserted_field_by_field() -> None:
    old = {"title": "Emma: A Novel"}
    assert_upcasts(BookRenamed, from_version=1, data=old, to=BookRenamed(title="Emma", subtitle="A Novel"))
    assert_upcasts(MoneyAdded, from_version=1, data={"amount": "5"}, to=FIVE, name="samples.money_put_in")
    with pytest.raises(AssertionError) as caught:
        assert_upcasts(BookRenamed, from_version=1, data=old, to=BookRenamed(title="Emma", subtitle="Novel"))
    assert str(caught.value) == (
        "BookRenamed version 1 is read as another event:\n"
        "  ~ BookRenamed\n"
        "      subtitle\n"
        "        expected 'Novel'\n"
        "        read     'A Novel'"
    )
    with pytest.raises(EventUnreadable, match="KeyError"):
        assert_upcasts(BookRenamed, from_version=1, data={}, to=BookRenamed(title="", subtitle=""))


# Facts of no aggregate


def test_facts_are_stored_with_times_of_their_own_and_delivered() -> None:
    one, two = stored_facts(
        RateChanged(currency="EUR", rate=Decimal(1)),
        OldEvent(RateChanged, version=1, data={"currency": "EUR", "rate": "1.10"}),
        key="EUR",
        recorded_at=START,
        step=DAY,
        actor="user:7",
        correlation_id="c-1",
    )
    assert (one.stream_type, one.stream_key, one.version) == ("samples.rate_changed", "EUR", None)
    assert (one.recorded_at, two.recorded_at) == (START, START + DAY)
    assert (one.actor, one.correlation_id) == (two.actor, two.correlation_id) == ("user:7", "c-1")
    assert two.event == RateChanged(currency="EUR", rate=Decimal("1.10"))
    assert faults() == {}
    drain()
