"""One aggregate is loaded by its key as any queryset would load it, with one statement that is compiled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import OperationalError, ProgrammingError, connection, models, transaction
from django.db.models import F, Func, Value
from django.db.models.functions import Concat
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.test.utils import CaptureQueriesContext, isolate_apps

from eventsourcing_app.aggregates.by_key import _statements, is_simple_key
from eventsourcing_app.log.connection import prepared_cursor
from eventsourcing_app.models import EventSourcedManager, EventSourcedModel
from tests.samples.factories import add, begin_counter, fetch, list_book, open_wallet, run_sql
from tests.samples.models import Book, Contract, Counter, Customer, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db


def plainly(model: type[EventSourcedModel], pk: Any) -> EventSourcedModel:
    """As Django's own queryset gives it."""
    return model.objects.filter(pk=pk).get()


def values(instance: models.Model) -> dict[str, Any]:
    return {field.attname: getattr(instance, field.attname) for field in instance._meta.concrete_fields}


@pytest.fixture
def contract() -> Contract:
    contract = Contract()
    contract.sign(customer_id=Customer.objects.create(name="Ada").pk, terms=("a", "b"))
    contract.save()
    return contract


def test_every_column_is_what_a_queryset_gives(contract: Contract) -> None:
    wallet = open_wallet("Ada", "1.50", 2)
    wallet.label(labels=["x", "ü"])
    wallet.save()
    for instance in (wallet, begin_counter(7), list_book(), contract):
        model = type(instance)
        key: Any = instance.pk
        loaded = model.objects.get(pk=key)
        assert values(loaded) == values(plainly(model, key))
        assert [type(value) for value in values(loaded).values()] == [
            type(value) for value in values(plainly(model, key)).values()
        ]
        assert (loaded._state.adding, loaded._state.db) == (False, "default")


def test_it_takes_one_query_and_is_saved_like_any_other(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    pk = open_wallet().pk
    with django_assert_num_queries(1):
        wallet = Wallet.objects.get(pk=pk)
    add(wallet).save()
    assert plainly(Wallet, pk).version == 2


def test_a_key_may_be_given_in_any_spelling_of_its_type() -> None:
    wallet, counter = open_wallet(), begin_counter()
    assert Wallet.objects.get(pk=str(wallet.pk)) == Wallet.objects.get(pk=wallet.pk.hex) == wallet
    assert Counter.objects.get(pk=str(counter.pk)) == Counter.objects.get(pk=counter.pk) == counter


@pytest.mark.parametrize(
    ("model", "pk"),
    [(Wallet, uuid4()), (Counter, 0), (Counter, 10**30), (Counter, -(10**9)), (Book, ""), (Book, "9" * 500)],
)
def test_what_does_not_exist_is_said_in_the_words_of_django(model: type[EventSourcedModel], pk: Any) -> None:
    with pytest.raises(model.DoesNotExist) as plain:
        plainly(model, pk)
    with pytest.raises(model.DoesNotExist) as fast:
        model.objects.get(pk=pk)
    assert str(fast.value) == str(plain.value)


@pytest.mark.parametrize(("model", "pk"), [(Wallet, "no-uuid"), (Counter, "seven"), (Wallet, 1.5), (Counter, [])])
def test_what_is_no_key_is_refused_in_the_words_of_django(model: type[EventSourcedModel], pk: Any) -> None:
    with pytest.raises((ValidationError, ValueError, TypeError)) as plain:
        plainly(model, pk)
    with pytest.raises(type(plain.value)) as fast:
        model.objects.get(pk=pk)
    assert str(fast.value) == str(plain.value)


OUT_OF_RANGE: list[Any] = ["99999999999999999999", "-99999999999999999999", 10**30, 2**63, "9" * 40]


@pytest.mark.parametrize("pk", OUT_OF_RANGE, ids=str)
@pytest.mark.parametrize("compiled", [False, True], ids=["first", "again"])
def test_a_number_that_no_column_could_hold_is_the_key_of_no_row(pk: Any, compiled: bool) -> None:
    _statements.clear()
    if compiled:
        begin_counter()
        Counter.objects.get()
        Counter.objects.get(pk=Counter.objects.get().pk)
    looks: list[Any] = [
        lambda: Counter.objects.get(pk=pk),
        lambda: Counter.objects.perform(pk, Counter.count, by=1),
        lambda: Counter.objects.once("key").perform(pk, Counter.count, by=1),
        lambda: Counter.objects.locked([pk]).__enter__(),
    ]
    for look in looks:
        with pytest.raises(Counter.DoesNotExist):
            look()
    with pytest.raises(Http404):
        get_object_or_404(Counter.objects, pk=pk)


@pytest.mark.parametrize("pk", [-1, "-1", 40_000, 2**40], ids=repr)
def test_the_range_is_that_of_the_column_of_the_key(pk: Any) -> None:
    with isolate_apps("tests.samples"):
        body = {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "samples"}),
            "stream_type": "checks.small",
            "code": models.PositiveSmallIntegerField(primary_key=True),
        }
        small: Any = type("Small", (EventSourcedModel,), body)
    assert not is_simple_key(small, pk)
    assert is_simple_key(small, 7)


def test_expressions_and_other_lookups_are_left_to_django() -> None:
    wallet = open_wallet("Ada")
    assert Wallet.objects.get(pk=F("id")) == Wallet.objects.get(owner="Ada") == Wallet.objects.get() == wallet
    assert Wallet.objects.get(pk=wallet.pk, owner="Ada") == wallet
    with pytest.raises(Wallet.DoesNotExist):
        Wallet.objects.get(pk=wallet.pk, owner="Eve")


def test_a_manager_that_hides_rows_hides_them_here_too() -> None:
    class Visible(EventSourcedManager[Wallet]):
        def get_queryset(self) -> Any:
            return super().get_queryset().exclude(owner="Eve")

    manager = Visible()
    manager.model = Wallet
    with pytest.raises(Wallet.DoesNotExist):
        manager.get(pk=open_wallet("Eve").pk)
    with pytest.raises(Wallet.DoesNotExist):
        manager.perform(open_wallet("Eve").pk, Wallet.tidy)


def test_a_related_manager_gives_only_what_is_related(contract: Contract) -> None:
    stranger = Customer.objects.create(name="Eve")
    with pytest.raises(Contract.DoesNotExist):
        stranger.contracts.get(pk=contract.pk)


def test_tools_that_watch_queries_see_it() -> None:
    pk = open_wallet().pk
    seen: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch), CaptureQueriesContext(connection) as captured:
        Wallet.objects.get(pk=pk)
    assert len(seen) == len(captured) == 1
    assert "samples_wallet" in captured[0]["sql"]


def test_in_a_broken_transaction_it_is_refused() -> None:
    pk = open_wallet().pk
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            Wallet.objects.get(pk=pk)


@pytest.mark.needs_postgres
def test_perform_locks_the_row_against_other_writers_but_not_against_foreign_keys() -> None:
    wallet = open_wallet()
    with CaptureQueriesContext(connection) as captured:
        Wallet.objects.perform(wallet.pk, Wallet.tidy)
    assert any(query["sql"].endswith('FOR NO KEY UPDATE OF "samples_wallet"') for query in captured)


@pytest.fixture
def preparing() -> Iterator[None]:
    """The setting ``prepare_threshold`` that allows prepared statements, for the connection as it is."""
    connection.ensure_connection()
    raw: Any = connection.connection
    before, raw.prepare_threshold = raw.prepare_threshold, 0
    yield
    raw.prepare_threshold = before


def prepared() -> list[str]:
    return [sql for (sql,) in fetch("SELECT statement FROM pg_prepared_statements")]


@pytest.mark.needs_postgres
@pytest.mark.usefixtures("preparing")
def test_statements_are_prepared_where_the_settings_allow_it() -> None:
    wallet = open_wallet()
    run_sql("DEALLOCATE ALL")
    add(Wallet.objects.get(pk=wallet.pk)).save()
    texts = prepared()
    assert any(text.startswith('SELECT "samples_wallet"') for text in texts)
    assert any(text.startswith('WITH state AS (UPDATE "samples_wallet"') for text in texts)
    assert plainly(Wallet, wallet.pk).version == 2


@pytest.mark.needs_postgres
@pytest.mark.usefixtures("preparing")
def test_expressions_in_columns_without_history_are_sent_as_django_sends_them() -> None:
    """The server could not tell the types of the values in them, and would refuse to prepare such a statement."""
    said: Any = Func(Value("a"), Value("x"), function="jsonb_build_object", output_field=models.JSONField())
    wallet, new = add(open_wallet("Ada")), Wallet(note=said)
    new.open(owner="Eve")
    wallet.note = said
    wallet.save()
    new.save()
    Wallet.objects.save_all([add(wallet), add(new)])
    many = [add(found) for found in Wallet.objects.all()]
    for each in many:
        each.note = Concat(Value("{"), Value("}"))
    Wallet.objects.save_all(many)
    assert sorted(Wallet.objects.values_list("owner", "version", "note")) == [("Ada", 4, "{}"), ("Eve", 3, "{}")]
    assert not any("CONCAT" in text.upper() or "JSONB_BUILD_OBJECT" in text.upper() for text in prepared())


@pytest.mark.needs_postgres
def test_nothing_is_prepared_by_default() -> None:
    connection.ensure_connection()
    raw: Any = connection.connection
    raw.prepare_threshold = None
    before = prepared()
    wallet = open_wallet()
    for _ in range(10):
        add(Wallet.objects.get(pk=wallet.pk)).save()
    assert prepared() == before


def test_a_cursor_for_prepared_statements_translates_errors_as_django_does() -> None:
    with (
        pytest.raises((ProgrammingError, OperationalError)),
        transaction.atomic(),
        prepared_cursor(connection) as cursor,
    ):
        cursor.execute("SELECT no_such_column")


def test_the_key_is_the_only_parameter() -> None:
    injected = "' OR 1=1 --"
    list_book("1")
    with pytest.raises(Book.DoesNotExist):
        Book.objects.get(pk=injected)
    assert Book.objects.get(pk="1").title == "Emma"
