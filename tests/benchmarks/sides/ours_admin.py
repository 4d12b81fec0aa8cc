"""Pages of the admin, as a superuser opens them: from the request with its session to the rendered HTML."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.test import Client

from eventsourcing_app.aggregates.past.snapshots import drop_snapshots
from eventsourcing_app.log.settled import settled_position
from eventsourcing_app.models import StoredEvent
from tests.benchmarks.asking import Asker
from tests.benchmarks.bank.models import Account
from tests.benchmarks.sides.ours import stored
from tests.benchmarks.sides.ours_office import CLERK, LONG
from tests.benchmarks.work import Done, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tests.benchmarks.job import Job

__all__ = ["account", "account_first", "events", "operators", "pages", "stored"]

Address: TypeAlias = "tuple[str, str]"
"""Path and query."""
_ADMIN = "/admin/eventsourcing_app"
_LOG = f"{_ADMIN}/storedevent/"


def events(job: Job) -> Sample:
    """The list: its newest page, one from its middle, and what each filter leaves of it; the live tail."""
    last = StoredEvent.objects.latest("position").position
    middle = StoredEvent.objects.get(position=last // 2)
    first_of_clerk = StoredEvent.objects.filter(actor=CLERK).earliest("position")
    stream: dict[str, object] = {"stream_type": first_of_clerk.stream_type, "stream_key": first_of_clerk.stream_key}
    period: dict[str, object] = {"since": _iso(middle.recorded_at), "until": _iso(_end(middle))}
    queries: dict[str, dict[str, object]] = {
        "newest": {},
        "middle": {"before": middle.position},
        "type": {"type": "bank.money_deposited"},
        "rare type": {"type": "eventsourcing.subscription_paused"},
        "stream type": {"stream_type": "bank.account"},
        "rare stream type": {"stream_type": "eventsourcing.subscription_paused"},
        "type of stream type": {"type": "bank.money_deposited", "stream_type": "bank.account"},
        "aggregate": stream,
        "stream key": {"stream_key": first_of_clerk.stream_key},
        "actor": {"actor": "user:7"},
        "rare actor": {"actor": CLERK},
        "correlation": {"correlation_id": first_of_clerk.correlation_id},
        "period": period,
        "search": {"q": first_of_clerk.stream_key},
    }
    addresses = {name: (_LOG, urlencode(query)) for name, query in queries.items()}
    addresses["tail"] = (f"{_LOG}tail/", urlencode({"after": settled_position() - 50}))
    return _sample(addresses, job)


def pages(job: Job) -> Sample:
    """The overview, the page of an event, of a correlation and the log of operators."""
    of_clerk = StoredEvent.objects.filter(actor=CLERK).order_by("position")[50]
    addresses = {
        "overview": (f"{_ADMIN}/", ""),
        "event": (f"{_LOG}{of_clerk.position}/change/", ""),
        "correlation": (f"{_LOG}correlation/", urlencode({"id": of_clerk.correlation_id})),
        "operator log": (f"{_LOG}operators/", ""),
    }
    return _sample(addresses, job)


def account(job: Job) -> Sample:
    """The pages of the account with the longest stream, when they have been opened before."""
    return _sample(_of_account(), job)


def account_first(job: Job) -> Sample:
    """The same, each opened by the first one who does: all snapshots have gone."""
    return _sample(_of_account(), job, before=lambda: drop_snapshots(Account))


def operators(job: Job) -> Sample:
    """What operators look at: subscriptions and parked events."""
    addresses = {
        "subscriptions": (f"{_ADMIN}/subscription/", ""),
        "subscription": (f"{_ADMIN}/subscription/office.0000/change/", ""),
        "parked": (f"{_ADMIN}/parkedevent/", ""),
        "parked of one": (f"{_ADMIN}/parkedevent/", urlencode({"subscription": "office.0000"})),
    }
    return _sample(addresses, job)


def _of_account() -> dict[str, Address]:
    account = Account.objects.get(owner=LONG)
    base = f"/admin/bank/account/{account.pk}"
    half = account.version // 2
    middle = account.history().get(version=half).recorded_at
    return {
        "state": (f"{base}/change/", ""),
        "trail": (f"{base}/history/", ""),
        "trail, middle": (f"{base}/history/", urlencode({"before": half})),
        "past": (f"{base}/past/", urlencode({"version": half})),
        "past, time": (f"{base}/past/", urlencode({"when": _iso(middle)})),
        "slider": (f"{base}/past/", urlencode({"version": half, "part": 1})),
    }


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


def _end(event: StoredEvent) -> datetime:
    """The time of the first event that was recorded later than this one."""
    later = StoredEvent.objects.filter(position__gt=event.position, recorded_at__gt=event.recorded_at)
    return later.earliest("position").recorded_at


def _sample(addresses: Mapping[str, Address], job: Job, before: Callable[[], object] | None = None) -> Sample:
    """Ask for each of them in turn. ``more`` tells what each took, in ms, the median of all turns."""
    ask = _asking()

    def sample() -> Done:
        taken: dict[str, list[float]] = {name: [] for name in addresses}
        end = perf_counter() + job.scale.seconds * 2
        turns = 0
        while not turns or perf_counter() < end:
            turns += 1
            for name, (path, query) in addresses.items():
                if before is not None:
                    before()
                began = perf_counter()
                ask("GET", path, query)
                taken[name].append((perf_counter() - began) * 1000)
        return Done(units=turns * len(addresses), more={name: median(times) for name, times in taken.items()})

    return sample


def _asking() -> Asker:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    ask = Asker({"HTTP_COOKIE": f"sessionid={client.cookies['sessionid'].value}", "HTTP_ACCEPT": "text/html"})
    ask("GET", f"{_ADMIN}/", "")  # templates, routes and connection are there before anything is measured
    return ask
