"""A list of the past holds every aggregate that existed then, as it was then, in order, whatever became of it since."""

from __future__ import annotations

import gc
import inspect
from collections import Counter as Tally
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, models, transaction
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from eventsourcing_app.aggregates.past import as_of
from eventsourcing_app.exceptions import PastFilterRefused, SpentInstance
from eventsourcing_app.models import EventSourcedManager, EventSourcedQuerySet, StoredSnapshot
from tests.samples.factories import (
    LOG,
    begin_counter,
    counter_of,
    elsewhere,
    held_elsewhere,
    issue_passport,
    list_book,
    open_wallet,
    remove_row,
    tamper,
    values_of,
)
from tests.samples.models import Book, Contract, Counter, Customer, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings

    from eventsourcing_app.models import EventSourcedModel

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MODELS: tuple[type[EventSourcedModel], ...] = (Wallet, Counter, Book, Contract, Passport)


class OpenOnly(EventSourcedManager[Wallet]):
    """Hides what has ended."""

    def get_queryset(self) -> EventSourcedQuerySet[Wallet]:
        return super().get_queryset().filter(ended=False)


@pytest.fixture(autouse=True)
def at(settings: Settings) -> Callable[[int], datetime]:
    """Sets the clock, to so many seconds after noon; and a snapshot for every three versions."""
    now = [NOON]
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: now[0], "SNAPSHOT_EVERY": 3}

    def move(seconds: int) -> datetime:
        now[0] = NOON + seconds * SECOND
        return now[0]

    return move


def one_by_one(model: type[EventSourcedModel], pks: list[Any], when: datetime) -> list[dict[str, Any]]:
    """What ``at()`` says of each."""
    found = []
    for pk in sorted(pks):
        try:
            found.append(values_of(model.objects.at(pk, when=when)))
        except model.DoesNotExist:
            continue
    return found


def listed(model: type[EventSourcedModel], when: datetime, **page: Any) -> list[dict[str, Any]]:
    return [values_of(state) for state in model.objects.as_of(when, **page)]


def balances(when: datetime, **page: Any) -> list[int]:
    return [int(state.balance) for state in Wallet.objects.as_of(when, **page)]


# What it holds


def test_it_holds_what_existed_then_as_it_was_then(at: Callable[[int], datetime]) -> None:
    at(0)
    still, moving = open_wallet("a", 1), open_wallet("b", 2)
    at(2)
    moving.add(Decimal(5))
    moving.save()
    at(4)
    late = open_wallet("c", 9)
    at(6)
    late.close()
    late.save()
    assert balances(at(9) - timedelta(days=1)) == []
    assert [balances(NOON + second * SECOND) for second in (0, 1, 2, 3, 4, 5)] == [
        [1, 2],
        [1, 2],
        [1, 7],
        [1, 7],
        [1, 7, 9],
        [1, 7, 9],
    ]
    assert [state.ended for state in Wallet.objects.as_of(NOON + 5 * SECOND)] == [False] * 3
    assert [state.ended for state in Wallet.objects.as_of(NOON + 6 * SECOND)] == [False, False, True]
    assert [state.pk for state in Wallet.objects.as_of(NOON)] == [still.pk, moving.pk]


def test_every_kind_of_key_and_column_is_as_at_says(at: Callable[[int], datetime]) -> None:
    passports = [issue_passport(number, stamps=["DE"]) for number in range(3)]
    books = [list_book(isbn, isbn) for isbn in ("10", "9", "é", "B", "a", "ﬀ")]
    counters = [begin_counter(by=number) for number in range(12)]
    customer = Customer.objects.create(name="Ada")
    contracts = [Contract() for _ in range(3)]
    for contract in contracts:
        contract.sign(customer_id=customer.pk, terms=("a", "b"))
    Contract.objects.save_all(contracts)
    at(2)
    for passport in passports[1:]:
        passport.stamp("FR")
        passport.lose()
        passport.save()
    for book in books[::2]:
        Book.objects.perform(book.pk, Book.rename, title="x")
    for counter in counters[::3]:
        Counter.objects.perform(counter.pk, Counter.count)
    at(4)
    passports[2].revoke()
    passports[2].save()
    at(9)
    groups: list[tuple[type[EventSourcedModel], list[Any]]] = [
        (Passport, passports),
        (Book, books),
        (Counter, counters),
        (Contract, contracts),
    ]
    for model, instances in groups:
        pks = [instance.pk for instance in instances]
        for second in (-1, 0, 1, 2, 3, 4, 5):
            when = NOON + second * SECOND
            expected = one_by_one(model, pks, when)
            assert listed(model, when) == expected
            assert [values_of(state) for state in model.objects.as_of(when).iterator(chunk_size=2)] == expected
            assert len(expected) == (0 if second < 0 else len(pks))


def test_columns_of_now_do_not_show_in_the_past(at: Callable[[int], datetime]) -> None:
    wallet, passport = open_wallet("a", 1), issue_passport(16)
    at(2)
    Wallet.objects.update(note="now")
    assert Passport.objects.get().sides == 32
    (then,) = Wallet.objects.as_of(NOON)
    assert (then.note, Wallet.objects.at(wallet.pk, version=1).note, Wallet.objects.get().note) == ("", "", "now")
    (then_passport,) = Passport.objects.as_of(NOON)
    assert (then_passport.sides, Passport.objects.at(passport.pk, version=1).sides) == (None, None)


def test_a_row_without_history_was_never_there() -> None:
    rows: models.QuerySet[Any] = models.QuerySet(Book)
    rows.bulk_create([Book(isbn="1")])
    list_book("2")
    assert [book.pk for book in Book.objects.as_of(NOON)] == ["2"]
    assert [book.pk for book in Book.objects.as_of(NOON, pks=["1", "2"])] == ["2"]


def test_the_states_are_read_only(at: Callable[[int], datetime]) -> None:
    open_wallet("a", 1)
    moving = open_wallet("b", 1)
    at(2)
    moving.add(Decimal(1))
    moving.save()
    for state in Wallet.objects.as_of(NOON):
        with pytest.raises(SpentInstance, match="past"):
            state.add(Decimal(1))
        with pytest.raises(SpentInstance):
            state.save()


def test_what_a_manager_hides_now_was_there_then(at: Callable[[int], datetime]) -> None:
    wallet = open_wallet("a", 1)
    at(2)
    wallet.close()
    wallet.save()
    manager: OpenOnly = OpenOnly()
    manager.model = Wallet
    assert not manager.get_queryset().exists()
    assert [state.pk for state in manager.as_of(NOON)] == [wallet.pk]


# Those whose rows have gone


def revoked(*passports: Passport) -> None:
    """The rows go with the event that ends the stream."""
    for passport in passports:
        with transaction.atomic():
            passport.revoke()
            passport.save()
            remove_row(passport)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_an_aggregate_whose_row_went_when_it_ended_is_listed_until_then(
    size: int, at: Callable[[int], datetime]
) -> None:
    passports = [issue_passport(number) for number in range(12)]  # keys of one and of two digits
    at(2)
    passports[5].stamp("DE")
    passports[5].save()
    at(4)
    revoked(*passports[4:8], passports[11])
    at(6)
    issue_passport(12)
    at(9)

    def pages(second: int) -> list[int]:
        return [state.pages for state in Passport.objects.as_of(NOON + second * SECOND).iterator(chunk_size=size)]

    assert Passport.objects.count() == 8
    assert pages(1) == pages(3) == list(range(12))
    assert pages(4) == [0, 1, 2, 3, 8, 9, 10]
    assert pages(6) == [0, 1, 2, 3, 8, 9, 10, 12]
    then = [state for state in Passport.objects.as_of(NOON + 3 * SECOND) if state.pages == 5]
    assert [(state.version, state.stamps, state.ended) for state in then] == [(2, {"DE": 1}, False)]


def test_all_of_them_may_have_gone(at: Callable[[int], datetime]) -> None:
    passports = [issue_passport(number) for number in range(5)]
    at(2)
    revoked(*passports)
    assert [state.pages for state in Passport.objects.as_of(NOON).iterator(chunk_size=2)] == [0, 1, 2, 3, 4]
    assert [state.pages for state in Passport.objects.as_of(NOON, after=passports[1].pk, limit=2)] == [2, 3]
    assert list(Passport.objects.as_of(NOON + 2 * SECOND)) == []


@pytest.mark.parametrize("size", [1, 3])
def test_keys_that_are_text_or_uuids_are_merged_in_order(size: int, at: Callable[[int], datetime]) -> None:
    wallets = [open_wallet("a", number + 1) for number in range(7)]
    at(2)
    for wallet in wallets[1:5]:
        wallet.close()
        wallet.save()
        remove_row(wallet)
    states = Wallet.objects.as_of(NOON).iterator(chunk_size=size)
    assert [state.pk for state in states] == [wallet.pk for wallet in wallets]


def test_an_event_stored_under_an_older_name_ended_them_too(at: Callable[[int], datetime]) -> None:
    passport = issue_passport(7)
    at(2)
    revoked(passport)
    tamper(f"UPDATE {LOG} SET type = 'samples.passport_withdrawn' WHERE type = 'samples.passport_revoked'")
    assert [state.pages for state in Passport.objects.as_of(NOON)] == [7]


def test_one_that_goes_while_the_list_is_read_is_not_lost(at: Callable[[int], datetime]) -> None:
    passports = [issue_passport(number) for number in range(6)]
    at(2)
    states = Passport.objects.as_of(NOON).iterator(chunk_size=2)
    found = [next(states).pages]
    elsewhere(lambda: revoked(*[Passport.objects.get(pk=passport.pk) for passport in passports]))
    found += [state.pages for state in states]
    assert found == [0, 1, 2, 3, 4, 5]


# Pages


def test_it_is_cut_into_pages_by_key(at: Callable[[int], datetime]) -> None:
    counters = [begin_counter(by=number) for number in range(12)]
    at(2)
    for counter in counters[::2]:
        Counter.objects.perform(counter.pk, Counter.count, by=100)
    late = begin_counter()
    found: list[int] = []
    after: Any = None
    while page := list(Counter.objects.as_of(NOON, after=after, limit=5)):
        assert len(page) == 5 or len(found) == 10
        found += [state.total for state in page]
        after = page[-1].pk
    assert found == list(range(12))
    assert list(Counter.objects.as_of(NOON, after=str(counters[-1].pk))) == []
    assert [state.pk for state in Counter.objects.as_of(at(3), after=counters[-1].pk)] == [late.pk]
    assert list(Counter.objects.as_of(NOON, limit=0)) == []


def test_a_page_that_begins_with_what_did_not_exist_yet_is_filled_up(at: Callable[[int], datetime]) -> None:
    at(5)
    for isbn in "abcdef":
        list_book(isbn)
    at(0)
    list_book("x")
    list_book("y")
    assert [book.pk for book in Book.objects.as_of(NOON, limit=1)] == ["x"]


def test_it_is_restricted_to_some_aggregates(at: Callable[[int], datetime]) -> None:
    counters = [begin_counter(by=number) for number in range(6)]
    at(2)
    Counter.objects.perform(counters[4].pk, Counter.count)
    asked = [counters[4].pk, str(counters[1].pk), counters[1].pk, 10**9]
    assert [state.total for state in Counter.objects.as_of(NOON, pks=asked)] == [1, 4]
    assert [state.total for state in Counter.objects.as_of(NOON, pks=iter(asked), after=counters[1].pk)] == [4]
    assert [state.total for state in Counter.objects.as_of(NOON, pks=asked, limit=1)] == [1]
    assert list(Counter.objects.as_of(NOON, pks=[])) == []


def test_those_asked_for_by_key_are_found_without_their_rows(at: Callable[[int], datetime]) -> None:
    passports = [issue_passport(number) for number in range(3)]
    at(2)
    revoked(passports[1])
    keys = [passport.pk for passport in passports]
    assert [state.pages for state in Passport.objects.as_of(NOON, pks=keys)] == [0, 1, 2]
    assert [state.pages for state in Passport.objects.as_of(at(3), pks=keys)] == [0, 2]


def test_it_is_made_anew_whenever_it_is_iterated(at: Callable[[int], datetime]) -> None:
    later = NOON + 9 * SECOND
    states = Wallet.objects.as_of(later)
    assert list(states) == []
    open_wallet("a", 1)
    assert [len(list(states)), len(list(states.iterator())), len(list(states))] == [1, 1, 1]
    assert repr(states) == f"<Wallet as of {later}>"


DOORS = sorted(
    name
    for name, value in vars(models.QuerySet).items()
    if not name.startswith("_") and inspect.isfunction(value) and name not in ("iterator", "resolve_expression")
)


@pytest.mark.parametrize("door", DOORS)
def test_a_filter_of_now_is_not_taken_for_one_of_then(door: str) -> None:
    with pytest.raises(PastFilterRefused, match=rf"{door}\(\) is refused: the database knows the columns of now"):
        getattr(Wallet.objects.as_of(NOON), door)(owner="a")


@pytest.mark.parametrize("take", [len, bool, reversed, itemgetter(0), itemgetter(slice(0, 5))])
def test_it_is_no_sequence_and_says_what_to_ask_for_instead(take: Callable[[object], object]) -> None:
    with pytest.raises(PastFilterRefused, match=r"limit=… and after=… cut out a page"):
        take(Wallet.objects.as_of(NOON))


def test_what_takes_anything_iterable_takes_it(at: Callable[[int], datetime]) -> None:
    open_wallet("a", 1)
    states = Wallet.objects.as_of(NOON)
    assert [len(list(states)), len(tuple(states)), len(sorted(states, key=str))] == [1, 1, 1]
    page = "{% for state in states %}{{ state.owner }}{{ states.is_final }}{% endfor %}"
    assert Template(page).render(Context({"states": states})) == f"a{states.is_final}"
    assert not hasattr(states, "resolve_expression"), "what Django asks of whatever may be an SQL expression"
    with pytest.raises(AttributeError, match="no attribute 'fliter'"):
        states.fliter  # type: ignore[attr-defined]  # noqa: B018


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        Wallet.objects.as_of(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="limit=-1"):
        Wallet.objects.as_of(NOON, limit=-1)
    with pytest.raises(ValueError, match="chunk_size=0"):
        Wallet.objects.as_of(NOON).iterator(chunk_size=0)


# What it costs


def queries(model: type[EventSourcedModel], when: datetime) -> int:
    with CaptureQueriesContext(connection) as captured:
        list(model.objects.as_of(when))
    return len([query for query in captured if "SELECT" in query["sql"]])


def test_a_page_takes_the_same_queries_however_many_changed(at: Callable[[int], datetime]) -> None:
    counters = [counter_of(4) for _ in range(40)]
    at(2)
    paid = []
    for changed in (5, 40):
        for counter in counters[:changed]:
            Counter.objects.perform(counter.pk, Counter.count)
        list(Counter.objects.as_of(NOON))  # the first one keeps snapshots
        paid.append(queries(Counter, NOON))
    assert paid[0] == paid[1] <= 5
    assert StoredSnapshot.objects.count() == 40


def test_what_has_not_changed_is_not_folded(at: Callable[[int], datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        open_wallet("a", number + 1)
    at(2)
    monkeypatch.setattr(as_of, "Fold", lambda *_: pytest.fail("folded"))
    assert balances(NOON) == [1, 2, 3, 4, 5]


def test_no_more_than_a_page_is_held(at: Callable[[int], datetime]) -> None:
    counters = [counter_of(4) for _ in range(60)]
    at(2)
    for counter in counters:
        Counter.objects.perform(counter.pk, Counter.count)
    del counter, counters
    held = Tally[int]()
    for number, _state in enumerate(Counter.objects.as_of(NOON).iterator(chunk_size=10)):
        if number % 7 == 0:
            gc.collect()
            held[sum(issubclass(type(one), Counter) for one in gc.get_objects())] += 1
    assert max(held) <= 30
    assert isinstance(Counter.objects.as_of(NOON).iterator(), GeneratorType)


def test_events_of_a_page_are_fetched_in_windows(
    at: Callable[[int], datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(as_of, "_EVENTS", 3)
    counters = [counter_of(versions) for versions in (1, 2, 3, 4, 7, 8)]
    at(2)
    for counter in counters:
        Counter.objects.perform(counter.pk, Counter.count)
    for _ in range(2):  # without snapshots, and with them
        assert [state.total for state in Counter.objects.as_of(NOON)] == [0, 1, 2, 3, 6, 7]


# Beside writers


def test_the_past_does_not_move_with_what_is_written_meanwhile(at: Callable[[int], datetime]) -> None:
    wallets = [open_wallet("a", 10) for _ in range(6)]
    at(2)
    states = Wallet.objects.as_of(NOON).iterator(chunk_size=2)
    found = [int(next(states).balance)]
    for wallet in wallets:
        elsewhere(lambda wallet=wallet: Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1)))  # type: ignore[misc]
    found += [int(state.balance) for state in states]
    assert found == [10] * 6


def test_inside_a_transaction_its_own_events_count(at: Callable[[int], datetime]) -> None:
    with transaction.atomic():
        wallet = open_wallet("a", 1)
        at(2)
        wallet.add(Decimal(1))
        wallet.save()
        assert (balances(NOON), balances(NOON + 2 * SECOND)) == ([1], [2])
        transaction.set_rollback(True)
    assert balances(NOON) == []


def test_a_list_is_final_if_no_open_append_can_change_it(at: Callable[[int], datetime]) -> None:
    still, moving = open_wallet("a", 1), open_wallet("b", 1)
    at(3)
    moving.add(Decimal(1))
    moving.save()
    at(600)
    settled = Wallet.objects.as_of(NOON)
    assert settled.is_final
    assert [state.past_is_final for state in settled] == [True, True]
    recent = Wallet.objects.as_of(NOON + 599 * SECOND)
    assert [(state.pk, state.past_is_final) for state in recent] == [(still.pk, False), (moving.pk, False)]
    assert not recent.is_final
    with held_elsewhere(lambda: open_wallet("c")):
        held = Wallet.objects.as_of(NOON + 595 * SECOND)
        assert [(state.pk, state.past_is_final) for state in held] == [(still.pk, False), (moving.pk, False)]
        assert not held.is_final
        by_its_next_event = [state for state in Wallet.objects.as_of(NOON + SECOND) if state.pk == moving.pk]
        assert [state.past_is_final for state in by_its_next_event] == [True]
    at(1200)
    list(held)
    assert held.is_final


@given(
    acts=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["add", "label", "close", "tick"])), max_size=30),
    size=st.integers(1, 4),
)
@examples(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_list_says_of_each_what_at_says(
    acts: list[tuple[int, str]], size: int, at: Callable[[int], datetime]
) -> None:
    second = 0
    at(0)
    before = Wallet.objects.order_by("-pk").values_list("pk", flat=True).first()
    wallets: dict[int, Wallet] = {}
    for which, act in acts:
        wallet = wallets.get(which)
        if act == "tick":
            second += 1
            at(second)
        elif wallet is None:
            wallets[which] = open_wallet(str(which), which + 1)
        elif not wallet.ended:
            if act == "add":
                wallet.add(Decimal("0.50"))
            elif act == "label":
                wallet.label(labels=[str(second)])
            else:
                wallet.close()
            wallet.save()
    pks = [wallet.pk for wallet in wallets.values()]
    for when in (NOON + part * SECOND for part in range(-1, second + 2)):
        found = Wallet.objects.as_of(when, after=before).iterator(chunk_size=size)
        assert [values_of(state) for state in found] == one_by_one(Wallet, pks, when)
        assert listed(Wallet, when, pks=pks) == one_by_one(Wallet, pks, when)
