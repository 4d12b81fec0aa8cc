"""A row that is older than its history accepts no command: the history would begin in the middle."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.db import connection, models, transaction

from eventsourcing_app import publish
from eventsourcing_app.aggregates.adoption.adopt import adopt
from eventsourcing_app.api.problems import exception_handler
from eventsourcing_app.checks import histories
from eventsourcing_app.exceptions import AdoptionRefused, ConcurrencyError, DirectWriteRefused, NotAdopted
from eventsourcing_app.models import StoredEvent
from tests.samples.catalogue import Article, ArticleRenamed
from tests.samples.events import RateChanged
from tests.samples.factories import failing, list_book, open_wallet, run_sql
from tests.samples.models import Book, Wallet
from tests.test_adopt import put, require_clean, rows

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


def by_command(pk: int) -> None:
    article = Article.objects.get(pk=pk)
    article.rename(name="Stool")
    article.save()


def by_recording(pk: int) -> None:
    Article.objects.get(pk=pk).record(ArticleRenamed(name="Stool"))


def partly_loaded(pk: int) -> None:
    article = Article.objects.only("name").get(pk=pk)
    article.rename(name="Stool")
    article.save()


def by_perform(pk: int) -> None:
    Article.objects.perform(pk, Article.rename, name="Stool")


def by_once(pk: int) -> None:
    Article.objects.once("k").perform(pk, Article.rename, name="Stool")


def by_locked(pk: int) -> None:
    with Article.objects.locked([pk]) as (article,):
        article.rename(name="Stool")


def by_save_all(pk: int) -> None:
    articles = list(Article.objects.filter(pk=pk))
    for article in articles:
        article.rename(name="Stool")
    Article.objects.save_all(articles)


DOORS: tuple[Callable[[int], None], ...] = (
    by_command,
    by_recording,
    partly_loaded,
    by_perform,
    by_once,
    by_locked,
    by_save_all,
)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_command_is_refused_with_what_to_run_and_accepted_afterwards(door: Callable[[int], None]) -> None:
    (pk,) = put()
    before = rows()
    with pytest.raises(NotAdopted, match=r"manage\.py adopt samples\.Article") as caught:
        door(pk)
    assert (caught.value.model, caught.value.pk) == ("samples.Article", pk)
    assert rows() == before
    assert not StoredEvent.objects.exists()
    adopt(Article)
    door(pk)
    assert list(StoredEvent.objects.values_list("version", flat=True)) == ([1] if door is by_recording else [1, 2])


def test_an_instance_that_was_loaded_before_the_row_was_adopted_is_refused_too() -> None:
    put()
    article = Article.objects.get()
    adopt(Article)
    with pytest.raises(NotAdopted, match="load it again"):
        article.rename(name="Stool")
    article.refresh_from_db()
    article.rename(name="Stool")
    article.save()
    assert article.version == 2


def test_a_command_beside_others_that_are_adopted_saves_none() -> None:
    put()
    adopt(Article)
    put()
    keys = list(Article.objects.order_by("pk").values_list("pk", flat=True))
    with failing(NotAdopted), Article.objects.locked(keys) as articles:
        for article in articles:
            article.rename(name="Stool")
    assert StoredEvent.objects.count() == 1
    assert set(Article.objects.values_list("name", flat=True)) == {"Chair"}


def test_a_history_is_not_begun_under_the_key_of_such_a_row() -> None:
    plain: models.QuerySet[Book] = models.QuerySet(Book)
    plain.bulk_create([Book(isbn="9", title="Emma")])
    with failing(ConcurrencyError), transaction.atomic():
        list_book("9")
    assert not StoredEvent.objects.exists()


def test_such_a_row_can_be_read_and_its_columns_without_history_written() -> None:
    (pk,) = put()
    article = Article.objects.get(pk=pk)
    article.hits = 4
    article.save(update_fields=["hits"])
    assert Article.objects.filter(hits=4).update(hits=5) == 1
    with pytest.raises(DirectWriteRefused):
        Article.objects.filter(pk=pk).update(name="Stool")
    assert list(article.history()) == []
    adopt(Article)
    require_clean(1)
    assert Article.objects.get().hits == 5


def test_over_http_it_is_not_there_for_the_moment() -> None:
    response = exception_handler(NotAdopted("samples.Article", 7), {})
    assert response is not None
    assert (response.status_code, response.data["code"], response.headers["Retry-After"]) == (503, "not_adopted", "60")


@pytest.mark.parametrize(
    "error",
    [NotAdopted("a.B", 7), AdoptionRefused("a.B", 7, "name is 1, by its event 2", {"name": (1, 2)})],
    ids=lambda error: type(error).__name__,
)
def test_the_errors_keep_their_facts_when_they_are_pickled(error: Any) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))


# Checks


def found() -> dict[str, list[str]]:
    """What the checks of the database say about histories: the message by id."""
    said: dict[str, list[str]] = {}
    for message in run_checks(databases=["default"], tags=["eventsourcing"]):
        name = (message.id or "").rpartition(".")[2]
        if name in ("W006", "W007"):
            said.setdefault(name, []).append(f"{message.msg} {message.hint}")
    return said


def test_rows_to_be_adopted_are_named_until_there_are_none() -> None:
    open_wallet()
    assert found() == {}
    put()
    (message,) = found()["W006"]
    assert "samples.Article" in message
    assert "manage.py adopt samples.Article" in message
    adopt(Article)
    assert found() == {}


def test_only_the_database_of_the_log_is_asked_and_only_if_it_is_checked() -> None:
    put()
    assert histories.check_histories(databases=None) == []
    assert histories.check_histories(databases=["other"]) == []


@pytest.mark.parametrize("statement", ["DROP TABLE samples_article", "ALTER TABLE samples_article RENAME version TO v"])
def test_before_the_migration_there_is_nothing_to_say(statement: str) -> None:
    run_sql(statement)
    open_wallet()
    assert found() == {}
    assert not connection.needs_rollback


def test_streams_of_no_model_are_named_unless_their_name_is_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    open_wallet()
    publish(RateChanged(currency="EUR", rate=Decimal(1)))
    assert found() == {}
    monkeypatch.setattr(Wallet, "stream_type", "samples.purse")
    (message,) = found()["W007"]
    assert "'samples.wallet'" in message
    assert "stream_type_aliases" in message
    monkeypatch.setattr(Wallet, "stream_type_aliases", ("samples.wallet",))
    assert found() == {}
