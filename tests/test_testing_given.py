"""What a scenario says of a model without a database is what the model does with one; a wrong expectation is told."""

from __future__ import annotations

import unittest
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import connection, models
from django.test import SimpleTestCase

from demo_bank.events import AccountFrozen, AccountOpened
from demo_bank.models import Account
from eventsourcing_app.exceptions import CommandRejected, EventRefused, StreamEnded, UnrecordedChange
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.testing import OldEvent, given
from eventsourcing_app.testing.grounds import as_loaded
from tests.samples.ended import Begun, Desk, Ended, Lease
from tests.samples.events import (
    BookListed,
    BookRenamed,
    ContractSigned,
    Counted,
    MoneyAdded,
    MoneyTaken,
    NeverApplied,
    ScanFiled,
    WalletClosed,
    WalletLabelled,
    WalletOpened,
)
from tests.samples.factories import drifts, failing
from tests.samples.models import Book, Contract, Counter, Customer, Folder, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventsourcing_app.testing import Scenario

    Place = Callable[[Scenario[Any]], Scenario[Any]]

OPENED = WalletOpened(owner="Ada")
ACCOUNT = AccountOpened(number="1", owner="Ada", currency="EUR", overdraft_limit=Decimal(0))
FIFTY = (OPENED, MoneyAdded(amount=Decimal(50)))


@pytest.fixture(params=["memory", "rows"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where a scenario runs: once without a database, once in rows."""
    if request.param == "memory":
        return lambda scenario: scenario
    request.getfixturevalue("db")
    return lambda scenario: scenario.stored()


# What passes in the one passes in the other.


def test_a_command_records_events_that_change_the_state(place: Place) -> None:
    (
        place(given(Wallet, *FIFTY))
        .when(Wallet.take, amount=Decimal(20))
        .then(MoneyTaken(amount=Decimal(20)))
        .then_state(balance=Decimal(30), owner="Ada", version=3, ended=False)
    )


def test_a_creating_command_begins_without_history(place: Place) -> None:
    place(given(Wallet)).when(Wallet.open, owner="Ada").then(OPENED).then_state(owner="Ada", version=1)


def test_a_refusal_has_its_code_and_its_reason_and_changes_nothing(place: Place) -> None:
    scenario = place(given(Wallet, *FIFTY))
    scenario.when(Wallet.take, Decimal(500)).then_rejected("not_enough", match="not that much").then_state(balance=50)
    scenario.when(Wallet.add_then_fail, Decimal(1)).then_rejected("after_all").then_state(balance=50, version=2)


def test_commands_follow_one_another_each_on_the_state_that_the_last_one_left(place: Place) -> None:
    (
        place(given(Wallet))
        .when(Wallet.open, owner="Ada")
        .when(Wallet.add, Decimal(5), reference="x")
        .then(MoneyAdded(amount=Decimal(5), reference="x"))
        .when(Wallet.take, Decimal(6))
        .then_rejected()
        .when(Wallet.take, Decimal(5))
        .then(MoneyTaken(amount=Decimal(5)))
        .then_state(balance=0, version=3)
    )


def test_a_command_that_finds_nothing_to_do_records_nothing(place: Place) -> None:
    place(given(Wallet, OPENED)).when(Wallet.tidy).then_nothing().then_state(version=1)


def test_a_command_of_the_wrong_kind_is_refused(place: Place) -> None:
    place(given(Wallet, OPENED)).when(Wallet.open, owner="Eve").then_rejected("already_exists")


def test_a_command_without_a_row_raises_what_perform_does(place: Place) -> None:
    for absent, command in (
        (given(Wallet), Wallet.tidy),
        (given(Lease, Begun(), Ended(), pk="1"), Lease.end),
        (given(Lease, Begun(), Ended(), pk="2"), Lease.begin),
        (given(Lease, Begun(), pk="3").when(Lease.end), Lease.end),
    ):
        with pytest.raises(ObjectDoesNotExist):
            place(absent).when(command).then_rejected()
    place(given(Desk, Begun(), Ended(), pk="1")).when(Desk.end).then_rejected("ended")


def test_nothing_happens_after_the_end(place: Place) -> None:
    ended = place(given(Wallet, OPENED)).when(Wallet.close).then(WalletClosed()).then_state(ended=True)
    ended.when(Wallet.add, Decimal(1)).then_rejected("ended")


def test_a_state_that_does_not_fit_its_columns_is_a_refusal(place: Place) -> None:
    place(given(Wallet)).when(Wallet.open, owner="A" * 41).then_rejected("does_not_fit", match="at most 40")
    scenario = place(given(Wallet, OPENED))
    scenario.when(Wallet.add, Decimal("0.001")).then_rejected("does_not_fit").then_state(balance=0, version=1)


def test_an_event_that_cannot_be_stored_is_an_error_and_no_refusal(place: Place) -> None:
    scenario = place(given(Wallet, OPENED))
    with pytest.raises(EventRefused, match="amount"):
        scenario.when(Wallet.add, Decimal("Infinity"))


def test_an_event_that_nothing_applies_is_an_error(place: Place) -> None:
    scenario = place(given(Wallet, OPENED))
    with pytest.raises(ImproperlyConfigured, match=r"@applies\(NeverApplied\)"):
        scenario.when(Wallet.forget_to_apply)


def test_an_unexpected_error_of_a_command_comes_as_it_is(place: Place) -> None:
    scenario = place(given(Wallet, OPENED))
    with pytest.raises(TypeError, match="'<='"):
        scenario.when(Wallet.add, amount="5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'amuont'"):
        scenario.when(Wallet.add, amuont=Decimal(5))  # type: ignore[call-arg]


def test_a_command_of_another_model_is_no_command_here(place: Place) -> None:
    scenario = place(given(Wallet, OPENED))
    with pytest.raises(TypeError, match=r"Book\.rename is no command of Wallet"):
        scenario.when(Book.rename, title="x")
    with pytest.raises(TypeError, match="is not a command"):
        scenario.when(Wallet._opened, OPENED)


def test_types_are_checked_before_a_test_runs() -> None:
    """Strict mypy finds an ``ignore`` that it does not need."""
    with pytest.raises(TypeError):
        given(Wallet, OPENED).when(Book.rename, title="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        given(Wallet, OPENED).when(Wallet.add, "5")  # type: ignore[arg-type]
    balance: Decimal = given(Wallet, OPENED).when(Wallet.add, Decimal(5)).instance.balance
    assert balance == 5


def test_values_are_those_that_will_be_read_back(place: Place) -> None:
    assert place(given(Folder, ScanFiled(name="x"), Counted(by=1))).instance.counts == {"1": 1}
    account = place(given(Account, ACCOUNT, AccountFrozen(reason="x"))).instance
    assert type(account.status) is str
    assert (account.status, str(account.balance)) == ("frozen", "0.00")


@pytest.mark.parametrize(
    ("field", "assigned", "loaded"),
    [
        (models.DateField(), "2020-01-31", date(2020, 1, 31)),
        (models.DecimalField(max_digits=5, decimal_places=2), 5, Decimal("5.00")),
        (models.DecimalField(max_digits=40, decimal_places=2), Decimal("1E+30"), Decimal("1E+30")),
        (models.CharField(max_length=10), Account.Status.OPEN, "open"),
        (models.UUIDField(), "01890000-0000-7000-8000-000000000000", UUID("01890000-0000-7000-8000-000000000000")),
        (models.JSONField(), "text", "text"),
        (models.CharField(max_length=10, null=True), None, None),
    ],
)
def test_a_value_is_what_its_column_gives_back(field: Any, assigned: object, loaded: object) -> None:
    value = as_loaded(field, assigned)
    assert (type(value), value) == (type(loaded), loaded)
    if isinstance(value, Decimal):
        assert value.as_tuple().exponent == -2


def test_every_kind_of_key_can_be_given(place: Place) -> None:
    listed = place(given(Book, BookListed(title="Emma"), pk="9"))
    listed.when(Book.rename, title="E").then_state(pk="9", title="E", version=2)
    place(given(Book, pk="9 3/4")).when(Book.list_it, title="Emma").then_state(isbn="9 3/4", version=1)
    place(given(Book)).when(Book.list_it, title="Emma").then_rejected("no_key")
    drawn = place(given(Counter)).when(Counter.begin, by=3).when(Counter.count).then_state(total=4, version=2)
    assert isinstance(drawn.instance.pk, int)
    far = 1_000_000_007  # beyond what the sequence of the database has drawn, for whatever test
    place(given(Counter, Counted(by=1), pk=far)).when(Counter.count).then_state(pk=far, total=2)
    key = "01890000-0000-7000-8000-000000000000"
    assert str(place(given(Wallet, OPENED, pk=key)).instance.pk) == key


def test_columns_without_history_can_be_given(place: Place) -> None:
    place(given(Wallet, OPENED, unrecorded={"note": "x"})).when(Wallet.tidy).then_state(note="x")
    place(given(Wallet, unrecorded={"note": "x"})).when(Wallet.open, owner="Ada").then_state(note="x", owner="Ada")


def test_older_events_are_read_as_events_of_today(place: Place) -> None:
    older = OldEvent(BookRenamed, version=1, data={"title": "Emma: A Novel"})
    place(given(Book, BookListed(title="?"), older, pk="1")).then_state(title="Emma", subtitle="A Novel")
    put_in = OldEvent(MoneyAdded, version=1, data={"amount": "5"}, name="samples.money_put_in")
    place(given(Wallet, OPENED, put_in)).when(Wallet.take, Decimal(2)).then_state(balance=3)


# Without a database


class InAPlainTestCase(unittest.TestCase):
    """Where pytest-django lets nobody at the database."""

    def test_a_scenario_runs(self) -> None:
        given(Wallet, *FIFTY).when(Wallet.take, Decimal(20)).then(MoneyTaken(amount=Decimal(20))).then_state(balance=30)


class InASimpleTestCase(SimpleTestCase):
    """Where Django lets nobody at the database."""

    def test_a_scenario_runs(self) -> None:
        given(Wallet, *FIFTY).when(Wallet.take, Decimal(500)).then_rejected("not_enough")

    def test_who_asks_the_database_is_told_what_to_write(self) -> None:
        with self.assertRaisesMessage(AssertionError, "Write given(…).stored()"):
            given(Contract, ContractSigned(customer_id=1)).when(Contract.renew)


@pytest.mark.django_db
def test_the_database_is_out_of_reach_even_where_a_test_may_use_it() -> None:
    customer = Customer.objects.create(name="Ada")
    signed = given(Contract, ContractSigned(customer_id=customer.pk))
    with pytest.raises(AssertionError, match=r"^Contract\.renew asked the database.*Write given\(…\)\.stored\(\)"):
        signed.when(Contract.renew)
    with pytest.raises(AssertionError, match=r"^Contract\.announce asked the database"):
        signed.when(Contract.announce)
    with pytest.raises(AssertionError, match=r"^then_state\(\) asked the database"):
        signed.then_state(customer=customer)
    assert not StoredEvent.objects.exists()
    stored = signed.stored().then_state(customer=customer)
    stored.when(Contract.renew).then(ContractSigned(customer_id=customer.pk, terms=("Ada",)))


@pytest.mark.django_db
def test_connections_are_as_they_were_after_a_scenario() -> None:
    before = dict(vars(connection))
    with pytest.raises(AssertionError, match="asked the database"):
        given(Contract, ContractSigned(customer_id=1)).when(Contract.renew)
    assert {"cursor", "connect"}.isdisjoint(vars(connection).keys() - before.keys())
    assert Customer.objects.count() == 0


def test_the_same_beginning_serves_many_scenarios() -> None:
    fifty = given(Wallet, *FIFTY)
    fifty.when(Wallet.take, Decimal(50)).then_state(balance=0)
    labelled = given(Wallet, OPENED, WalletLabelled(labels=["a"]))
    labelled.instance.labels.append("b")
    labelled.instance.add(Decimal(1))
    labelled.then_state(labels=["a"], balance=0)
    fifty.when(Wallet.take, Decimal(50)).then_state(balance=0)
    fifty.then_state(balance=50)


def test_a_history_that_could_not_have_been_is_refused() -> None:
    with pytest.raises(StreamEnded):
        given(Wallet, OPENED, WalletClosed(), MoneyAdded(amount=Decimal(1)))
    with pytest.raises(ImproperlyConfigured, match="@applies"):
        given(Wallet, OPENED, NeverApplied())
    with pytest.raises(EventRefused):
        given(Wallet, OPENED, MoneyAdded(amount=5))  # type: ignore[arg-type]
    with pytest.raises(CommandRejected, match="at most 40"):
        given(Wallet, WalletOpened(owner="A" * 41))
    with pytest.raises(TypeError, match="not a declared event"):
        given(Wallet, "opened")
    with pytest.raises(ValueError, match=r"given\(Book, …\): its key has no default"):
        given(Book, BookListed(title="Emma"))
    with pytest.raises(ValueError, match="owner is not listed in `unrecorded`"):
        given(Wallet, OPENED, unrecorded={"owner": "Eve"})
    with failing(CommandRejected, match="whole numbers"):
        given(Folder, ScanFiled(name="x", pages=3))


def test_a_change_without_an_event_is_noticed() -> None:
    with pytest.raises(UnrecordedChange, match="terms"):
        given(Contract, ContractSigned(customer_id=1)).when(Contract.amend)


# What a wrong expectation is told


def told(assertion: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion()
    return str(caught.value)


def test_events_that_differ_are_told_field_by_field() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.add, Decimal(5), reference="rent")
    assert told(lambda: outcome.then(MoneyAdded(amount=Decimal(6), reference="rent"))) == (
        "Wallet.add(Decimal('5'), reference='rent') did not record what was expected:\n"
        "  ~ MoneyAdded\n"
        "      amount\n"
        "        expected Decimal('6')\n"
        "        recorded Decimal('5')"
    )


def test_a_missing_event_does_not_shift_the_others() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.add, Decimal(5))
    assert told(lambda: outcome.then(OPENED, MoneyAdded(amount=Decimal("5.00")), WalletClosed())) == (
        "Wallet.add(Decimal('5')) did not record what was expected:\n"
        "  - WalletOpened(owner='Ada') was expected, but not recorded\n"
        "    MoneyAdded(amount=Decimal('5'), reference='')\n"
        "  - WalletClosed(reason='') was expected, but not recorded"
    )
    assert "+ MoneyAdded(amount=Decimal('5'), reference='') was recorded, but not expected" in told(
        lambda: outcome.then(WalletClosed())
    )


def test_what_is_nested_is_told_by_its_place() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.label, labels=["a", "b", "c"])
    assert "labels[1]\n        expected 'x'\n        recorded 'b'" in told(
        lambda: outcome.then(WalletLabelled(labels=["a", "x", "c"]))
    )
    assert "labels\n        expected ['a']\n        recorded ['a', 'b', 'c']" in told(
        lambda: outcome.then(WalletLabelled(labels=["a"]))
    )
    assert "counts.1\n    expected nothing\n    found    1" in told(
        lambda: given(Folder, ScanFiled(name="x"), Counted(by=1)).then_state(counts={})
    )


def test_a_state_that_differs_is_told_field_by_field() -> None:
    assert told(lambda: given(Wallet, *FIFTY).then_state(owner="Eve", version=2, balance=1)) == (
        "Wallet is not in the state expected:\n"
        "  owner\n"
        "    expected 'Eve'\n"
        "    found    'Ada'\n"
        "  balance\n"
        "    expected 1\n"
        "    found    Decimal('50.00')"
    )


def test_events_where_none_were_expected_are_told() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.add, Decimal(5))
    for assertion in (outcome.then_nothing, outcome.then_rejected):
        assert "MoneyAdded(amount=Decimal('5'), reference='')" in told(assertion)
    assert told(given(Wallet, OPENED).when(Wallet.tidy).then_rejected).endswith("accepted and recorded:\n  nothing")


def test_a_refusal_of_another_kind_is_told() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.take, Decimal(5))
    assert told(lambda: outcome.then_rejected("ended", match="closed")) == (
        "Wallet.take(Decimal('5')) was rejected, code 'not_enough', reason 'There is not that much in it.', but\n"
        "  its code is 'not_enough', expected 'ended'\n"
        "  its reason does not match 'closed'"
    )


def test_a_refusal_that_nobody_expected_is_told_by_whatever_comes_next() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.take, Decimal(5))
    steps: list[Callable[[], object]] = [
        lambda: outcome.then(MoneyTaken(amount=Decimal(5))),
        outcome.then_nothing,
        lambda: outcome.then_state(balance=0),
        lambda: outcome.when(Wallet.tidy),
        lambda: outcome.instance,
        lambda: outcome.events,
        outcome.stored,
    ]
    for step in steps:
        with pytest.raises(AssertionError, match=r"was rejected, code 'not_enough'") as caught:
            step()
        assert isinstance(caught.value.__cause__, CommandRejected)


def test_an_assertion_that_cannot_fail_is_refused() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.tidy)
    with pytest.raises(TypeError, match=r"then_nothing\(\)"):
        outcome.then()
    with pytest.raises(TypeError, match="asserts nothing"):
        outcome.then_state()
    with pytest.raises(AttributeError, match="'blance'"):
        outcome.then_state(blance=0)


def test_an_expectation_that_no_log_could_hold_is_refused() -> None:
    outcome = given(Wallet, OPENED).when(Wallet.add, Decimal(5))
    with pytest.raises(EventRefused):
        outcome.then(MoneyAdded(amount=5))  # type: ignore[arg-type]
    assert outcome.events == [MoneyAdded(amount=Decimal(5))]


# In rows


@pytest.mark.django_db
def test_a_stored_scenario_is_a_row_with_its_history() -> None:
    (
        given(Wallet, *FIFTY)
        .when(Wallet.take, Decimal(20))
        .stored()
        .when(Wallet.take, Decimal(500))
        .then_rejected("not_enough")
        .when(Wallet.take, Decimal(30))
        .then(MoneyTaken(amount=Decimal(30)))
    )
    wallet = Wallet.objects.get()
    assert (wallet.balance, wallet.version) == (Decimal(0), 4)
    assert [stored.data.get("amount") for stored in wallet.history()] == [None, "50", "20", "30"]
    assert drifts() == []


@pytest.mark.django_db
def test_a_stored_scenario_loads_its_instance_each_time() -> None:
    stored = given(Wallet, *FIFTY).stored()
    stored.instance.add(Decimal(1))
    Wallet.objects.perform(stored.instance.pk, Wallet.add, Decimal(5))
    stored.when(Wallet.take, Decimal(55)).then(MoneyTaken(amount=Decimal(55))).then_state(balance=0)
    assert stored.stored().instance == stored.instance == Wallet.objects.get()


@pytest.mark.django_db
def test_a_scenario_is_stored_once() -> None:
    fifty = given(Wallet, *FIFTY)
    fifty.stored()
    with pytest.raises(ValueError, match=r"is stored already: give the second one another pk=…"):
        fifty.stored()
    assert Wallet.objects.get().version == 2


@pytest.mark.django_db
def test_nothing_is_stored_before_a_command_has_created_it() -> None:
    stored = given(Wallet).stored()
    with pytest.raises(Wallet.DoesNotExist):
        stored.then_state(balance=0, version=0).when(Wallet.add, Decimal(1))
    assert not Wallet.objects.exists()
    stored.when(Wallet.open, owner="Ada").when(Wallet.add, Decimal(1)).then_state(balance=1)
    assert Wallet.objects.get().version == 2
