"""What is shown quickly is what the fields would show: states and events, of every kind of column."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.renderers import JSONRenderer
from rest_framework.test import APIRequestFactory

from demo_bank.models import Account
from eventsourcing_app import context
from eventsourcing_app.api.serializers import StoredEventSerializer, state_serializer
from eventsourcing_app.log.watch import Written, watching
from eventsourcing_app.log.written import events_of
from eventsourcing_app.models import StoredEvent
from tests.api_client import user_with
from tests.samples.models import Counter, Wallet

pytestmark = pytest.mark.django_db


class ByFields(StoredEventSerializer):
    """The same, field by field."""


def test_a_stored_event_is_shown_as_its_fields_would_masked_or_not() -> None:
    with context(actor="user:7", reason="Zoë"):
        pk = Wallet.objects.perform_new(Wallet.open, owner="Ada").pk
        first = StoredEvent.objects.get()
        with context(causation_id=first.event_id):
            Wallet.objects.perform(pk, Wallet.add, amount=Decimal("1.50"), reference="½")
    for user in (User.objects.create_superuser("root"), user_with(), None):
        request: Any = APIRequestFactory().get("/")
        request.user = user
        told = {} if user is None else {"request": request}
        classes: list[Any] = [StoredEventSerializer, ByFields]
        quick, slow = [each(StoredEvent.objects.all(), many=True, context=told).data for each in classes]
        assert JSONRenderer().render(quick) == JSONRenderer().render(slow)
        assert [event["masked"] for event in quick] == [user is None or not user.is_superuser] * 2


def both(model: Any, pk: Any) -> list[Any]:
    """A row, shown by the class that is made for its model, and by its fields one by one."""
    quick: Any = state_serializer(model)
    return [each(model.objects.get(pk=pk)).data for each in (quick, type("ByFields", (quick,), {}))]


def test_a_state_is_shown_as_its_fields_would() -> None:
    wallet = Wallet.objects.perform_new(Wallet.open, owner="Zoë").pk
    Wallet.objects.perform(wallet, Wallet.label, labels=["a", "½"])
    rows = [
        (Wallet, wallet),
        (Counter, Counter.objects.perform_new(Counter.begin, by=3).pk),
        (Account, Account.objects.perform_new(Account.open, owner="Ada").pk),
    ]
    for model, pk in rows:
        quick, slow = both(model, pk)
        assert list(quick) == list(slow)
        assert JSONRenderer().render(quick) == JSONRenderer().render(slow)


def test_events_that_were_just_written_are_those_of_the_log() -> None:
    told: list[Written] = []
    with context(actor="user:7", reason="Zoë"), watching(told.append):
        pk = Wallet.objects.perform_new(Wallet.open, owner="Ada").pk
        with context(causation_id=StoredEvent.objects.get().event_id):
            Wallet.objects.perform(pk, Wallet.add, amount=Decimal("1.50"), reference="½")
        facts = Counter.objects.perform_new(Counter.begin, by=2**53 - 1)
    assert facts.version == 1
    quick, slow = list(events_of(told)), list(StoredEvent.objects.all())
    for one, other in zip(quick, slow, strict=True):
        for field in StoredEvent._meta.concrete_fields:
            given, stored = getattr(one, field.attname), getattr(other, field.attname)
            assert bytes(given) == bytes(stored) if field.name == "hash" else given == stored
        assert (one._state.adding, one._state.db) == (other._state.adding, other._state.db)
