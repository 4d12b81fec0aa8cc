"""Many aggregates are written in few statements, and each of them only as it was loaded."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext, isolate_apps

from eventsourcing_app import applies
from eventsourcing_app.exceptions import ConcurrencyError, SpentInstance
from eventsourcing_app.models import EventSourcedModel, StoredEvent
from tests.samples.factories import add, change_row, drifts, list_book, open_wallet
from tests.samples.habits import SpecimenMeasured
from tests.samples.models import Book, Contract, Customer, Wallet

pytestmark = pytest.mark.django_db


def wallets(number: int) -> list[Wallet]:
    return [open_wallet(f"owner {index}") for index in range(number)]


def writes(captured: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in captured if "UPDATE" in query["sql"] and "FOR NO KEY" not in query["sql"]]


@pytest.mark.needs_postgres
def test_a_hundred_rows_take_one_update() -> None:
    many = [add(wallet, times=number + 1) for number, wallet in enumerate(wallets(100))]
    with CaptureQueriesContext(connection) as captured:
        Wallet.objects.save_all(many)
    assert len(writes(captured)) == 1
    assert [wallet.balance for wallet in Wallet.objects.order_by("balance")] == list(range(1, 101))
    assert drifts() == []


def test_more_than_go_in_one_statement_are_all_written() -> None:
    many = wallets(501)
    Wallet.objects.save_all([add(wallet) for wallet in many])
    assert Wallet.objects.filter(version=2, balance=1).count() == 501
    assert drifts() == []


def test_of_many_a_stale_one_is_named_and_nothing_is_stored() -> None:
    many = wallets(5)
    loaded = [add(Wallet.objects.get(pk=wallet.pk)) for wallet in many]
    add(many[3]).save()
    before = StoredEvent.objects.count()
    with pytest.raises(ConcurrencyError) as caught:
        Wallet.objects.save_all(loaded)
    assert (caught.value.stream_key, caught.value.expected, caught.value.actual) == (str(many[3].pk), 1, 2)
    assert StoredEvent.objects.count() == before
    assert Wallet.objects.filter(version=1).count() == 4
    with pytest.raises(SpentInstance):
        add(loaded[0])


def test_a_version_that_was_given_again_is_another_state() -> None:
    first, second = wallets(2)
    change_row(Wallet, second.pk, changed_at=first.changed_at)
    with pytest.raises(ConcurrencyError):
        Wallet.objects.save_all([add(first), add(second)])


def test_nulls_json_and_columns_without_history_are_written_as_they_are() -> None:
    customer = Customer.objects.create(name="Ada")
    contracts = []
    for number in range(4):
        contract = Contract()
        contract.sign(customer_id=customer.pk, terms=tuple("ab"[:number]))
        contracts.append(contract)
    Contract.objects.save_all(contracts)
    many = wallets(3)
    for number, wallet in enumerate(many):
        wallet.label(labels=[f"'{number}", '"', "{", "\\", "ü,"][:number])
        wallet.note = "x" * number
    Wallet.objects.save_all(many)
    stored = list(Wallet.objects.order_by("pk"))
    assert [wallet.labels for wallet in stored] == [[], ["'1"], ["'2", '"']]
    assert [wallet.note for wallet in stored] == ["", "x", "xx"]
    assert drifts() == []


def test_columns_of_several_types_are_written_one_by_one() -> None:
    class Title(StrEnum):  # as Django's TextChoices are
        EMMA = "Emma again"

    books = [list_book(str(number)) for number in range(3)]
    for book, title in zip(books, ("plain", Title.EMMA, "plain too"), strict=True):
        book.rename(title=str.__str__(title))
        book.__dict__["title"] = title  # what an @applies method may assign
        book._recording.settle(book)
    Book.objects.save_all(books)
    assert sorted(Book.objects.values_list("title", flat=True)) == ["Emma again", "plain", "plain too"]


class ListField(models.Field):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """An array as somebody else may declare it: the driver takes the list as it is, without SQL of the field's own."""

    def db_type(self, connection: object) -> str:
        return "integer[]"


@pytest.mark.needs_postgres
def test_columns_of_arrays_are_written_one_by_one() -> None:
    @applies(SpecimenMeasured)
    def measured(self: Any, event: SpecimenMeasured) -> None:
        self.marks = [*self.marks, len(self.marks) + 1]

    with isolate_apps("tests.samples"):
        body = {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "samples"}),
            "stream_type": "checks.lists",
            "marks": ListField(default=list),
            "measured": measured,
        }
        own: Any = type("OfLists", (EventSourcedModel,), body)
        with connection.schema_editor() as editor:
            editor.create_model(own)
        many = [own() for _ in range(3)]
        for _ in range(2):
            for instance in many:
                instance.record(SpecimenMeasured())
            own.objects.save_all(many)
        assert list(own.objects.values_list("marks", flat=True)) == [[1, 2]] * 3


def test_those_that_were_partly_loaded_keep_what_was_not() -> None:
    open_wallet("Ada", 5)
    whole, partly = (
        open_wallet("Eve", 7),
        Wallet.objects.only("version", "changed_at", "balance", "ended").get(owner="Ada"),
    )
    Wallet.objects.save_all([add(whole), add(partly)])
    assert sorted(Wallet.objects.values_list("owner", "balance")) == [("Ada", Decimal(6)), ("Eve", Decimal(8))]


def test_creating_and_changing_go_together() -> None:
    old, new = open_wallet("old"), Wallet()
    new.open(owner="new")
    Wallet.objects.save_all([new, add(old)])
    assert sorted(Wallet.objects.values_list("owner", "version")) == [("new", 1), ("old", 2)]
    assert drifts() == []
