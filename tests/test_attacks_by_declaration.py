"""What a project declares or configures amiss is named by a check, before it does any harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import pytest
from django.apps.registry import Apps
from django.db import models
from django.test.utils import override_settings

from eventsourcing_app.checks import models as model_checks
from eventsourcing_app.checks.queue import check_queue
from eventsourcing_app.checks.settings import check_settings
from eventsourcing_app.models import EventSourcedModel
from tests.samples.models import Book, Contract, Counter, Folder, Wallet

if TYPE_CHECKING:
    from django.core.checks import CheckMessage


class Shouting(models.CharField):  # type: ignore[type-arg]  # cannot be subscripted at run time
    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        return str(getattr(model_instance, self.attname)).upper()


class LowerWhenStored(models.CharField):  # type: ignore[type-arg]  # cannot be subscripted at run time
    def get_prep_value(self, value: Any) -> Any:
        return str(super().get_prep_value(value)).lower()


class LowerWhenSent(models.CharField):  # type: ignore[type-arg]
    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return str(super().get_db_prep_value(value, connection, prepared)).lower()


class LowerWhenSaved(models.CharField):  # type: ignore[type-arg]
    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        return str(super().pre_save(model_instance, add)).lower()


class LowerWhenLoaded(models.CharField):  # type: ignore[type-arg]
    def from_db_value(self, value: str, *_args: object) -> str:
        return value.lower()


class LowerThroughout(models.CharField):  # type: ignore[type-arg]
    def to_python(self, value: Any) -> Any:
        return str(value).lower()


def ids(messages: list[CheckMessage]) -> list[str]:
    assert all(message.hint for message in messages)
    return [str(message.id).removeprefix("eventsourcing_app.") for message in messages]


def found(model: type[models.Model]) -> list[str]:
    with mock.patch.object(model_checks, "apps", mock.Mock(get_models=mock.Mock(return_value=[model]))):
        return ids(model_checks.check_models())


def declared(**attributes: Any) -> type[models.Model]:
    """A model that no other test sees."""
    meta = type("Meta", (), {"app_label": "samples", "apps": Apps()})
    given = {"__module__": __name__, "Meta": meta, "stream_type": "samples.declared", **attributes}
    return cast("type[models.Model]", type("Declared", (EventSourcedModel,), given))


@pytest.mark.parametrize("model", [Wallet, Counter, Book, Contract, Folder])
def test_the_sample_models_are_in_order(model: type[models.Model]) -> None:
    assert found(model) == []


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (models.DecimalField(max_digits=8, decimal_places=2, primary_key=True), ["E110"]),
        (models.DateTimeField(primary_key=True), ["E110"]),
        (models.FloatField(primary_key=True), ["E110"]),
        (LowerWhenStored(primary_key=True, max_length=9), ["E110"]),
        (LowerWhenSent(primary_key=True, max_length=9), ["E110"]),
        (LowerWhenSaved(primary_key=True, max_length=9), ["E110"]),
        (LowerWhenLoaded(primary_key=True, max_length=9), ["E110"]),
        (LowerThroughout(primary_key=True, max_length=9), []),
        (models.OneToOneField(Book, models.PROTECT, primary_key=True), []),
        (models.SlugField(primary_key=True), []),
        (models.SmallIntegerField(primary_key=True), []),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_key_that_could_be_spelled_in_several_ways_is_an_error(
    field: models.Field[Any, Any], expected: list[str]
) -> None:
    assert found(declared(code=field)) == expected


def test_a_field_that_computes_its_value_when_it_is_saved_is_an_error() -> None:
    assert found(declared(code=Shouting(max_length=9))) == ["E114"]
    assert found(declared(code=Shouting(max_length=9), unrecorded=("code",))) == []
    assert found(declared(scan=models.FileField(), day=models.DateField())) == []


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        (["django.middleware.common.CommonMiddleware"], ["W022"]),
        (["eventsourcing_app.middleware.EventContextMiddleware"], []),
        ([], []),  # nobody is served
    ],
)
def test_requests_whose_actor_nobody_tells_are_warned_of(middleware: list[str], expected: list[str]) -> None:
    with override_settings(MIDDLEWARE=middleware):
        assert ids(check_settings()) == expected


@pytest.mark.parametrize("sync", [True, False])
def test_a_queue_that_runs_its_tasks_where_they_are_put_is_warned_of(sync: bool) -> None:
    cluster = {"orm": "default", "timeout": 60, "retry": 120, "ack_failures": True, "save_limit": -1, "sync": sync}
    with override_settings(EVENTSOURCING={"DISPATCHER": "django_q"}, Q_CLUSTER=cluster):
        assert ("W047" in ids(check_queue())) is sync
