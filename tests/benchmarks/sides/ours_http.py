"""The package over HTTP beside plain views of Django REST framework: whole requests, from WSGI to rendered bytes."""

from __future__ import annotations

import base64
import json
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.db import connection
from django.db.models import Max

from eventsourcing_app.models import StoredEvent
from tests.benchmarks.asking import Asker
from tests.benchmarks.bank.models import Account
from tests.benchmarks.sides.ours import stored
from tests.benchmarks.web.models import PlainAccount, PlainEvent
from tests.benchmarks.work import AMOUNT, REFERENCE, Done, Sample, repeated, turns
from tests.hostile_bodies import BODIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model

    from tests.benchmarks.job import Job

__all__ = ["deposit", "hostile", "page", "plain_page", "plain_update", "stored"]

_PAGES = 20
"""So many places of the log are looked at, spread over the whole of it."""


def deposit(job: Job) -> Sample:
    """POST a deposit: state and event in one transaction, answered with both."""
    keys, body = _keys(Account, job), json.dumps({"amount": str(AMOUNT), "reference": REFERENCE}).encode()
    ask = _asking()
    return repeated(lambda: ask("POST", f"/accounts/{next(keys)}/deposit/", "", body), job)


def plain_update(job: Job) -> Sample:
    """PATCH the same values of a plain row, which is answered with it."""
    _fill(PlainAccount, Account, "id, owner, balance, '', changed_at")
    keys, body = _keys(PlainAccount, job), json.dumps({"balance": str(AMOUNT), "reference": REFERENCE}).encode()
    ask = _asking()
    return repeated(lambda: ask("PATCH", f"/plain-accounts/{next(keys)}/", "", body), job)


def page(job: Job) -> Sample:
    """GET 100 stored events from somewhere in the log."""
    places = turns([urlencode({"after_position": place}) for place in _places(StoredEvent)], job)
    ask = _asking()
    return repeated(lambda: ask("GET", "/events/", next(places)), job)


def hostile(job: Job) -> Sample:
    """POST everything that is refused, one body after the other; ``more`` tells how long the slowest of them took."""
    ask = _asking()

    def sample() -> Done:
        slowest = 0.0
        for body in BODIES.values():
            began = perf_counter()
            ask("POST", "/accounts/", "", body, "400")
            slowest = max(slowest, perf_counter() - began)
        return Done(units=len(BODIES), more={"slowest": slowest * 1000})

    return sample


def plain_page(job: Job) -> Sample:
    """GET 100 rows of a plain table of that size."""
    columns = ", ".join(str(field.column) for field in StoredEvent._meta.fields if field.name != "hash")
    _fill(PlainEvent, StoredEvent, f"{columns}, encode(hash, 'hex')")
    cursors = [base64.b64encode(f"p={place}".encode()).decode() for place in _places(PlainEvent)]
    places, ask = turns([urlencode({"cursor": cursor}) for cursor in cursors], job), _asking()
    return repeated(lambda: ask("GET", "/plain-events/", next(places)), job)


def _asking() -> Asker:
    ask = Asker({"CONTENT_TYPE": "application/json", "HTTP_ACCEPT": "application/json"})
    ask("GET", "/events/", "limit=1")  # routes, views and connection are there before anything is measured
    return ask


def _fill(plain: type[Model], source: type[Model], columns: str) -> None:
    """Make the plain table, with as many rows as its source has, unless it is there."""
    table, quote = plain._meta.db_table, connection.ops.quote_name
    if table in connection.introspection.table_names():
        return
    with connection.schema_editor() as editor:
        editor.create_model(plain)
    with connection.cursor() as cursor:
        names = ", ".join(quote(str(field.column)) for field in plain._meta.fields)
        cursor.execute(
            f"INSERT INTO {quote(table)} ({names}) SELECT {columns} FROM {quote(source._meta.db_table)} ORDER BY 1"
        )
        cursor.execute(f"VACUUM ANALYZE {quote(table)}")


def _keys(model: Any, job: Job) -> Iterator[Any]:
    return turns(list(model.objects.order_by("pk").values_list("pk", flat=True)), job)


def _places(model: Any) -> list[int]:
    last = model.objects.aggregate(last=Max("position"))["last"]
    return [last * number // _PAGES for number in range(_PAGES - 1)]
