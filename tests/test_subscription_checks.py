"""What the database knows of subscriptions and the code does not, or otherwise, is said before it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.test.utils import isolate_apps, override_settings

from eventsourcing_app import Projection, RecordedEvent, handles, subscriber
from eventsourcing_app.models import Subscription
from eventsourcing_app.subscriptions.definitions import ensure
from eventsourcing_app.subscriptions.registry import registry
from tests.reactions_sample.scene import no_subscriptions
from tests.samples.events import MoneyAdded, RateChanged
from tests.samples.models import OwnerTotal, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

NAME = "t.checked"


@pytest.fixture(autouse=True)
def own_subscriptions(db: None) -> Iterator[None]:
    Subscription.objects.all().delete()  # the demo's
    with no_subscriptions():
        yield


def ids() -> list[str]:
    """The ids that the checks of subscriptions and of the queue find now."""
    found = [each.id or "" for each in run_checks(tags=["eventsourcing"], databases=["default"])]
    return sorted(name for name in (each.partition(".")[2] for each in found) if name[1:3] in ("04", "08", "09"))


def declare(*what: type, **options: Any) -> None:
    @subscriber(NAME, *(what or (MoneyAdded,)), **options)
    def handle(event: object, recorded: RecordedEvent) -> None: ...


def of_subscriptions() -> list[str]:
    return [each for each in ids() if each[1:3] == "08"]


def test_what_is_as_it_was_needs_no_word() -> None:
    declare(segments=2)
    ensure(registry.all())
    assert of_subscriptions() == []


def test_one_that_no_code_knows_is_named_until_it_is_unsubscribed() -> None:
    declare()
    ensure(registry.all())
    registry.remove(NAME)
    assert of_subscriptions() == ["W080"]
    Subscription.objects.update(status="unsubscribed")
    assert of_subscriptions() == []


def test_a_definition_that_differs_from_what_is_stored_is_named() -> None:
    declare(MoneyAdded, RateChanged)
    ensure(registry.all())
    declare(segments=3)
    assert of_subscriptions() == ["W081", "W082"]
    Subscription.objects.update(kind="projection")
    assert of_subscriptions() == ["W081", "W082", "W083"]


def test_a_handler_of_run_time_that_cannot_be_imported_is_named() -> None:
    Subscription.objects.create(name=NAME, kind="subscriber", types=["samples.#"], handler="tests.nowhere.handle")
    assert of_subscriptions() == ["W084"]


def test_the_read_models_of_a_projection_are_its_own() -> None:
    class First(Projection):
        name = "t.first"
        models = (OwnerTotal, Wallet)

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None: ...

    type("Second", (First,), {"name": "t.second", "models": (OwnerTotal,)})

    assert of_subscriptions() == ["E080", "E081"]


@isolate_apps("tests.samples")
def test_a_read_model_may_have_a_column_that_is_named_as_the_logs() -> None:
    class Line(models.Model):
        stream_type = models.TextField()

        class Meta:
            app_label = "samples"

    class Lines(Projection):
        name = "t.lines"
        models = (Line,)

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None: ...

    assert of_subscriptions() == []


def test_a_topic_that_no_event_has_is_named() -> None:
    subscriber(NAME, "samples.money_added", "samples.*", "elsewhere.#")(lambda _event, _recorded: None)
    assert of_subscriptions() == []
    subscriber("t.misspelt", "samples.money_add")(lambda _event, _recorded: None)
    assert of_subscriptions() == ["W085"]


class Elsewhere:
    """A router that sends the read model to another database."""

    def db_for_write(self, model: type[models.Model], **_hints: object) -> str | None:
        return "other" if model is OwnerTotal else None


def test_a_read_model_in_another_database_is_named() -> None:
    class First(Projection):
        name = "t.first"
        models = (OwnerTotal,)

        @handles(MoneyAdded)
        def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None: ...

    with override_settings(DATABASE_ROUTERS=[Elsewhere()]):
        found = [each.id for each in run_checks(tags=["eventsourcing"]) if each.obj is OwnerTotal]
    assert found == ["eventsourcing_app.E050"]


def test_a_projection_has_no_option_of_subscribers_that_it_would_not_keep_to() -> None:
    for option in ({"batch": 500}, {"transactional": False}):
        with pytest.raises(ImproperlyConfigured, match=next(iter(option))):
            type("Third", (Projection,), {"name": "t.third", **option})


def test_a_method_handles_all_that_is_written_above_it() -> None:
    class Both(Projection):
        name = "t.both"

        @handles(MoneyAdded)
        @handles(RateChanged)
        def add(self, event: object, recorded: RecordedEvent) -> None: ...

    definition = registry.get("t.both")
    assert definition is not None
    assert {"samples.money_added", "samples.rate_changed"} <= definition.types
    with pytest.raises(ImproperlyConfigured, match="names no event"):
        handles()


def test_a_cluster_that_says_nothing_of_its_workers_has_one_for_each_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: value for name, value in settings.Q_CLUSTER.items() if name not in ("workers", "queue_limit")}
    with override_settings(EVENTSOURCING={"DISPATCHER": "django_q"}, Q_CLUSTER=given):
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        assert not {"W049", "W091"} & set(ids())
        monkeypatch.setattr("os.cpu_count", lambda: 16)
        assert "W049" in ids()
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        assert "W091" in ids()


@pytest.mark.parametrize(
    ("cluster", "found"),
    [
        ({"timeout": 10, "retry": 60}, "W048"),
        ({"workers": 2, "queue_limit": 40}, "W049"),
        ({"workers": 2, "bulk": 20}, "W049"),
        ({"scheduler": False}, "W090"),
        ({"workers": 1}, "W091"),
        ({"timeout": 59}, "W092"),
    ],
)
def test_a_queue_that_would_do_things_twice_or_not_at_all_is_named(cluster: dict[str, Any], found: str) -> None:
    given = {**settings.Q_CLUSTER, "workers": 4, "queue_limit": 8, "bulk": 1, "timeout": 60, "retry": 120}
    django_q = {"DISPATCHER": "django_q"}
    with override_settings(EVENTSOURCING=django_q, Q_CLUSTER=given):
        assert found not in ids()
    with override_settings(EVENTSOURCING=django_q, Q_CLUSTER={**given, **cluster}):
        assert found in ids()
