"""Lists of states: filtered, searched and ordered by what the view names, in pages that skip and repeat no row.

The pages are compared with a list that is sorted in one piece, for any rows, order, limit and direction.
"""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qs, quote, urlsplit

import django_filters
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.routers import DefaultRouter

from eventsourcing_app.access.pages import Column, ordered_page_of, page_of
from eventsourcing_app.api import EventSourcedViewSet, filtering
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of
from tests.samples.models import Counter, Customer, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rest_framework.test import APIClient


class WalletViewSet(EventSourcedViewSet):
    model = Wallet
    filterset_fields = {
        "owner": ["exact"],
        "balance": ["exact", "gte"],
        "changed_at": ["gt", "year"],
        "version": ["in"],
    }
    search_fields = ("owner", "^note")
    ordering_fields = ("owner", "balance", "changed_at", "version", "ended")


class CounterViewSet(EventSourcedViewSet):
    model = Counter
    commands = ("begin", "count")
    filterset_fields = ("total", "ended")
    ordering_fields = ("total", "number")


class PassportViewSet(EventSourcedViewSet):
    model = Passport
    filterset_fields = ("holder", "status")
    ordering_fields = ("pages",)


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("counters", CounterViewSet)
router.register("passports", PassportViewSet)
urlpatterns = [path("api/", include(router.urls)), path("", include("demo_bank.urls"))]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def root() -> APIClient:
    return client_of(User.objects.create_superuser("root"))


@pytest.fixture
def wallets() -> list[Wallet]:
    """Owners and balances tie."""
    rows = [("Ada", 5), ("Bob", 5), ("Ada", 7), ("Cyd", 1), ("Ada", 5), ("Bob", 9)]
    made = []
    for owner, balance in rows:
        pk = Wallet.objects.perform_new(Wallet.open, owner=owner).pk
        Wallet.objects.perform(pk, Wallet.add, amount=Decimal(balance))
        made.append(Wallet.objects.get(pk=pk))
    return made


def names_of(client: APIClient, address: str) -> list[str]:
    answer = client.get(address)
    assert answer.status_code == 200, answer.content
    return [each["owner"] for each in answer.json()["results"]]


def walk(client: APIClient, address: str | None, direction: str = "next") -> Iterator[list[str]]:
    while address:
        answer = client.get(address)
        assert answer.status_code == 200, answer.content
        yield [each["id"] for each in answer.json()["results"]]
        address = answer.json()[direction]


# Pages in any order


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "bb"]),
        st.none() | st.integers(0, 3).map(lambda day: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)),
        st.booleans(),
    ),
    max_size=12,
)
COLUMNS = ("first_name", "last_login", "is_staff")
ORDERS = st.lists(st.tuples(st.sampled_from(COLUMNS), st.booleans()), unique_by=lambda each: each[0], max_size=3)


def expected(rows: list[User], order: list[Column]) -> list[int]:
    for column in reversed(order):  # sorting is stable, so the last column goes first
        name, falling = column.name, column.falling
        have = [row for row in rows if getattr(row, name) is not None]
        nulls = [row for row in rows if getattr(row, name) is None]
        rows = sorted(have, key=attrgetter(name), reverse=falling) + nulls
    return [row.pk for row in rows]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=ROWS, order=ORDERS, last_falls=st.booleans(), limit=st.integers(1, 5))
def test_pages_of_any_order_are_the_sorted_list_in_both_directions(
    data: list[Any], order: list[tuple[str, bool]], last_falls: bool, limit: int
) -> None:
    User.objects.all().delete()
    for number, (name, login, staff) in enumerate(data):
        User.objects.create(username=f"u{number}", first_name=name, last_login=login, is_staff=staff)
    columns = [Column(name=name, falling=falls, nullable=name == "last_login") for name, falls in order]
    columns.append(Column(name="pk", falling=last_falls))
    whole = expected(list(User.objects.all()), columns)

    def place(row: User) -> list[Any]:
        return [getattr(row, column.name) for column in columns]

    found, page = [], ordered_page_of(User.objects.all(), columns, limit=limit)
    assert not page.has_previous
    while True:
        found += [row.pk for row in page.rows]
        if not page.has_next:
            break
        assert len(page.rows) == limit
        page = ordered_page_of(User.objects.all(), columns, limit=limit, after=place(page.rows[-1]))
    assert found == whole

    back: list[int] = []
    end = place(page.rows[-1]) if page.rows else None
    if end is not None:
        back = [page.rows[-1].pk]
        while end is not None:
            page = ordered_page_of(User.objects.all(), columns, limit=limit, before=end)
            back = [row.pk for row in page.rows] + back
            end = place(page.rows[0]) if page.rows and page.has_previous else None
    assert back == whole


def test_a_page_has_one_end() -> None:
    with pytest.raises(ValueError, match="not both"):
        page_of(StoredEvent.objects.all(), "position", limit=1, after=1, before=2)


# Over HTTP


@pytest.mark.parametrize("order", ["owner", "-owner", "owner,-balance", "-balance,owner", "ended,-changed_at,owner"])
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_list_is_paged_in_the_order_that_was_asked_for(
    root: APIClient, wallets: list[Wallet], order: str, limit: int
) -> None:
    falls = order.split(",")[-1].startswith("-")
    plain = [
        str(pk)
        for pk in Wallet.objects.order_by(*order.split(","), "-pk" if falls else "pk").values_list("pk", flat=True)
    ]
    pages = list(walk(root, f"/api/wallets/?order={order}&limit={limit}"))
    assert [pk for page in pages for pk in page] == plain
    address = f"/api/wallets/?order={order}&limit={limit}"
    while following := root.get(address).json()["next"]:
        address = following
    back = list(walk(root, address, "previous"))
    assert [pk for page in reversed(back) for pk in page] == plain


def test_a_row_that_changes_between_pages_breaks_nothing(root: APIClient, wallets: list[Wallet]) -> None:
    first = root.get("/api/wallets/?order=balance,owner&limit=3").json()
    for wallet in wallets:
        Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(100))
    second = root.get(first["next"])
    assert second.status_code == 200
    assert len(second.json()["results"]) == 3
    assert root.get(second.json()["previous"]).status_code == 200


def test_a_cursor_of_a_row_that_has_gone_still_leads_on(root: APIClient, wallets: list[Wallet]) -> None:
    link = root.get("/api/wallets/?order=owner&limit=2").json()["next"]
    (cursor,) = parse_qs(urlsplit(link).query)["after"]
    assert names_of(root, f"/api/wallets/?order=owner&after={cursor}") == ["Ada", "Bob", "Bob", "Cyd"]


def test_the_links_keep_filter_search_and_order(root: APIClient, wallets: list[Wallet]) -> None:
    link = root.get("/api/wallets/?owner=Ada&search=d&order=-balance&limit=1").json()["next"]
    asked = parse_qs(urlsplit(link).query)
    assert {name: asked[name] for name in ("owner", "search", "order", "limit")} == {
        "owner": ["Ada"],
        "search": ["d"],
        "order": ["-balance"],
        "limit": ["1"],
    }
    assert list(walk(root, link)) == [[str(wallets[4].pk)], [str(wallets[0].pk)]]


def test_a_list_costs_the_same_queries_for_any_size_and_neither_counts_nor_skips(
    root: APIClient, wallets: list[Wallet]
) -> None:
    costs = []
    for limit in (1, 6):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            root.get(f"/api/wallets/?owner=Ada&search=a&order=-balance,owner&limit={limit}")
        statements = [query["sql"].upper() for query in queries.captured_queries]
        assert not [sql for sql in statements if "COUNT(" in sql or "OFFSET" in sql or "DISTINCT" in sql]
        costs.append(len(statements))
    assert costs[0] == costs[1]


def cursor_of(*values: Any) -> str:
    return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%00",
        "é",
        "a" * 4000,
        "0190f3b0-0000-7000-8000-000000000000",
        cursor_of(),
        cursor_of("owner"),
        cursor_of("-owner", "Ada", "0190f3b0-0000-7000-8000-000000000000"),
        cursor_of("owner", "Ada", 7),
        cursor_of("owner", None, "0190f3b0-0000-7000-8000-000000000000"),
        cursor_of("owner", ["Ada"], "0190f3b0-0000-7000-8000-000000000000"),
        cursor_of("owner", "A\x00da", "0190f3b0-0000-7000-8000-000000000000"),
        cursor_of("owner", "A\ud800da", "0190f3b0-0000-7000-8000-000000000000"),
        cursor_of("owner", "Ada", "none"),
        urlsafe_b64encode(b"[" * 2900).decode(),
        urlsafe_b64encode(b"9" * 2900).decode(),
        urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
@pytest.mark.parametrize("parameter", ["after", "before"])
def test_what_is_no_cursor_of_this_order_is_400(root: APIClient, parameter: str, cursor: str) -> None:
    body = problem_of(root.get(f"/api/wallets/?order=owner&{parameter}={quote(cursor, safe='%')}"), 400, "invalid")
    assert body["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize("column", ["balance", "changed_at", "version", "ended"])
@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "1e400",
        "1E+999999999",
        "9" * 400,
        "0.001",
        "-0",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-01-01T00:00:00",
        "True",
        "maybe",
        "1.5",
    ],
)
def test_a_cursor_with_any_value_never_breaks_a_list(
    root: APIClient, wallets: list[Wallet], column: str, value: str
) -> None:
    cursor = cursor_of(column, value, "0190f3b0-0000-7000-8000-000000000000")
    for parameter in ("after", "before"):
        answer = root.get(f"/api/wallets/?order={column}&{parameter}={cursor}")
        assert answer.status_code == 200 or problem_of(answer, 400, "invalid")["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize(
    "order",
    [
        "",
        ",",
        "note",
        "labels",
        "owner,",
        "owner,owner",
        "owner,-owner",
        "--owner",
        "?",
        "owner__x",
        "pk",
        "id",
        "owner,balance,version,ended",
        "owner;DROP TABLE x",
        "owner DESC",
        "1",
        "balance)--",
        "%00",
        "owner%00",
        "-",
    ],
)
def test_an_order_that_is_not_offered_is_400(root: APIClient, order: str) -> None:
    body = problem_of(root.get(f"/api/wallets/?order={quote(order, safe='%')}"), 400, "invalid")
    assert body["errors"][0]["parameter"] == "order"


@pytest.mark.parametrize("value", ["0.001", "1e400", "1e12", "-1e999999999"])
def test_a_cursor_with_a_number_that_the_column_cannot_hold_is_400(root: APIClient, value: str) -> None:
    cursor = cursor_of("balance", value, "0190f3b0-0000-7000-8000-000000000000")
    problem_of(root.get(f"/api/wallets/?order=balance&after={cursor}"), 400, "invalid")


def test_without_a_list_of_columns_there_is_no_order_no_search_and_no_filter(root: APIClient) -> None:
    for parameter in ("search", "ordering", "order__x", "note", "labels", "owner__in", "balance__lte", "_connector"):
        problem_of(root.get(f"/api/counters/?{parameter}=x"), 400, "unknown")
    for parameter in ("ordering", "search", "status"):
        problem_of(root.get(f"/api/v1/events/?{parameter}=x"), 400, "unknown")


# Filters


def test_a_list_is_filtered_by_what_the_view_names(root: APIClient, wallets: list[Wallet]) -> None:
    assert names_of(root, "/api/wallets/?owner=Bob") == ["Bob", "Bob"]
    assert names_of(root, "/api/wallets/?owner=bob") == []
    assert names_of(root, "/api/wallets/?owner=Bob%20") == []
    assert names_of(root, "/api/wallets/?balance=5.00&owner=Ada") == ["Ada", "Ada"]
    assert sorted(names_of(root, "/api/wallets/?balance__gte=7")) == ["Ada", "Bob"]
    assert len(names_of(root, "/api/wallets/?changed_at__gt=2020-01-01T00:00:00Z")) == 6
    assert names_of(root, "/api/wallets/?changed_at__gt=2999-01-01T00:00:00%2B02:00") == []
    assert len(names_of(root, "/api/wallets/?version__in=2,3")) == 6


def test_a_list_is_searched_in_what_the_view_names(root: APIClient, wallets: list[Wallet]) -> None:
    assert names_of(root, "/api/wallets/?search=BO") == ["Bob", "Bob"]
    assert names_of(root, "/api/wallets/?search=b o") == ["Bob", "Bob"]
    assert names_of(root, "/api/wallets/?search=%25") == []
    assert names_of(root, "/api/wallets/?search=b x") == []


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("owner", ""),
        ("owner", "%00"),
        ("owner", "x" * 5000),
        ("balance", "x"),
        ("balance", "NaN"),
        ("balance", "Infinity"),
        ("balance", "1e40"),
        ("balance", "1e999999999"),
        ("balance", "5.004"),
        ("balance", "9" * 4000),
        ("balance__gte", "1e13"),
        ("changed_at__gt", "2026-01-01T00:00:00"),
        ("changed_at__gt", "yesterday"),
        ("changed_at__year", "99999999999"),
        ("version__in", "1,x"),
        ("version__in", "1,1.5"),
        ("search", ""),
        ("search", "%00"),
        ("search", "   "),
        ("search", '""'),
        ("search", "x" * 10_000),
        ("search", "a " * 50),
        ("search", "a," * 50),
    ],
)
def test_a_value_that_does_not_fit_is_400_and_its_parameter_named(
    root: APIClient, wallets: list[Wallet], parameter: str, value: str
) -> None:
    body = problem_of(root.get(f"/api/wallets/?{parameter}={value}"), 400, "invalid")
    assert body["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize(
    "query",
    [
        "changed_at__gt=0001-01-01T00:00:00%2B14:00",
        "changed_at__gt=9999-12-31T23:59:59-14:00",
        "changed_at__year=0",
        "changed_at__year=1.5",
        f"version__in={'9' * 60}",
        f"version__in={2**63}",
        "balance=-0",
        "balance=0e5",
        "search=%25%5F%5C",
        "search='%22",
        f"owner={'x' * 4096}",
        f"search={'%25' * 200}",
        "owner=%ED%A0%80",
        "owner=%FF",
    ],
)
def test_a_strange_value_breaks_nothing(root: APIClient, wallets: list[Wallet], query: str) -> None:
    assert root.get(f"/api/wallets/?{query}").status_code in (200, 400)


def test_a_number_or_a_truth_that_is_none_is_not_passed_over(root: APIClient) -> None:
    for query in ("ended=maybe", "ended=", "total=1.5", "total=x"):
        problem_of(root.get(f"/api/counters/?{query}"), 400, "invalid")
    for query in ("ended=true", "ended=false", f"total={2**63}", f"total=-{10**18}"):
        assert root.get(f"/api/counters/?{query}").json()["results"] == []


def test_a_filter_by_relation_does_not_tell_which_rows_there_are(root: APIClient) -> None:
    there = Customer.objects.create(name="Ada")
    with CaptureQueriesContext(connection) as queries:
        answers = [root.get(f"/api/passports/?holder={pk}") for pk in (there.pk, there.pk + 1)]
    assert [(answer.status_code, answer.json()["results"]) for answer in answers] == [(200, []), (200, [])]
    assert not [query for query in queries.captured_queries if "samples_customer" in query["sql"]]
    problem_of(root.get("/api/passports/?holder=x"), 400, "invalid")
    problem_of(root.get("/api/passports/?status=lost-and-found"), 400, "invalid")


def test_filters_apply_to_lists_only(root: APIClient, wallets: list[Wallet]) -> None:
    problem_of(root.get(f"/api/wallets/{wallets[0].pk}/?owner=Bob"), 400, "unknown")
    problem_of(root.get(f"/api/wallets/{wallets[0].pk}/events/?order=owner"), 400, "unknown")


def test_the_bank_filters_searches_and_orders_its_accounts(root: APIClient) -> None:
    for owner, number in (("Ada", "1"), ("Bob", "2"), ("Ada", "3")):
        assert root.post("/api/v1/accounts/", {"owner": owner, "number": number}).status_code == 201
    numbers = [each["number"] for each in root.get("/api/v1/accounts/?owner=Ada&order=-number").json()["results"]]
    assert numbers == ["3", "1"]
    assert root.get("/api/v1/accounts/?currency=EUR&status=open&search=bo").json()["results"][0]["number"] == "2"
    problem_of(root.get("/api/v1/accounts/?currency=XXX"), 400, "invalid")


# Declarations


class Ordered(django_filters.FilterSet):  # type: ignore[misc]  # without types
    o = django_filters.OrderingFilter(fields=["owner"])


class Related(django_filters.FilterSet):  # type: ignore[misc]  # without types
    holder = django_filters.ModelChoiceFilter(queryset=Customer.objects.all())


class Shown(django_filters.FilterSet):  # type: ignore[misc]  # without types
    owner = django_filters.AllValuesFilter()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"ordering_fields": ("labels",)}, "labels"),
        ({"ordering_fields": ("x",)}, "has no column 'x'"),
        ({"ordering_fields": "owner"}, "list of names"),
        ({"search_fields": ("x",)}, "x"),
        ({"search_fields": ("$owner",)}, "regular expressions"),
        ({"search_fields": "owner"}, "list of names"),
        ({"filterset_fields": ("x",)}, "x"),
        ({"filterset_fields": ("labels",)}, "labels"),
        ({"filterset_fields": "owner"}, "list of names"),
        ({"filterset_class": Ordered}, "ordering_fields"),
        ({"filterset_class": Related}, "function of the request"),
        ({"filterset_class": Shown}, "values of all rows"),
        (
            {"filterset_class": type("Own", (django_filters.FilterSet,), {"limit": django_filters.NumberFilter()})},
            "limit",
        ),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused_at_once(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        type("Some", (EventSourcedViewSet,), {"model": Wallet, **attributes})


def test_a_filterset_of_ones_own_works_with_the_names_of_its_parts(root: APIClient) -> None:
    class Between(django_filters.FilterSet):  # type: ignore[misc]  # without types
        balance = django_filters.RangeFilter()
        holder = django_filters.ModelChoiceFilter(queryset=lambda request: Customer.objects.none())

    class Some(EventSourcedViewSet):
        model = Wallet
        filterset_class = Between

    assert set(Some().parameters_of("list")) == {"balance_min", "balance_max", "holder"}


def test_without_django_filter_everything_else_works(root: APIClient) -> None:
    with mock.patch.object(filtering, "_filtersets", None):

        class Plain(EventSourcedViewSet):
            model = Wallet
            search_fields = ("owner",)
            ordering_fields = ("owner",)

        assert set(Plain().parameters_of("list")) == {"search", "order"}
        with pytest.raises(ImproperlyConfigured, match=r"pip install 'django-eventsourcing-app\[api\]'"):
            type("Some", (EventSourcedViewSet,), {"model": Wallet, "filterset_fields": ("owner",)})


def test_the_api_is_imported_without_django_filter() -> None:
    script = """
import sys
sys.modules["django_filters"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "django_filters" else find(name, *more)
import django; django.setup()
from eventsourcing_app.api import EventSourcedViewSet
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
