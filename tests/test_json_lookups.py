"""Data and metadata are kept as the text that was hashed, and still queried as JSON, alike on both databases."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db.models import Count, F, Max, OuterRef, Q, Subquery
from django.db.models.fields.json import KT

from eventsourcing_app import context, publish
from eventsourcing_app.models import StoredEvent
from tests.samples.events import RateChanged
from tests.samples.factories import begin_counter, faults, list_book, open_wallet, stored_texts
from tests.samples.models import Book, Wallet

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def log(db: None) -> None:
    """Nine events."""
    with context(request_id="r1", trace={"id": "t", "tags": ["x", "y"], "ratio": 0.5}):
        open_wallet("Ada", "50.00", "7.5")
    with context(request_id="r2", note=None):
        wallet = Wallet()
        wallet.open(owner="Adam")
        wallet.label(labels=["a", "b"])
        wallet.save()
    counter = begin_counter(by=10)
    counter.count(by=9)
    counter.save()
    list_book("1", "Émma")
    publish(RateChanged(currency="EUR", rate=Decimal("1.10")))


def found(*conditions: Q, **lookups: object) -> list[str]:
    events = StoredEvent.objects.filter(*conditions, **lookups).order_by("position")
    return [stored.type.removeprefix("samples.") for stored in events]


@pytest.mark.parametrize(
    ("lookups", "types"),
    [
        ({"data__amount": "50.00"}, ["money_added"]),
        ({"data__amount": "50"}, []),
        ({"data__amount__startswith": "7"}, ["money_added"]),
        ({"data__amount__in": ["50.00", "7.5", "1"]}, ["money_added", "money_added"]),
        ({"data__owner__startswith": "Ada"}, ["wallet_opened", "wallet_opened"]),
        ({"data__owner__icontains": "DAM"}, ["wallet_opened"]),
        ({"data__by": 10}, ["counted"]),
        ({"data__by": "10"}, []),
        ({"data__by__gt": 9}, ["counted"]),
        ({"data__by__gte": 9, "data__by__lt": 10}, ["counted"]),
        ({"data__labels": ["a", "b"]}, ["wallet_labelled"]),
        ({"data__labels__1": "b"}, ["wallet_labelled"]),
        ({"data__labels__isnull": False}, ["wallet_labelled"]),
        ({"data__title": "Émma"}, ["book_listed"]),
        ({"data__has_key": "rate"}, ["rate_changed"]),
        ({"data__has_any_keys": ["rate", "labels"]}, ["wallet_labelled", "rate_changed"]),
        ({"metadata__request_id": "r1"}, ["wallet_opened", "money_added", "money_added"]),
        ({"metadata__request_id__in": ["r2", "r3"]}, ["wallet_opened", "wallet_labelled"]),
        ({"metadata__trace__tags__0": "x", "data__owner": "Ada"}, ["wallet_opened"]),
        ({"metadata__trace__ratio": 0.5, "data__owner": "Ada"}, ["wallet_opened"]),
        ({"metadata__trace__id__startswith": "t", "type": "samples.money_added"}, ["money_added", "money_added"]),
        ({"metadata__note": None}, ["wallet_opened", "wallet_labelled"]),
        ({"metadata__request_id__isnull": True}, ["counted", "counted", "book_listed", "rate_changed"]),
        ({"metadata": {}}, ["counted", "counted", "book_listed", "rate_changed"]),
        ({"data__nothing__isnull": False}, []),
        ({"data__isnull": True}, []),
    ],
)
def test_lookups_find_the_same_on_both_databases(lookups: dict[str, object], types: list[str]) -> None:
    assert found(**lookups) == types


def test_conditions_combine() -> None:
    assert found(Q(data__amount="50.00") | Q(data__by=9)) == ["money_added", "counted"]
    assert found(~Q(metadata__has_key="request_id"), data__has_key="title") == ["book_listed"]
    assert found(data__title=F("data__title")) == ["book_listed"]


@pytest.mark.needs_postgres
def test_containment_is_asked_of_postgresql() -> None:
    assert found(data__contains={"amount": "50.00"}) == ["money_added"]
    assert found(data__labels__contains=["b"]) == ["wallet_labelled"]
    assert found(metadata__contains={"trace": {"tags": ["y"]}}, data__owner="Ada") == ["wallet_opened"]
    assert found(data__contained_by={"title": "Émma", "isbn": "1"}) == ["book_listed"]


def test_whole_objects_are_compared_as_values() -> None:
    assert found(data={"rate": "1.10", "currency": "EUR"}) == ["rate_changed"]
    assert found(data={"title": "Émma"}) == ["book_listed"]


def test_selected_values_keep_their_type() -> None:
    amounts = StoredEvent.objects.filter(type="samples.money_added").order_by("position")
    assert list(amounts.values_list("data__amount", flat=True)) == ["50.00", "7.5"]
    assert amounts.annotate(amount=F("data__amount")).values_list("amount", flat=True)[0] == "50.00"
    assert list(amounts.annotate(amount=KT("data__amount")).values_list("amount", flat=True)) == ["50.00", "7.5"]


def test_events_are_ordered_by_what_is_in_them() -> None:
    counted = StoredEvent.objects.filter(type="samples.counted")
    assert [stored.data["by"] for stored in counted.order_by("data__by")] == [9, 10]
    assert [stored.data["by"] for stored in counted.order_by("-data__by")] == [10, 9]
    owners = StoredEvent.objects.filter(data__has_key="owner").order_by(KT("data__owner").desc())
    assert [stored.data["owner"] for stored in owners] == ["Adam", "Ada"]


def test_events_are_grouped_by_what_is_in_them() -> None:
    groups = StoredEvent.objects.values("metadata__request_id").annotate(n=Count("pk"), latest=Max("position"))
    assert {(group["metadata__request_id"], group["n"]) for group in groups} == {("r1", 3), ("r2", 2), (None, 4)}
    whole = StoredEvent.objects.values("metadata").annotate(n=Count("pk"))
    assert sorted((len(group["metadata"]), group["n"]) for group in whole) == [(0, 4), (2, 2), (2, 3)]
    assert {group["metadata"].get("request_id") for group in whole} == {None, "r1", "r2"}


def test_values_are_plain_json() -> None:
    amounts = StoredEvent.objects.filter(type="samples.money_added").order_by("position")
    assert list(amounts.values_list(KT("data__amount"), flat=True)) == ["50.00", "7.5"]
    assert list(amounts.values_list("data", flat=True)) == [
        {"amount": "50.00", "reference": ""},
        {"amount": "7.5", "reference": ""},
    ]
    assert amounts.values("metadata__trace__tags")[0] == {"metadata__trace__tags": ["x", "y"]}
    assert amounts.only("data")[0].data["amount"] == "50.00"
    assert amounts.defer("data")[0].data["amount"] == "50.00"


def test_distinct_and_subqueries() -> None:
    ids = StoredEvent.objects.filter(metadata__has_key="request_id").values_list("metadata__request_id", flat=True)
    assert set(ids.order_by().distinct()) == {"r1", "r2"}
    assert set(map(str, StoredEvent.objects.order_by().values_list("metadata", flat=True).distinct())) == {
        "{}",
        "{'request_id': 'r1', 'trace': {'id': 't', 'ratio': 0.5, 'tags': ['x', 'y']}}",
        "{'note': None, 'request_id': 'r2'}",
    }
    title = StoredEvent.objects.filter(stream_type="samples.book", stream_key=OuterRef("isbn"))
    books = Book.objects.annotate(first=Subquery(title.values("data__title")[:1]))
    assert [book.first for book in books] == ["Émma"]
    inner = StoredEvent.objects.filter(data__by__gt=9).values("pk")
    assert found(pk__in=inner) == ["counted"]


def test_queries_change_no_text() -> None:
    for stored in StoredEvent.objects.order_by("data__amount"):
        data, metadata = stored_texts(stored.position)
        assert " " not in data + metadata
    opened = StoredEvent.objects.get(data__owner="Ada")
    assert stored_texts(opened.position) == (
        '{"owner":"Ada"}',
        '{"request_id":"r1","trace":{"id":"t","ratio":0.5,"tags":["x","y"]}}',
    )
    assert faults() == {}
