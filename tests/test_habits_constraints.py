"""A constraint of the table rejects the command, at its statement or at the commit, and no event is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction

from eventsourcing_app.exceptions import SpentInstance
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import failing, rebuild
from tests.samples.habits import Seat, Ship, Specimen

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)
TAKEN: dict[str, Any] = {"row": "A", "number": 1, "holder": "king"}


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    assert [drift for model in (Seat, Ship, Specimen) for drift in rebuild(model, check=True)] == []


def take(code: int, **arguments: Any) -> Seat:
    seat = Seat(code=code)
    seat.take(**arguments)
    seat.save()
    return seat


@pytest.mark.parametrize(
    ("constraint", "arguments"),
    [
        ("unique=True", {"row": "B", "number": 1}),
        ("unique_together", {"row": "A", "number": 2, "holder": "king"}),
        ("on a condition", {"row": "A", "number": 2, "holder": "king"}),
        ("over an expression", {"row": "A", "number": 2, "holder": "KING"}),
        ("check", {"row": "B", "number": 0}),
    ],
)
def test_a_constraint_rejects_the_command_and_stores_no_event(constraint: str, arguments: dict[str, Any]) -> None:
    take(1, **TAKEN)
    seat = Seat(code=2)
    seat.take(**arguments)
    with pytest.raises(IntegrityError), transaction.atomic():
        seat.save()
    assert Seat.objects.count() == StoredEvent.objects.count() == 1
    with pytest.raises(SpentInstance, match="IntegrityError"):
        seat.save()
    take(2, row="B", number=2, holder="king")


def test_what_django_knows_before_the_database_does_is_asked_by_full_clean() -> None:
    take(1, **TAKEN)
    attempts: list[dict[str, Any]] = [
        {"row": "A", "number": 2, "holder": "KING"},
        {"row": "B", "number": 1},
        {"row": "B", "number": 0},
    ]
    for arguments in attempts:
        seat = Seat(code=2)
        seat.take(**arguments)
        with pytest.raises(ValidationError):
            seat.full_clean()


def test_a_command_that_changes_a_row_is_rejected_alike() -> None:
    for name in ("argo", "beagle"):
        Ship.objects.perform_new(Ship.begin, name=name)
    beagle = Ship.objects.get(name="Beagle")
    with pytest.raises(IntegrityError), transaction.atomic():
        Ship.objects.perform(beagle.pk, Ship.rename, name="ARGO")
    assert beagle.history().count() == 1
    assert Ship.objects.get(pk=beagle.pk).name == "Beagle"


@pytest.mark.needs_postgres
@committing
def test_a_deferred_constraint_rejects_at_the_commit_and_spends_the_instance() -> None:
    constraint = models.UniqueConstraint(
        fields=("name",), name="samples_deferred", deferrable=models.Deferrable.DEFERRED
    )
    Specimen.objects.perform_new(Specimen.measure, name="one")
    with connection.schema_editor() as editor:
        editor.add_constraint(Specimen, constraint)
    try:
        again = Specimen()
        again.measure(name="one")
        with failing(IntegrityError, match="samples_deferred"), transaction.atomic():
            again.save()
            assert Specimen.objects.count() == 2
        assert Specimen.objects.count() == StoredEvent.objects.count() == 1
        with pytest.raises(SpentInstance, match="rolled back"):
            again.measure_again()
        with pytest.raises(IntegrityError, match="samples_deferred"):
            Specimen.objects.perform_new(Specimen.measure, name="one")
        assert StoredEvent.objects.count() == 1
    finally:
        with connection.schema_editor() as editor:
            editor.remove_constraint(Specimen, constraint)


@pytest.mark.needs_postgres
def test_an_exclusion_constraint_rejects_the_command() -> None:
    from django.contrib.postgres.constraints import ExclusionConstraint

    take(1, **TAKEN)
    excluded = ExclusionConstraint(
        name="samples_apart",
        expressions=[(models.Func(models.F("number"), models.F("number") + 5, function="int4range"), "&&")],
    )
    with connection.schema_editor() as editor:
        editor.add_constraint(Seat, excluded)
    seat = Seat(code=2)
    seat.take(row="B", number=3)
    with pytest.raises(IntegrityError, match="samples_apart"), transaction.atomic():
        seat.save()
    take(2, row="B", number=9)
    assert StoredEvent.objects.count() == 2
