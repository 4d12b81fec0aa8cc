"""The checks of event-sourced models: what would change a row past its events is an error before it can."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.test.utils import isolate_apps, override_settings

from eventsourcing_app import command
from eventsourcing_app.checks import models as model_checks
from eventsourcing_app.identifiers import uuid7
from eventsourcing_app.models import EventSourcedManager, EventSourcedModel

# What is checked depends on the kind of database, though none is asked.
pytestmark = pytest.mark.usefixtures("django_db_setup")


def found(*checked: type[models.Model]) -> set[str]:
    """The ids of what is said about these models alone."""

    class Apps:
        @staticmethod
        def get_models() -> list[type[models.Model]]:
            return list(checked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_checks, "apps", Apps)
        return {(message.id or "").rpartition(".")[2] for message in model_checks.check_models()}


def model(**attributes: Any) -> type[models.Model]:
    body = {"__module__": __name__, "stream_type": "checks.thing", **attributes}
    body["Meta"] = type("Meta", (), {"app_label": "samples", "base_manager_name": "objects"})
    return type("Thing", (EventSourcedModel,), body)


@isolate_apps("tests.samples")
def test_a_sound_model_has_nothing_to_hear() -> None:
    assert found(model(amount=models.IntegerField(default=0), tags=models.JSONField(default=list))) == set()


@isolate_apps("tests.samples", "django.contrib.auth", "django.contrib.contenttypes")
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"stream_type": ""}, "E101"),
        ({"stream_type": "no good"}, "E101"),
        ({"stream_type": "x" * 201}, "E101"),
        ({"owner": models.ForeignKey(User, models.CASCADE, related_name="+")}, "E103"),
        ({"owner": models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")}, "E103"),
        ({"seen": models.DateTimeField(auto_now=True)}, "E104"),
        ({"made": models.DateField(auto_now_add=True)}, "E104"),
        ({"size": models.IntegerField(db_default=1)}, "E105"),
        ({"friends": models.ManyToManyField(User, related_name="+")}, "E106"),
        ({"token": models.UUIDField(default=uuid7)}, "E108"),
        ({"objects": models.Manager()}, "E109"),
        ({"code": models.FloatField(primary_key=True)}, "E110"),
        ({"code": models.CharField(primary_key=True, max_length=256)}, "E110"),
        ({"unrecorded": ("nothing",)}, "E111"),
        ({"stream_type": "samples.counted"}, "E115"),
    ],
)
def test_what_would_change_a_row_past_its_events_is_an_error(attributes: dict[str, Any], expected: str) -> None:
    assert expected in found(model(**attributes))


@isolate_apps("tests.samples", "django.contrib.auth")
@pytest.mark.parametrize("on_delete", [models.PROTECT, models.RESTRICT, models.DO_NOTHING])
def test_a_foreign_key_that_leaves_the_row_alone_is_fine(on_delete: Any) -> None:
    assert found(model(owner=models.ForeignKey(User, on_delete, related_name="+"))) == set()


@isolate_apps("tests.samples")
def test_two_models_may_not_share_their_streams() -> None:
    class First(EventSourcedModel):
        stream_type = "checks.shared"

        class Meta(EventSourcedModel.Meta):
            app_label = "samples"

    class Second(EventSourcedModel):
        stream_type = "checks.shared"

        class Meta(EventSourcedModel.Meta):
            app_label = "samples"

    assert found(First, Second) == {"E102"}


@isolate_apps("tests.samples")
def test_a_table_of_the_parent_is_an_error() -> None:
    class Parent(EventSourcedModel):
        stream_type = "checks.parent"

        class Meta(EventSourcedModel.Meta):
            app_label = "samples"

    class Child(Parent):
        stream_type = "checks.child"

        class Meta(EventSourcedModel.Meta):
            app_label = "samples"

    assert "E107" in found(Child)


@isolate_apps("tests.samples")
def test_a_command_that_cannot_be_described_is_an_error() -> None:
    @command
    def vague(self: Any, amount) -> None:  # type: ignore[no-untyped-def]
        pass

    assert found(model(vague=vague)) == {"E112"}


@isolate_apps("tests.samples", "django.contrib.contenttypes")
def test_a_generic_relation_is_an_error() -> None:
    class Note(models.Model):
        content_type = models.ForeignKey(ContentType, models.CASCADE)
        object_id = models.CharField(max_length=40)
        about = GenericForeignKey()

        class Meta:
            app_label = "samples"

    assert found(model(notes=GenericRelation(Note))) == {"E113"}


@isolate_apps("tests.samples")
def test_a_custom_manager_that_inherits_is_fine() -> None:
    class Rich(EventSourcedManager[Any]):
        pass

    class Account(EventSourcedModel):
        stream_type = "checks.account"
        objects: ClassVar[Any] = Rich()

        class Meta(EventSourcedModel.Meta):
            app_label = "samples"

    assert found(Account) == set()


def test_naive_times_are_an_error() -> None:
    with override_settings(USE_TZ=False):
        assert found() == {"E100"}
