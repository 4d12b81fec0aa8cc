"""A projection whose tables have foreign keys, to one another and to others, is compared and exchanged like any."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps, override_settings

from eventsourcing_app import Projection, RecordedEvent, handles
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.projections import rebuilding, shadows
from eventsourcing_app.projections.rebuilding import Wishes, rebuild
from eventsourcing_app.projections.swapping import Swapped, swap_in
from tests.reactions_sample.scene import deliver, no_subscriptions, wallet
from tests.samples.events import MoneyAdded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "t.sheets"

with isolate_apps("tests.samples"):

    class Place(models.Model):
        """Not the projection's own."""

        objects: ClassVar[models.Manager[Place]] = models.Manager()
        id = models.IntegerField(primary_key=True)

        class Meta:
            app_label = "samples"

    class Sheet(models.Model):
        objects: ClassVar[models.Manager[Sheet]] = models.Manager()
        key = models.CharField(max_length=80, primary_key=True)
        place = models.ForeignKey(Place, on_delete=models.PROTECT)

        class Meta:
            app_label = "samples"

    class Line(models.Model):
        objects: ClassVar[models.Manager[Line]] = models.Manager()
        sheet = models.ForeignKey(Sheet, on_delete=models.CASCADE)
        version = models.IntegerField()

        class Meta:
            app_label = "samples"


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    with no_subscriptions(), override_settings(EVENTSOURCING={"DISPATCHER": "none"}):
        with connection.schema_editor() as editor:
            for model in (Place, Sheet, Line):
                editor.create_model(model)
        try:
            yield
        finally:
            shadows.drop(shadows.tables_of((Sheet, Line)))
            with connection.schema_editor() as editor:
                for model in (Line, Sheet, Place):
                    editor.delete_model(model)


def listing(*, place: int = 1) -> None:
    """Declare a projection of two tables."""

    @handles(MoneyAdded)
    def added(self: Projection, event: MoneyAdded, recorded: RecordedEvent) -> None:
        sheet, _ = Sheet.objects.get_or_create(key=recorded.stream_key, defaults={"place_id": place})
        Line.objects.create(sheet=sheet, version=recorded.version)

    type("Sheets", (Projection,), {"name": NAME, "models": (Sheet, Line), "added": added})


def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something come between the last batch and the swap."""

    def swap(target: rebuilding.Target, wishes: Wishes) -> Swapped:
        wallet(adds=2)
        return swap_in(target, wishes)

    monkeypatch.setattr(rebuilding, "swap_in", swap)


@pytest.mark.parametrize("compare", [True, False])
def test_what_comes_in_the_swap_meets_the_keys_of_both(monkeypatch: pytest.MonkeyPatch, compare: bool) -> None:
    Place.objects.create(id=1)
    listing()
    wallet(adds=3)
    deliver()
    late(monkeypatch)
    result = rebuild(NAME, Wishes(compare=compare))
    assert result.swapped
    assert not result.differing
    assert (Sheet.objects.count(), Line.objects.count()) == (2, 5)
    connection.check_constraints()
    wallet(adds=1)
    deliver()
    assert (Sheet.objects.count(), Line.objects.count()) == (3, 6)
    with pytest.raises(models.ProtectedError):
        Place.objects.get().delete()
    assert rebuild(NAME, Wishes(only_compare=True)).differing == 0


def test_a_key_that_leads_nowhere_in_the_swap_keeps_the_new_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Place.objects.create(id=1)
    listing()
    deliver()
    listing(place=7)
    late(monkeypatch)
    with pytest.raises(RebuildFailed, match=r"(?i)breaks a constraint.*foreign key"):
        rebuild(NAME, Wishes())
    assert not Sheet.objects.exists()
