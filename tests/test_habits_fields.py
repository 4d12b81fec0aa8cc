"""A field of any kind is read back as it was applied, on every database; a value that could not be is refused."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps

from eventsourcing_app import CommandRejected, applies
from eventsourcing_app.aggregates.saving.fit import require_fit
from eventsourcing_app.checks.database import check_log_database
from eventsourcing_app.exceptions import SpentInstance, UnrecordedChange
from eventsourcing_app.models import EventSourcedModel, StoredEvent
from tests.samples.factories import rebuild, run_sql
from tests.samples.habits import Mark, Seat, Size, Specimen, SpecimenMeasured
from tests.test_model_checks import found

pytestmark = pytest.mark.django_db
LARGEST = 2**63 - 1


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the event of a specimen assign whatever the test says, and save it."""

    def measure(**values: Any) -> Specimen:
        def assign(specimen: Specimen, event: SpecimenMeasured) -> None:
            for name, value in values.items():
                setattr(specimen, name, value)

        monkeypatch.setattr(Specimen, "_measured", assign)
        specimen = Specimen()
        specimen.measure()
        specimen.save()
        return specimen

    return measure


def numbered(cases: list[tuple[str, Any, Any]]) -> list[str]:
    """Names of cases whose values have no name that is the same in every process."""
    return [f"{name}-{number}" for number, (name, *_) in enumerate(cases)]


KEPT = [
    ("blob", b"\x00\xff", b"\x00\xff"),
    ("blob", memoryview(b"\x00\xff"), b"\x00\xff"),
    ("blob", bytearray(b"ab"), b"ab"),
    ("ratio", 0.1, 0.1),
    ("ratio", -0.0, 0.0),
    ("ratio", 3, 3.0),
    ("span", timedelta(days=-3, microseconds=7), timedelta(days=-3, microseconds=7)),
    ("moment", datetime(2026, 1, 1, 12, 0, 0, 1, UTC), datetime(2026, 1, 1, 12, 0, 0, 1, UTC)),
    ("moment", datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
    ("day", date(2026, 2, 28), date(2026, 2, 28)),
    ("day", date.min, date.min),
    ("clock", time(23, 59, 59, 999_999), time(23, 59, 59, 999_999)),
    ("address", "2001:db8::1", "2001:db8::1"),
    ("email", "ada@example.org", "ada@example.org"),
    ("url", "https://example.org/?q=ä", "https://example.org/?q=ä"),
    ("slug", "a-b", "a-b"),
    ("token", UUID(int=1), UUID(int=1)),
    ("size", Size.LARGE, "l"),
    ("size", "l", "l"),
    ("mark", Mark("abc"), Mark("abc")),
    ("prose", "ä\n\t\U0001f600", "ä\n\t\U0001f600"),
    ("name", "x" * 20, "x" * 20),
    ("scan", "x" * 20, "x" * 20),
    ("tree", {"a": [1, 1.5, True, None, {"b": "ä"}]}, {"a": [1, 1.5, True, None, {"b": "ä"}]}),
    ("tree", [], []),
    ("width", Decimal("9999.99"), Decimal("9999.99")),
    ("width", 5, Decimal(5)),
    ("height", -32768, -32768),
]


@pytest.mark.parametrize(("name", "value", "expected"), KEPT, ids=numbered(KEPT))
def test_a_value_is_kept_and_is_no_change_when_it_is_read(name: str, value: Any, expected: Any, measured: Any) -> None:
    held = measured(**{name: value})
    loaded = Specimen.objects.get()
    assert getattr(loaded, name) == expected
    assert list(rebuild(Specimen, check=True)) == []
    for instance in (held, loaded):
        instance.full_clean()
        instance.refresh_from_db()
        instance.measure_again()
        instance.save()
    assert list(rebuild(Specimen, check=True)) == []


REFUSED = [
    ("ratio", float("nan"), "finite"),
    ("ratio", float("inf"), "finite"),
    ("ratio", 10**400, "finite"),
    ("ratio", "much", "finite"),
    ("prose", "a\x00b", "NUL"),
    ("name", "a\x00b", "NUL"),
    ("slug", "\ud800", "surrogates"),
    ("scan", "a\x00b", "NUL"),
    ("scan", "x" * 21, "at most 20 characters"),
    ("email", "x" * 255, "at most 254 characters"),
    ("url", "x" * 201, "at most 200 characters"),
    ("size", "xl", "at most 1 characters"),
    ("mark", Mark("x" * 10), "at most 9 characters"),
    ("mark", Mark("\x00"), "NUL"),
    ("tree", {"a": "b\x00"}, "JSON"),
    ("tree", {"a\x00": 1}, "JSON"),
    ("tree", ["\udfff"], "JSON"),
    ("tree", [[float("nan")]], "JSON"),
    ("tree", {"a": float("-inf")}, "JSON"),
    ("moment", datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001 - that is the point
    ("moment", date(2026, 1, 1), "time zone"),
    ("span", timedelta.max, "microseconds"),
    ("width", Decimal("0.001"), "digits"),
    ("width", Decimal("NaN"), "digits"),
    ("height", 32768, "whole numbers"),
    ("height", LARGEST + 1, "whole numbers"),
    ("height", 1.5, "whole numbers"),
]


@pytest.mark.parametrize(("name", "value", "limit"), REFUSED, ids=numbered(REFUSED))
def test_a_value_that_a_database_would_change_or_refuse_rejects_the_command(
    name: str, value: Any, limit: str, measured: Any
) -> None:
    with pytest.raises(CommandRejected, match=f"Specimen.{name} takes .*{limit}") as refused:
        measured(**{name: value})
    assert refused.value.code == "does_not_fit"
    assert not StoredEvent.objects.exists()
    assert not Specimen.objects.exists()


@pytest.mark.parametrize("code", [2**31, -(2**31) - 1])
def test_a_key_that_its_column_cannot_hold_rejects_the_command(code: int) -> None:
    seat = Seat(code=code)
    seat.take(row="A", number=1)
    with pytest.raises(CommandRejected, match=r"Seat.code takes whole numbers"):
        seat.save()


def test_a_custom_field_may_have_a_column_of_its_own() -> None:
    class Bare(models.IntegerField):  # type: ignore[type-arg]  # cannot be subscripted at run time
        def get_internal_type(self) -> str:
            return "Bare"

    with isolate_apps("tests.samples"):
        body = {"__module__": __name__, "stream_type": "checks.bare", "count": Bare(default=0)}
        body["Meta"] = type("Meta", (), {"app_label": "samples"})
        body["_measured"] = applies(SpecimenMeasured)(lambda self, event: setattr(self, "count", 3))
        bare: Any = type("Barely", (EventSourcedModel,), body)
        assert found(bare) == set()
        instance = bare()
        instance.record(SpecimenMeasured())
        assert instance.count == 3
        require_fit(instance)


def test_a_view_of_bytes_becomes_the_bytes_that_it_shows(measured: Any) -> None:
    shown = bytearray(b"ab")
    held = measured(blob=memoryview(shown))
    shown[0] = 0
    assert held.blob == Specimen.objects.get().blob == b"ab"
    held.blob = memoryview(b"other")
    with pytest.raises(UnrecordedChange, match="blob"):
        held.measure_again()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda instance: pickle.loads(pickle.dumps(instance))])
def test_bytes_go_along_with_a_copy(way: Any, measured: Any) -> None:
    held = way(measured(blob=memoryview(b"ab")))
    held.measure_again()
    held.save()
    assert Specimen.objects.get().blob == b"ab"


def test_a_value_that_equals_nothing_but_itself_is_refused(measured: Any) -> None:
    class Nameless:
        pass

    with pytest.raises(TypeError, match=r"Specimen.mark holds a Nameless, which has no __eq__"):
        measured(mark=Nameless())


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 0), ("width", Decimal("0.0")), ("size", "s"), ("name", "anything"), ("tree", {})],
)
def test_an_equal_value_of_another_type_is_no_change(name: str, value: Any, measured: Any) -> None:
    held = measured()
    setattr(held, name, value)
    held.measure_again()
    held.save()
    assert list(rebuild(Specimen, check=True)) == []


def test_in_json_true_is_not_one(measured: Any) -> None:
    held = measured(tree=1)
    held.tree = True
    with pytest.raises(UnrecordedChange, match="tree"):
        held.measure_again()


def test_an_expression_outside_applies_is_noticed_and_inside_refused(measured: Any) -> None:
    held = measured()
    held.height = models.F("height") + 1
    with pytest.raises(UnrecordedChange, match="height"):
        held.save()
    for expression in (models.Value(3), models.F("height") + 1, models.functions.Now()):
        with pytest.raises(TypeError, match="expression"):
            measured(height=expression)


# Columns that the database computes


def test_a_generated_column_is_read_as_it_is_now(measured: Any) -> None:
    held = measured(height=4)
    assert held.doubled == Specimen.objects.get().doubled == 8
    assert Specimen.objects.filter(doubled=8).count() == 1
    run_sql("UPDATE samples_specimen SET height = 5")
    (drift,) = rebuild(Specimen, check=True)
    assert drift.fields == {"height": (5, 4)}
    list(rebuild(Specimen, check=False))
    assert Specimen.objects.get().doubled == 8


def test_a_generated_column_follows_every_save(monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(specimen: Specimen, event: SpecimenMeasured) -> None:
        specimen.height += 1

    monkeypatch.setattr(Specimen, "_measured", grow)
    held = Specimen()
    held.measure()
    for height in (2, 3):
        held.save()
        assert (held.height, held.doubled) == (height, height * 2)
        held.measure_again()
    Specimen.objects.perform(held.pk, Specimen.measure_again)
    held = Specimen.objects.get()
    assert held.doubled == 8
    held.measure_again()
    held.save()
    assert held.doubled == 10
    held.looks = 1
    held.save(update_fields=["looks"])
    assert held.doubled == 10


# A change of the table


@pytest.mark.django_db(transaction=True)
def test_a_column_that_is_altered_keeps_state_and_history() -> None:
    Specimen.objects.perform_new(Specimen.measure, name="x" * 20)
    narrow = Specimen._meta.get_field("name")
    wide: Any = models.CharField(max_length=30, default="anything")
    wide.set_attributes_from_name("name")
    wide.model = Specimen
    for before, after in ((narrow, wide), (wide, narrow)):
        with connection.schema_editor() as editor:
            editor.alter_field(Specimen, before, after)
        held = Specimen.objects.get()
        held.measure_again(name="y" * 20)
        held.save()
    assert Specimen.objects.get().version == 3
    assert list(rebuild(Specimen, check=True)) == []
    assert [found for found in check_log_database(databases=["default"]) if found.is_serious()] == []


# PostgreSQL's own


@pytest.mark.needs_postgres
def test_arrays_and_ranges_are_kept_and_watched() -> None:
    from django.contrib.postgres.fields import ArrayField, DateRangeField, IntegerRangeField
    from django.db.backends.postgresql.psycopg_any import DateRange, NumericRange

    values: dict[str, Any] = {
        "marks": ["a", "b"],
        "grid": [[1, 2], [3, 4]],
        "span": NumericRange(1, 5),
        "days": DateRange(date(2026, 1, 1), date(2026, 2, 1)),
    }

    @applies(SpecimenMeasured)
    def measured(self: Any, event: SpecimenMeasured) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    with isolate_apps("tests.samples"):
        body = {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "samples"}),
            "stream_type": "checks.postgres",
            "marks": ArrayField(models.CharField(max_length=3), default=list),
            "grid": ArrayField(ArrayField(models.IntegerField()), default=list),
            "span": IntegerRangeField(null=True),
            "days": DateRangeField(null=True),
            "measured": measured,
        }
        own: Any = type("OnlyHere", (EventSourcedModel,), body)
        assert found(own) == set()
        with connection.schema_editor() as editor:
            editor.create_model(own)
        held = own()
        held.record(SpecimenMeasured())
        held.save()
        loaded = own.objects.get()
        assert {name: getattr(loaded, name) for name in values} == values
        assert list(rebuild(own, check=True)) == []
        assert own.objects.filter(marks__contains=["a"], span__contains=3).count() == 1
        loaded.marks.append("c")
        with pytest.raises(UnrecordedChange, match="marks"):
            loaded.save()
        values["span"] = NumericRange(2, 6)
        loaded.refresh_from_db()
        loaded.record(SpecimenMeasured())
        loaded.save()
        assert own.objects.get().span == NumericRange(2, 6)


def test_a_value_that_does_not_fit_spends_the_instance_and_leaves_the_row() -> None:
    opened = Specimen.objects.perform_new(Specimen.measure, name="x" * 20)
    held = Specimen.objects.get(pk=opened.pk)
    held.measure_again(name="y" * 21)
    with pytest.raises(CommandRejected):
        held.save()
    with pytest.raises(SpentInstance):
        held.save()
    assert Specimen.objects.get().version == 1
