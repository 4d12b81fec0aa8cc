"""A state that its columns would cut or round is refused on every database, and nothing is stored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from eventsourcing_app import CommandRejected
from eventsourcing_app.aggregates.saving.fit import require_fit
from eventsourcing_app.models import EventSourcedModel, StoredEvent
from tests.samples.factories import rebuild
from tests.samples.models import Book, Counter, Wallet

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("amount", ["0.125", "999999999999.99", "1E+20"])
def test_an_amount_that_the_column_cannot_hold_is_refused(amount: str) -> None:
    opened = Wallet.objects.perform_new(Wallet.open, owner="Ada")
    Wallet.objects.perform(opened.pk, Wallet.add, amount=Decimal("1.00"))
    with pytest.raises(CommandRejected) as refused:
        Wallet.objects.perform(opened.pk, Wallet.add, amount=Decimal(amount))
    assert refused.value.code == "does_not_fit"
    assert StoredEvent.objects.count() == 2
    assert not list(rebuild(Wallet, check=True))


@isolate_apps("tests.samples")
def test_a_decimal_column_without_limits_takes_any_finite_number() -> None:
    body = {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "samples"}),
        "stream_type": "checks.decimals",
        "amount": models.DecimalField(default=0),
    }
    own: Any = type("OfDecimals", (EventSourcedModel,), body)
    for amount in (Decimal("0.125"), Decimal("1E+20"), Decimal("12345.678901"), 7):
        require_fit(own(amount=amount))
    for no_number in (Decimal("NaN"), Decimal("Infinity"), True, 1.5):
        with pytest.raises(CommandRejected, match="amount takes finite numbers"):
            require_fit(own(amount=no_number))


def test_zeros_behind_the_last_decimal_place_fit() -> None:
    opened = Wallet.objects.perform_new(Wallet.open, owner="Ada")
    Wallet.objects.perform(opened.pk, Wallet.add, amount=Decimal("1.5000"))
    assert Wallet.objects.get(pk=opened.pk).balance == Decimal("1.50")
    assert not list(rebuild(Wallet, check=True))


def test_text_that_is_too_long_is_refused() -> None:
    assert Wallet.objects.perform_new(Wallet.open, owner="x" * 40).version == 1
    with pytest.raises(CommandRejected, match="at most 40 characters"):
        Wallet.objects.perform_new(Wallet.open, owner="x" * 41)
    assert StoredEvent.objects.count() == 1


def test_a_new_aggregate_without_a_natural_key_is_refused() -> None:
    with pytest.raises(CommandRejected) as refused:
        Book.objects.perform_new(Book.list_it, title="Emma")
    assert refused.value.code == "no_key"
    assert not StoredEvent.objects.exists()


def test_a_creating_command_may_assign_the_key() -> None:
    book = Book()
    book.isbn = "978-0"
    book.list_it(title="Emma")
    book.save()
    assert book.history().get().stream_key == "978-0"


def test_a_key_that_the_database_draws_need_not_be_assigned() -> None:
    assert Counter.objects.perform_new(Counter.begin).pk
