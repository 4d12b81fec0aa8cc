"""Mixins, overriding and proxies mean to an event-sourced model what they mean to any; a second table is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from django.test.utils import isolate_apps, override_settings

from eventsourcing_app import CommandRejected, applies, command
from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.exceptions import DirectWriteRefused, UnrecordedChange
from eventsourcing_app.models import EventSourcedManager, EventSourcedModel, StoredEvent
from tests.samples.factories import add, open_wallet, rebuild, versions
from tests.samples.habits import HABITS, Fleet, Named, Naming, Ship
from tests.samples.models import Customer, Wallet
from tests.test_model_checks import found

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    if not connection.needs_rollback:
        assert [drift for model in HABITS for drift in rebuild(model, check=True)] == []


def launch(name: str) -> Ship:
    ship: Ship = Ship.objects.get(pk=Ship.objects.perform_new(Ship.begin, name=name).pk)
    return ship


class Of:
    """The ``Meta`` of models that are made in a test."""

    app_label = "samples"


# Mixins


def test_fields_commands_and_applies_come_from_mixins() -> None:
    ship = launch("argo")
    assert ship.name == "Argo"
    ship.description = "fast"
    ship.save(update_fields=["description"])
    assert Ship.objects.at(ship.pk, version=1).name == "Argo"
    assert set(commands_of(Ship)) == {"begin", "rename"}


def test_an_overridden_command_decides_and_may_call_its_parent() -> None:
    ship = launch("argo")
    with pytest.raises(CommandRejected) as refused:
        Ship.objects.perform(ship.pk, Ship.rename, name="Titanic")
    assert refused.value.code == "unlucky"
    Ship.objects.perform(ship.pk, Ship.rename, name="beagle")
    assert Ship.objects.get().name == "Beagle"
    assert versions(ship) == [1, 2]


def test_an_overridden_command_of_the_parent_is_none_of_the_child() -> None:
    ship = launch("argo")
    for other in (Naming.rename, Naming.scuttle):
        with pytest.raises(TypeError, match="no command of Ship"):
            Ship.objects.perform(ship.pk, other, *(["x"] if other is Naming.rename else []))


@isolate_apps("tests.samples")
def test_an_override_that_forgets_its_decorator_is_an_error() -> None:
    class Forgetful(Naming):
        stream_type = "checks.forgetful"

        class Meta(Of):
            pass

        def rename(self, name: str) -> None:
            self.name = name

    class Without(Naming):
        stream_type = "checks.without"
        rename = None  # type: ignore[assignment]

        class Meta(Of):
            pass

    assert found(Forgetful) == {"E119"}
    assert found(Without) == set()
    assert set(commands_of(Without)) == {"begin", "scuttle"}


@isolate_apps("tests.samples")
def test_an_overridden_apply_keeps_its_event() -> None:
    class Loud(Naming):
        stream_type = "checks.loud"

        class Meta(Of):
            pass

        def _named(self, event: Named) -> None:
            self.name = event.name.upper()

    loud = Loud()
    loud.begin(name="argo")
    assert loud.name == "ARGO"


@isolate_apps("tests.samples")
@pytest.mark.parametrize("first", [True, False], ids=["the mixin first", "the base first"])
@pytest.mark.parametrize("name", ["id", "code"])
def test_the_key_of_a_mixin_is_the_key(first: bool, name: str) -> None:
    mixin = type(
        "Keyed",
        (models.Model,),
        {
            "__module__": __name__,
            name: models.CharField(primary_key=True, max_length=7),
            "Meta": type("Meta", (Of,), {"abstract": True}),
        },
    )
    bases = (mixin, EventSourcedModel) if first else (EventSourcedModel, mixin)
    keyed: Any = type("WithKey", bases, {"__module__": __name__, "Meta": Of, "stream_type": "checks.keyed"})
    key = keyed._meta.pk
    assert (key.name, key.max_length, key.model) == (name, 7, keyed)
    assert [field.name for field in keyed._meta.fields if field.primary_key] == [name]
    assert found(keyed) == set()


@isolate_apps("tests.samples")
def test_an_initializer_of_ones_own_may_note_but_not_assign() -> None:
    class Noting(Wallet):
        class Meta(Of):
            proxy = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.was = self.owner

    class Meddling(Wallet):
        class Meta(Of):
            proxy = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.owner = self.owner.upper()

    open_wallet("Ada")
    noting = Noting.objects.get()
    assert noting.was == "Ada"
    add(noting).save()
    with pytest.raises(UnrecordedChange, match="owner"):
        Meddling.objects.get()


# Names


@isolate_apps("tests.samples")
@pytest.mark.parametrize("name", ["version", "ended", "changed_at", "position", "history", "record", "stream_key"])
def test_a_field_with_a_name_of_the_base_is_an_error(name: str) -> None:
    body = {"__module__": __name__, "Meta": Of, "stream_type": "checks.named", name: models.CharField(max_length=9)}
    assert "E120" in found(type("Taking", (EventSourcedModel,), body))


@isolate_apps("tests.samples")
def test_a_command_with_a_name_of_the_base_is_an_error() -> None:
    @command
    def history(self: Any, day: int) -> None:
        pass

    body = {"__module__": __name__, "Meta": Of, "stream_type": "checks.named", "history": history}
    assert found(type("Commanding", (EventSourcedModel,), body)) == {"E120"}


@isolate_apps("tests.samples")
@pytest.mark.parametrize("names", [("version",), ("ended",), ("id",)])
def test_a_column_of_the_base_without_history_is_an_error(names: tuple[str, ...]) -> None:
    body = {"__module__": __name__, "Meta": Of, "stream_type": "checks.outside", "unrecorded": names}
    assert found(type("Outside", (EventSourcedModel,), body)) == {"E122"}


@isolate_apps("tests.samples")
def test_an_image_that_measures_itself_is_an_error() -> None:
    body = {
        "__module__": __name__,
        "Meta": Of,
        "stream_type": "checks.image",
        "wide": models.IntegerField(default=0),
        "image": models.ImageField(width_field="wide"),
    }
    assert found(type("Pictured", (EventSourcedModel,), body)) == {"E121"}


# Proxies


def test_a_proxy_is_the_same_aggregate() -> None:
    ship = launch("argo")
    fleet: Any = Fleet.objects.get()
    assert issubclass(type(fleet), Ship)
    assert fleet == ship
    assert fleet.stream_key == ship.stream_key
    fleet.promote()
    fleet.save()
    Fleet.objects.perform(ship.pk, Fleet.rename, name="beagle")
    assert Ship.objects.get().name == "Beagle"
    assert versions(ship) == [1, 2, 3]
    assert Fleet.objects.at(ship.pk, version=2).name == "Flagship Argo"
    assert {event.stream_type for event in StoredEvent.objects.all()} == {"samples.ship"}
    assert ContentType.objects.get_for_model(Fleet) == ContentType.objects.get_for_model(Ship)


def test_commands_of_a_proxy_are_its_own() -> None:
    ship = launch("argo")
    assert "promote" not in commands_of(Ship)
    with pytest.raises(TypeError, match="no command of Ship"):
        Ship.objects.perform(ship.pk, Fleet.promote)
    new = Fleet.objects.perform_new(Fleet.begin, name="beagle")
    assert Ship.objects.get(pk=new.pk).name == "Beagle"
    models.QuerySet(Ship).filter(pk=new.pk)._raw_delete("default")
    (drift,) = rebuild(Fleet, check=False)
    assert (drift.problem, Fleet.objects.get(pk=new.pk).name) == ("missing", "Beagle")


def test_a_proxy_refuses_what_its_model_refuses() -> None:
    launch("argo")
    fleet = Fleet.objects.get()
    for write in (fleet.delete, Fleet.objects.all().delete, Fleet.objects.create, fleet.save_base):
        with pytest.raises(DirectWriteRefused):
            write()
    fleet.name = "Titanic"
    with pytest.raises(UnrecordedChange):
        fleet.promote()


def test_a_proxy_is_in_order() -> None:
    assert found(Ship, Fleet) == set()


@isolate_apps("tests.samples")
@pytest.mark.parametrize(
    "what",
    [
        *("stream_type", "stream_type_aliases", "unrecorded", "_christened", "_other"),
        *("remove_row_at_end", "snapshot_version", "adoption_event"),
    ],
)
def test_a_proxy_that_means_something_else_by_the_same_stream_is_an_error(what: str) -> None:
    @applies(Named)
    def other(self: Ship, event: Named) -> None:
        self.name = "other"

    own: object = {
        "stream_type": "checks.other",
        "stream_type_aliases": ("checks.older",),
        "unrecorded": (),
        "_christened": other,
        "_other": other,
        "remove_row_at_end": True,
        "snapshot_version": 2,
        "adoption_event": Named,
    }[what]
    body = {"__module__": __name__, "Meta": type("Meta", (Of,), {"proxy": True}), what: own}
    assert found(type("Differing", (Ship,), body)) == {"E118"}


# A table of the parent


@isolate_apps("tests.samples")
@pytest.mark.parametrize("bases", [(Wallet,), (Customer, EventSourcedModel), (EventSourcedModel, Customer)])
def test_a_second_table_is_an_error(bases: tuple[type, ...]) -> None:
    body = {"__module__": __name__, "Meta": Of, "stream_type": "checks.second"}
    body["objects"] = EventSourcedManager()
    assert "E107" in found(type("Second", bases, body))


@isolate_apps("tests.samples")
def test_an_abstract_parent_of_several_models_gives_each_its_own_streams() -> None:
    class Boat(Naming):
        stream_type = "checks.boat"
        rows: ClassVar[Any] = EventSourcedManager()

        class Meta(Of):
            pass

    class Plane(Naming):
        stream_type = "checks.plane"

        class Meta(Of):
            pass

    class Nameless(Naming):
        class Meta(Of):
            pass

    assert found(Boat, Plane) == set()
    assert found(Nameless) == {"E101"}


# Tables that Django does not manage, and models that give way


@pytest.mark.django_db(transaction=True)
@isolate_apps("tests.samples")
def test_a_table_that_django_does_not_manage_is_written_as_any() -> None:
    class Legacy(Naming):
        stream_type = "checks.legacy"

        class Meta(Of):
            managed = False
            db_table = "legacy"

    assert found(Legacy) == set()
    with connection.schema_editor() as editor:
        editor.create_model(Legacy)
    try:
        pk = Legacy.objects.perform_new(Legacy.begin, name="argo").pk
        Legacy.objects.perform(pk, Legacy.rename, name="beagle")
        assert (Legacy.objects.get().name, versions(Legacy.objects.get())) == ("beagle", [1, 2])
        assert list(rebuild(Legacy, check=True)) == []
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Legacy)


@isolate_apps("tests.samples")
def test_a_model_that_is_swapped_for_another_says_so() -> None:
    with override_settings(CHECKS_THING="samples.Wallet"):

        class Thing(Naming):
            stream_type = "checks.thing"

            class Meta(Of):
                swappable = "CHECKS_THING"

        with pytest.raises(AttributeError, match=r"swapped for 'samples.Wallet'"):
            _ = Thing.objects
