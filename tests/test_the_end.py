"""An aggregate that has ended accepts nothing more and never begins again, whether or not its row is kept."""

from __future__ import annotations

from contextlib import nullcontext
from io import StringIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.models.deletion import ProtectedError, RestrictedError
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.exceptions import (
    CommandRejected,
    ConcurrencyError,
    DirectWriteRefused,
    SpentInstance,
    StreamEnded,
    UnrecordedChange,
)
from eventsourcing_app.models import StoredEvent
from tests.samples.ended import Desk, Ending, Lease, Pointer, Ticket, Visit
from tests.samples.factories import SEVERAL, elsewhere, failing, run_sql, types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

MODELS: list[type[Ending]] = [Lease, Desk, Ticket, Visit]
REMOVED: list[type[Ending]] = [Lease, Ticket, Visit]
NATURAL: list[type[Ending]] = [Lease, Desk]


def new(model: Any, key: Any) -> Any:
    """One with this key, not saved."""
    return model(pk=key)


def begun(model: type[Ending], key: str = "A") -> Any:
    """A saved one."""
    made: Any = new(model, key) if model in NATURAL else model()
    made.begin(text="begun")
    made.save()
    return made


def ended(model: type[Ending], key: str = "A") -> Any:
    made = begun(model, key)
    made.end(text="ended")
    made.save()
    return made


# The row


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("several", SEVERAL)
def test_the_row_goes_with_the_event_that_ends_it_or_is_kept(model: type[Ending], several: int) -> None:
    one, other = begun(model), begun(model, "B")
    for _ in range(several):
        one.go_on("on")
    one.end(text="ended")
    one.save()
    rows: Any = model.objects
    assert rows.filter(pk=one.pk).exists() is (model is Desk)
    assert rows.filter(ended=True).count() == (model is Desk)
    assert rows.get(pk=other.pk).text == "begun"
    assert types(rows.history(one.pk)) == ["begun", *["went_on"] * several, "ended"]
    past = rows.at(one.pk, version=one.version)
    assert (past.text, past.ended) == ("ended", True)
    assert not rows.at(one.pk, version=one.version - 1).ended
    assert rows.at(one.pk, when=one.changed_at).ended
    assert [state.ended for state, _ in rows.replay(one.pk)] == [False] * (several + 1) + [True]


@pytest.mark.parametrize("model", MODELS)
def test_the_instance_can_still_be_read_and_refuses_commands(model: type[Ending]) -> None:
    one = ended(model)
    assert (one.text, one.ended, one.version, one._state.adding) == ("ended", True, 2, False)
    assert one.position == StoredEvent.objects.latest("position").position
    assert one.history().count() == 2
    with pytest.raises(StreamEnded) as caught:
        one.go_on("on")
    assert caught.value.code == "ended"
    with pytest.raises(CommandRejected, match="exists already"):
        one.begin()


def test_on_a_removed_row_nothing_can_be_performed_or_written() -> None:
    one = ended(Visit)
    with pytest.raises(Visit.DoesNotExist):
        Visit.objects.perform(one.pk, Visit.go_on, text="on")
    with pytest.raises(Visit.DoesNotExist), Visit.objects.locked([one.pk]):
        pytest.fail("was let in")
    with pytest.raises(Visit.DoesNotExist):
        one.refresh_from_db()
    one = ended(Visit)
    one.memo = "late"
    with failing(DatabaseError, "did not find the row"), transaction.atomic():
        one.save(update_fields=["memo"])


@pytest.mark.needs_postgres
def test_row_and_event_go_in_one_statement() -> None:
    one = begun(Visit)
    one.end()
    with CaptureQueriesContext(connection) as queries:
        one.save()
    writes = [query["sql"] for query in queries if "DELETE" in query["sql"] or "INSERT" in query["sql"]]
    assert len(writes) == 1
    assert "DELETE" in writes[0]
    assert "INSERT" in writes[0]


@pytest.mark.parametrize("model", REMOVED)
def test_one_that_ends_as_it_begins_never_has_a_row(model: type[Ending]) -> None:
    one: Any = new(model, "A") if model is Lease else model()
    one.begin()
    one.end(text="at once")
    one.save()
    rows: Any = model.objects
    assert not rows.exists()
    assert one.pk is not None
    assert rows.at(one.pk, version=2).text == "at once"
    other = begun(model, "B")
    assert other.pk != one.pk


def test_by_perform_it_goes_as_well() -> None:
    one = begun(Visit)
    receipt = Visit.objects.once("k").perform(one.pk, Visit.end)
    assert receipt.version == 2
    assert not Visit.objects.exists()
    assert Visit.objects.once("k").perform(one.pk, Visit.end).replayed


@pytest.mark.parametrize("model", [Lease, Desk])
def test_locked_and_save_all_end_some_and_keep_others(model: type[Ending]) -> None:
    first, second, third = (begun(model, key) for key in "ABC")
    rows: Any = model.objects
    with rows.locked(["A", "B"]) as (one, two):
        one.end()
        two.go_on("on")
    assert (one.ended, two.ended) == (True, False)
    second, fourth, brief = rows.get(pk="B"), new(model, "D"), new(model, "E")
    second.end()
    third.go_on("on")
    for each in (fourth, brief):
        each.begin()
    brief.end()
    rows.save_all([third, brief, second, fourth])
    assert list(rows.exclude(ended=True).order_by("pk").values_list("pk", flat=True)) == ["C", "D"]
    assert rows.filter(ended=True).count() == (3 if model is Desk else 0)
    assert first.version == 1
    assert StoredEvent.objects.count() == 3 + 2 + 2 + 3


def test_an_assignment_without_an_event_is_noticed_at_the_end_too() -> None:
    one = begun(Visit)
    one.end()
    one.text = "another"
    with pytest.raises(UnrecordedChange):
        one.save()
    assert Visit.objects.count() == 1


@pytest.mark.parametrize("model", [Visit, Ticket])
def test_only_the_row_as_it_was_loaded_is_removed(model: type[Ending]) -> None:
    one = begun(model)
    rows: Any = model.objects
    stale = rows.get(pk=one.pk)
    one.go_on("on")
    one.save()
    stale.end()
    with pytest.raises(ConcurrencyError) as caught, transaction.atomic():
        stale.save()
    assert (caught.value.expected, caught.value.actual) == (1, 2)
    with pytest.raises(SpentInstance):
        stale.end()
    late = rows.get(pk=one.pk)
    one.end()
    one.save()
    late.go_on("too late")
    with pytest.raises(ConcurrencyError) as caught, transaction.atomic():
        late.save()
    assert (caught.value.expected, caught.value.actual) == (2, None)
    assert types() == ["begun", "went_on", "ended"]


def test_a_rollback_brings_the_row_back() -> None:
    one = begun(Visit)
    with failing(ZeroDivisionError), transaction.atomic():
        Visit.objects.perform(one.pk, Visit.end)
        assert not Visit.objects.exists()
        raise ZeroDivisionError
    assert Visit.objects.get().text == "begun"
    assert types() == ["begun"]


# What points at it


@pytest.mark.parametrize(
    ("pointing", "error"),
    [
        ("protects", ProtectedError),
        ("restricts", RestrictedError),
        ("cascades", ProtectedError),
        ("nulls", ProtectedError),
    ],
)
def test_a_row_that_points_at_it_keeps_it_from_ending_before_anything_is_written(
    pointing: str, error: type[IntegrityError]
) -> None:
    lease, other = begun(Lease), begun(Lease, "B")
    pointer = Pointer.objects.create(**{pointing: lease})
    lease.end()
    with CaptureQueriesContext(connection) as queries, pytest.raises(error, match=r"Lease|Pointer"):
        lease.save()
    assert not [query["sql"] for query in queries if not query["sql"].startswith("SELECT")]
    with pytest.raises(SpentInstance, match="saving it failed"):
        lease.end()
    assert types() == ["begun", "begun"]
    other.end()
    other.save()
    assert list(Pointer.objects.values_list(pointing, flat=True)) == ["A"]
    pointer.delete()
    Lease.objects.perform("A", Lease.end)
    assert not Lease.objects.exists()


def test_of_several_one_that_is_protected_keeps_all() -> None:
    lease, other = begun(Lease), begun(Lease, "B")
    Pointer.objects.create(protects=lease)
    with failing(ProtectedError), Lease.objects.locked(["A", "B"]) as both:
        for each in both:
            each.end()
    assert Lease.objects.count() == 2
    assert other.version == 1


@committing
def test_do_nothing_leaves_it_to_the_constraint() -> None:
    lease = begun(Lease)
    Pointer.objects.create(nothing=lease)
    lease.end()
    with pytest.raises(IntegrityError) as caught:
        lease.save()
    assert not isinstance(caught.value, ProtectedError)
    assert types() == ["begun"]
    assert Lease.objects.get().text == "begun"
    with pytest.raises(SpentInstance):
        lease.end()


def test_a_row_that_is_kept_may_be_pointed_at() -> None:
    desk = ended(Desk)
    assert Desk.objects.get().ended is desk.ended is True


# Signals


@pytest.fixture
def told() -> Iterator[list[str]]:
    names: list[str] = []
    signals = {"pre_save": pre_save, "post_save": post_save, "pre_delete": pre_delete, "post_delete": post_delete}
    receivers: list[Callable[..., None]] = []
    for name, signal in signals.items():

        def tell(sender: Any, instance: Any, using: str, name: str = name, **_signal: Any) -> None:
            assert using == "default"
            exists = models.QuerySet(sender).filter(pk=instance.pk).exists()
            names.append(f"{name} {sender.__name__} {exists}")

        receivers.append(tell)
        signal.connect(tell)
    yield names
    for signal, receiver in zip(signals.values(), receivers, strict=True):
        signal.disconnect(receiver)


def test_signals_tell_what_happens_to_the_row(told: list[str]) -> None:
    visit, desk = begun(Visit), begun(Desk)
    assert told == [f"{name} {model} {name == 'post_save'}" for model in ("Visit", "Desk") for name in SAVES]
    told.clear()
    for each in (visit, desk):
        each.end()
        each.save()
    assert told == ["pre_delete Visit True", "post_delete Visit False", "pre_save Desk True", "post_save Desk True"]
    told.clear()
    brief = Visit()
    brief.begin()
    brief.end()
    brief.save()
    assert told == []


SAVES = ("pre_save", "post_save")


@committing
def test_a_receiver_that_raises_keeps_row_and_history() -> None:
    def refuse(**_signal: Any) -> None:
        raise ZeroDivisionError

    for signal in (pre_delete, post_delete):
        visit = begun(Visit)
        visit.end()
        signal.connect(refuse, sender=Visit)
        try:
            with pytest.raises(ZeroDivisionError):
                visit.save()
        finally:
            signal.disconnect(refuse, sender=Visit)
        assert Visit.objects.filter(pk=visit.pk).exists()
    assert types() == ["begun", "begun"]


def test_every_other_way_to_delete_stays_refused() -> None:
    visit = begun(Visit)
    with pytest.raises(DirectWriteRefused, match="remove_row_at_end"):
        visit.delete()
    with pytest.raises(DirectWriteRefused):
        Visit.objects.all().delete()
    with pytest.raises(DirectWriteRefused), transaction.atomic():
        models.QuerySet(Visit).all().delete()
    assert Visit.objects.count() == 1


# No second beginning


def begin_again(way: str, model: type[Ending], key: Any) -> None:
    rows: Any = model.objects
    if way == "perform_new":
        rows.perform_new(model.begin, pk=key)
        return
    again = new(model, key)
    again.begin()
    if way == "ended at once":
        again.end()
    if way == "save_all":
        other = new(model, "Z")
        other.begin()
        rows.save_all([other, again])
    else:
        again.save()


@pytest.mark.parametrize("model", NATURAL)
@pytest.mark.parametrize("way", ["save", "ended at once", "save_all", "perform_new"])
@pytest.mark.parametrize("inside", [True, False])
@committing
def test_the_key_of_one_that_has_ended_is_never_used_again(model: type[Ending], way: str, inside: bool) -> None:
    ended(model)
    begun(model, "B")
    block = transaction.atomic() if inside else nullcontext()
    with failing(StreamEnded, "'A' has ended") as caught, block:
        begin_again(way, model, "A")
    assert caught.value.code == "ended"
    with pytest.raises(ConcurrencyError):
        begin_again(way, model, "B")
    rows: Any = model.objects
    assert not rows.filter(ended=False).exclude(pk="B").exists()
    assert types() == ["begun", "ended", "begun"]


@committing
def test_nor_is_a_key_that_is_drawn_unless_it_is_given() -> None:
    visit, ticket = ended(Visit), ended(Ticket)
    for way in ("save", "ended at once"):
        with pytest.raises(StreamEnded):
            begin_again(way, Visit, visit.pk)
        with pytest.raises(StreamEnded):
            begin_again(way, Ticket, ticket.pk)
    begin_again("save", Visit, uuid4())
    assert types() == ["begun", "ended", "begun", "ended", "begun"]


def test_to_ask_costs_nothing_where_a_key_is_drawn() -> None:
    with CaptureQueriesContext(connection) as queries:
        begun(Visit)
    assert not [query["sql"] for query in queries if query["sql"].startswith("SELECT")]


@committing
def test_one_that_is_ended_meanwhile_by_somebody_else_is_a_lost_race() -> None:
    visit = begun(Visit)
    mine = Visit.objects.get()
    elsewhere(lambda: Visit.objects.perform(visit.pk, Visit.end))
    mine.end()
    with pytest.raises(ConcurrencyError):
        mine.save()
    assert types() == ["begun", "ended"]


# Rebuild


def rebuilt(model: type[Ending], *options: str) -> str:
    out = StringIO()
    try:
        call_command("rebuild", model._meta.label, *options, stdout=out)
    except CommandError as error:
        return f"{out.getvalue()}{error}"
    return out.getvalue()


def test_a_rebuild_brings_no_removed_row_back_and_removes_one_that_was_left() -> None:
    visit, desk = ended(Visit), ended(Desk)
    begun(Visit)
    for model in (Visit, Desk):
        assert "0 differ" in rebuilt(model, "--check")
    row = Visit.objects.at(visit.pk, version=2)
    fields = [field for field in Visit._meta.concrete_fields if not field.generated]
    left: Any = models.QuerySet(Visit)
    left._insert([row], fields=fields, using="default", raw=True)
    assert "the row is left over; its history ended at version 2" in rebuilt(Visit, "--check")
    assert Visit.objects.count() == 2
    assert "1 differ, all repaired" in rebuilt(Visit)
    assert not Visit.objects.filter(pk=visit.pk).exists()
    run_sql("DELETE FROM samples_desk")
    assert "1 differ, all repaired" in rebuilt(Desk)
    assert Desk.objects.get(pk=desk.pk).ended
