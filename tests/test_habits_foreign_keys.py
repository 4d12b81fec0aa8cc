"""Relations of every kind work, and none of them changes or deletes an event-sourced row when another one goes."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.contenttypes.fields import GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import isolate_apps

from eventsourcing_app.exceptions import DirectWriteRefused, UnrecordedChange
from eventsourcing_app.models import EventSourcedModel, StoredEvent
from tests.samples.factories import failing, list_book, open_wallet, rebuild, versions
from tests.samples.habits import HABITS, Edition, Memo, Remark, Ship, Specimen
from tests.samples.models import Book, Contract, Customer, Wallet
from tests.test_model_checks import found

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


def printed(isbn: str = "1", previous: Edition | None = None) -> Edition:
    """An edition of a new book. Whoever chooses the key and its parents assigns them before the first event."""
    edition = Edition(book=list_book(isbn))
    edition.print_it(copies=5)
    edition.save()
    return edition


def signed(name: str = "Ada") -> Contract:
    contract = Contract()
    contract.sign(customer_id=Customer.objects.create(name=name).pk)
    contract.save()
    return contract


def no_drift() -> bool:
    models: list[type[EventSourcedModel]] = [*HABITS, Wallet, Book, Contract]
    return [drift for model in models for drift in rebuild(model, check=True)] == []


# Declared


def declared(**attributes: Any) -> type[models.Model]:
    body = {"__module__": __name__, "stream_type": "checks.thing", **attributes}
    body.setdefault("Meta", type("Meta", (), {"app_label": "samples"}))
    return type(f"Thing{next(NUMBERS)}", (EventSourcedModel,), body)


NUMBERS = itertools.count()
DELETES = [models.CASCADE, models.SET_NULL, models.SET_DEFAULT, models.SET(None)]


@isolate_apps("tests.samples")
@pytest.mark.parametrize("on_delete", DELETES, ids=["CASCADE", "SET_NULL", "SET_DEFAULT", "SET"])
@pytest.mark.parametrize("kind", [models.ForeignKey, models.OneToOneField])
def test_a_key_that_changes_the_row_when_another_one_goes_is_an_error(kind: Any, on_delete: Any) -> None:
    def key(**options: Any) -> Any:
        return kind(Customer, on_delete, null=True, default=None, related_name="+", **options)

    assert found(declared(owner=key())) == {"E103"}
    outside = {"E103"} if on_delete is models.CASCADE else set()
    assert found(declared(owner=key(), unrecorded=("owner",))) == outside


@isolate_apps("tests.samples")
def test_a_key_that_is_the_primary_key_as_well_is_checked_too() -> None:
    cascading = models.OneToOneField(Customer, models.CASCADE, primary_key=True, related_name="+")
    assert found(declared(customer=cascading)) == {"E103"}


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django 6.1 has deletes of the database itself")
@isolate_apps("tests.samples")
def test_a_delete_by_the_database_itself_is_an_error() -> None:
    cascade: Any = getattr(models, "DB_CASCADE", None)
    for unrecorded in ((), ("owner",)):
        key = models.ForeignKey(Customer, cascade, null=True, related_name="+")
        assert found(declared(owner=key, unrecorded=unrecorded)) == {"E103"}


@isolate_apps("tests.samples")
def test_a_cascading_key_of_somebody_elses_mixin_is_declared_again_or_left_out() -> None:
    class Owned(models.Model):
        owner = models.ForeignKey(Customer, models.CASCADE, related_name="+")

        class Meta:
            abstract = True
            app_label = "samples"

    class Kept(Owned, EventSourcedModel):
        stream_type = "checks.kept"

        class Meta:
            app_label = "samples"

    class Again(Owned, EventSourcedModel):
        stream_type = "checks.again"
        owner = models.ForeignKey(Customer, models.PROTECT, related_name="+")

        class Meta:
            app_label = "samples"

    class Without(Owned, EventSourcedModel):
        stream_type = "checks.without"
        owner = None

        class Meta:
            app_label = "samples"

    assert found(Kept) == {"E103"}
    assert found(Again, Without) == set()


@isolate_apps("tests.samples", "django.contrib.contenttypes")
def test_a_generic_relation_of_another_model_that_would_delete_rows_is_an_error() -> None:
    class Album(models.Model):
        remarks = GenericRelation(Remark, content_type_field="about_type", object_id_field="about_key")

        class Meta:
            app_label = "samples"

    assert found(Album) == {"E116"}


@isolate_apps("tests.samples")
def test_an_order_that_no_event_changes_is_an_error() -> None:
    meta = type("Meta", (), {"app_label": "samples", "order_with_respect_to": "owner"})
    key = models.ForeignKey(Customer, models.PROTECT, related_name="+")
    assert "E117" in found(declared(owner=key, Meta=meta))


def test_the_samples_and_what_points_at_them_are_in_order() -> None:
    assert found(*HABITS, Memo, Customer) == set()


# From event-sourced models


def test_a_protected_parent_stays() -> None:
    contract = signed()
    for delete in (contract.customer.delete, Customer.objects.all().delete):  # type: ignore[union-attr]
        with pytest.raises(models.ProtectedError):
            delete()
    assert Contract.objects.get().customer == contract.customer


def test_the_events_name_the_parent_by_its_key_and_a_missing_one_rejects_the_command() -> None:
    contract = Contract()
    contract.sign(customer_id=4711)
    with failing(IntegrityError), transaction.atomic():
        contract.save()
        connection.check_constraints()
    assert not StoredEvent.objects.exists()
    assert not Contract.objects.exists()


def test_a_reference_to_its_own_kind_is_restricted() -> None:
    first = printed("1")
    second = Edition(book=list_book("2"))
    with pytest.raises(UnrecordedChange, match="previous_id"):
        Edition(book=list_book("3"), previous=first).print_it(copies=1)
    second.print_it(copies=1)
    second.save()
    with pytest.raises(DirectWriteRefused):
        first.delete()


def test_a_column_without_history_may_become_null() -> None:
    customer = Customer.objects.create(name="Ada")
    specimen = Specimen(seen_by=customer)
    specimen.measure()
    specimen.save()
    customer.delete()
    now = Specimen.objects.get()
    assert (now.seen_by_id, now.version) == (None, 1)
    now.measure_again()
    now.save()
    assert no_drift()


def test_a_key_that_is_another_models_row_names_the_stream() -> None:
    edition = printed("978-1")
    assert edition.pk == edition.stream_key == "978-1"
    Edition.objects.perform("978-1", Edition.print_more, copies=2)
    loaded = Edition.objects.select_related("book").get(book__title="Emma")
    assert (loaded.copies, versions(loaded)) == (7, [1, 2])
    assert Book.objects.get().edition == loaded
    assert Edition.objects.at("978-1", version=1).copies == 5
    assert no_drift()


def test_a_remark_about_anything_is_found_again() -> None:
    wallet = open_wallet()
    kind = ContentType.objects.get_for_model(Wallet)
    receipt = Remark.objects.perform_new(Remark.make, about_type=kind.pk, about_key=str(wallet.pk), text="Odd.")
    remark = Remark.objects.prefetch_related("about").get(pk=receipt.pk)
    assert remark.about == wallet
    remark.about = None
    with pytest.raises(UnrecordedChange, match="about_type_id, about_key"):
        remark.save()
    assert no_drift()


# To event-sourced models


def test_other_models_point_at_it_and_go_without_it() -> None:
    wallet = open_wallet()
    memo = Memo.objects.create(wallet=wallet, text="x")
    memo.wallets.add(wallet)
    wallet.memos.create(text="y")
    wallet.mentioned_in.clear()
    assert Memo.objects.select_related("wallet").get(pk=memo.pk).wallet == wallet
    assert wallet.memos.filter(wallet__owner="Ada").count() == 2
    wallet.memos.all().delete()
    assert versions(wallet) == [1]
    assert no_drift()


def test_one_loaded_along_runs_commands() -> None:
    wallet = open_wallet()
    Memo.objects.create(wallet=wallet)
    for memos in (
        Memo.objects.select_related("wallet"),
        Memo.objects.prefetch_related("wallet"),
        Memo.objects.select_related("wallet").only("wallet__owner"),
        Memo.objects.all(),
    ):
        memo = memos.get()
        assert memo.wallet is not None
        memo.wallet.add(Decimal(1))
        memo.wallet.save()
    assert Wallet.objects.get().balance == 4
    assert no_drift()


def test_nothing_cascades_to_it() -> None:
    ship = Ship.objects.perform_new(Ship.begin, name="argo")
    memo = Memo.objects.create(wallet=open_wallet(), ship_id=ship.pk)
    memo.delete()
    assert (Ship.objects.count(), Wallet.objects.count()) == (1, 1)


# By related managers

RELATED: dict[str, Callable[[Customer, Contract], Any]] = {
    "remove": lambda customer, contract: customer.contracts.remove(contract),
    "remove one by one": lambda customer, contract: customer.contracts.remove(contract, bulk=False),
    "clear one by one": lambda customer, _: customer.contracts.clear(bulk=False),
    "set nothing": lambda customer, _: customer.contracts.set([]),
    "update": lambda customer, _: customer.contracts.update(customer=None),
    "get_or_create": lambda customer, _: customer.contracts.get_or_create(terms=[]),
    "update_or_create": lambda customer, _: customer.contracts.update_or_create(terms=[]),
    "bulk_create": lambda customer, _: customer.contracts.bulk_create([Contract()]),
    "bulk_update": lambda customer, contract: customer.contracts.bulk_update([contract], ["terms"]),
    "delete": lambda customer, _: customer.contracts.all().delete(),
    "filtered delete": lambda customer, _: customer.contracts.filter(terms=[]).delete(),
}


@pytest.mark.parametrize("door", RELATED)
def test_a_related_manager_does_not_write(door: str) -> None:
    contract = signed()
    with pytest.raises((DirectWriteRefused, UnrecordedChange)), transaction.atomic():
        RELATED[door](contract.customer, contract)  # type: ignore[arg-type]
    assert Contract.objects.get().customer is not None
    assert no_drift()


def test_a_related_manager_reads_and_runs_commands() -> None:
    contract = signed()
    customer = contract.customer
    assert customer is not None
    assert list(customer.contracts.all()) == [contract]
    again = customer.contracts.perform_new(Contract.sign, customer_id=customer.pk)
    assert customer.contracts.get(pk=again.pk).version == 1
    assert Customer.objects.prefetch_related("contracts").get().contracts.count() == 2


def test_assigning_the_other_side_of_a_one_to_one_is_noticed() -> None:
    edition, other = printed("1"), list_book("2")
    other.edition = edition
    with pytest.raises(UnrecordedChange, match="book_id"):
        edition.save()
