"""There is one fold: in bulk, of one stream and from the middle of it, it gives the very states that were saved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsourcing_app.aggregates.past.fold import fold, fold_on
from eventsourcing_app.aggregates.past.history import state_at
from eventsourcing_app.aggregates.recording import history_fields
from eventsourcing_app.exceptions import UnknownEventType
from eventsourcing_app.log.streams import windows
from eventsourcing_app.models import EventSourcedModel
from tests.reactions_sample.scene import append_raw
from tests.samples.factories import add, begin_counter, change_row, counter_of, list_book, open_wallet
from tests.samples.models import Book, Counter, Folder, Wallet

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.django_db

EACH_ONCE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def folded(model: type[EventSourcedModel]) -> list[EventSourcedModel]:
    return list(fold(model, windows(model.stream_type)))


def columns(state: EventSourcedModel) -> dict[str, tuple[type, Any]]:
    names = [field.attname for field in history_fields(type(state))]
    return {name: (type(state.__dict__[name]), state.__dict__[name]) for name in names}


def content(state: EventSourcedModel) -> dict[str, Any]:
    return {**columns(state), "position": state.position}


WAYS: dict[str, Callable[[Any], object]] = {
    "bulk": lambda instance: folded(type(instance)),
    "at": lambda instance: type(instance).objects.at(instance.pk, version=2),
    "as of": lambda instance: list(type(instance).objects.as_of(timezone.now(), pks=[instance.pk])),
    "replay": lambda instance: list(type(instance).objects.replay(instance.pk)),
    "trail": lambda instance: list(type(instance).objects.trail(instance.pk)),
}


def open_one() -> EventSourcedModel:
    return open_wallet("Ada", 1)


def count_one() -> EventSourcedModel:
    return counter_of(2)


def changed_tomorrow(instance: EventSourcedModel) -> None:
    """Let the row say so, so that a list of the past does not take it for the state, but folds."""
    change_row(type(instance), instance.pk, changed_at=timezone.now() + timedelta(days=1))


def assert_same(model: type[EventSourcedModel]) -> None:
    states = folded(model)
    assert len(states) == model.objects.count()
    for state in states:
        one_by_one = state_at(model, state.stream_key, version=state.version)
        assert content(state) == content(one_by_one)
        assert state.pk == one_by_one.pk
        assert columns(state) == columns(model.objects.get(pk=state.pk))


def test_every_sample_is_folded_alike() -> None:
    wallet = add(open_wallet("Ada", 1, "2.50"), 600)
    wallet.label(labels=["é", "b"])
    wallet.save()
    open_wallet("Eve").close()
    begin_counter(3)
    book = list_book()
    book.rename("a: b", "c")
    book.save()
    for model in (Wallet, Counter, Book):
        assert_same(model)


@EACH_ONCE
@given(numbers=st.lists(st.integers(-3, 3), max_size=12), split=st.integers(1, 12))
def test_json_is_settled_after_each_event_because_the_next_one_builds_on_it(numbers: Sequence[int], split: int) -> None:
    """Its keys are numbers when they are counted and text when they are read again, so each number counts but once."""
    folder = Folder()
    folder.file(name="a.pdf")
    for number in numbers:
        folder.count(by=number)
    folder.save()
    (state,) = fold(Folder, windows("samples.folder", after_key=folder.stream_key, after_version=0))
    assert content(state) == content(state_at(Folder, folder.stream_key, version=folder.version))
    assert state.counts == folder.counts

    # Also if it is moved on from a version in the middle.
    middle = min(split, folder.version)
    rows = [row for window in windows("samples.folder", after_key=folder.stream_key, after_version=0) for row in window]
    (begun,) = fold(Folder, [rows[:middle]])
    assert content(fold_on(begun, [rows[middle:]])) == content(state)


def test_older_versions_and_names_of_events_are_read() -> None:
    wallet = open_wallet()
    append_raw("samples.money_put_in", {"amount": "2.00", "reference": ""}, key=wallet.stream_key, version=2)
    (state,) = folded(Wallet)
    assert content(state) == content(state_at(Wallet, wallet.stream_key, version=2))
    assert state.balance == Decimal(2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", WAYS)
def test_an_event_that_cannot_be_folded_is_named(way: str) -> None:
    wallet = open_wallet()
    append_raw("samples.nothing_known", {}, key=wallet.stream_key, version=2)
    changed_tomorrow(wallet)
    with pytest.raises(UnknownEventType) as caught:
        WAYS[way](wallet)
    position = wallet.history().get(version=2).position
    (note,) = caught.value.__notes__
    assert note == f"While folding samples.wallet {wallet.pk}, version 2 (event #{position}, samples.nothing_known)."


@pytest.mark.parametrize("way", ["bulk", "at", "trail"])
def test_a_method_that_records_while_it_applies_is_stopped(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = open_wallet("Ada", 1)
    monkeypatch.setattr(Wallet, "_added", lambda self, event: self.record(event))
    with pytest.raises(RuntimeError, match="only change state"):
        WAYS[way](wallet)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("begin", "method", "name"), [(open_one, "_added", "balance"), (count_one, "_counted", "total")]
)
def test_an_expression_is_no_state(
    begin: Callable[[], EventSourcedModel], method: str, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a column of JSON is settled after each event, or there is none."""
    instance = begin()
    changed_tomorrow(instance)
    monkeypatch.setattr(type(instance), method, lambda self, _event: setattr(self, name, F(name) + 1))
    with pytest.raises(TypeError, match="expression"):
        WAYS[way](instance)
