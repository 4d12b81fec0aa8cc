"""The ``EVENTSOURCING`` setting: one dict with typed defaults, read at each access so that overrides take effect."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.db.models import QuerySet

    Narrow = Callable[[QuerySet[Any], AbstractBaseUser | AnonymousUser], QuerySet[Any]]
    """Returns those of some stored events that a user may see."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every key of ``EVENTSOURCING``, with its default."""

    DATABASE: str = "default"
    """Alias of the one database that holds the log, the event-sourced models and the projections."""

    CLOCK: str | Callable[[], datetime] | None = None
    """A callable, or its dotted path, that tells the time instead of the system clock. For demos and tests only."""

    MAX_EVENT_BYTES: int = 256 * 1024
    """Largest canonical text of one event's data, in bytes."""

    MAX_EVENT_DEPTH: int = 32
    """Deepest nesting of one event's data."""

    DENIED_METADATA: tuple[str, ...] = ()
    """Words that no key of the context may contain, besides those that are always refused (passwords, tokens, …)."""

    RECORD_IP_ADDRESS: bool = False
    """Whether the middleware stores the client's address (``REMOTE_ADDR``) with each event."""

    RECORD_USER_AGENT: bool = False
    """Whether the middleware stores the client's user agent with each event."""

    DISPATCHER: Literal["django_q", "sync", "none"] = "django_q"
    """Who is woken after a commit: a django-q2 task, this process itself (tests), or nobody (``run_subscriptions``)."""

    DRAIN_TASKS: int = 2
    """How many drain tasks may be on the queue of django-q2, or running, at a time: no more than it has workers."""

    LEASE_SECONDS: float = 20.0
    """How long a worker may go without a sign of life before another one takes over what it had claimed."""

    HANDLER_SECONDS: float = 60.0
    """How long one call of a handler may take before ``run_subscriptions`` takes its process for hung and kills it."""

    RETRY_SECONDS: tuple[float, float] = (1.0, 300.0)
    """First and longest wait before a failed event is tried again; doubled each time, with full jitter."""

    MAX_ATTEMPTS: int = 8
    """How often a subscription tries an event before it is dead, unless the subscription says otherwise."""

    MAX_PARKED_STREAMS: int = 1_000
    """How many streams a subscription may have parked before it halts: then it is the handler that fails."""

    MAX_PARKED_EVENTS: int = 10_000
    """How many events a subscription may have parked, those that wait behind others included, before it halts."""

    MAX_CAUSATION_DEPTH: int = 32
    """How long a chain of events may become of which each was caused by a subscriber that handled the one before."""

    HEALTH_LAG_SECONDS: float = 300.0
    """How long an active subscription may be behind before the health endpoint of the API fails."""

    HEALTH_OPEN_SECONDS: float = 60.0
    """How long an append may be open before the health endpoint of the API fails: it holds every subscription back."""

    RECEIPT_DAYS: int | None = None
    """How old receipts of idempotency keys become before ``expire_receipts`` deletes them; ``None`` keeps them."""

    SNAPSHOT_EVERY: int = 256
    """A snapshot of an aggregate is kept for every so many versions of it; 0 keeps none, and uses none."""

    REBUILD_AT_MIGRATE: bool = True
    """Whether ``migrate`` rebuilds the models that a migration has marked. If not, ``manage.py rebuild`` does."""

    STREAMS: int = 500
    """How many streams of events one process serves at a time."""

    STREAMS_PER_USER: int = 10
    """How many of them one user may have."""

    STREAM_SECONDS: float = 300.0
    """How long a stream lasts at most, under ASGI, before the client has to come back."""

    STREAM_HEARTBEAT_SECONDS: float = 15.0
    """After how long a stream gives a sign of life, and asks again whether the client may still see it."""

    STREAM_POLL_SECONDS: float = 0.25
    """How often a process asks for new events while somebody follows them."""

    STREAM_WAIT_SECONDS: float = 20.0
    """How long a stream waits for its first event under WSGI, where it keeps a worker busy; 0 never waits."""

    READ_TIMEOUT_SECONDS: float | None = 10.0
    """How long a statement of a ``GET`` of the API may take on PostgreSQL; ``None`` sets no limit."""

    VISIBLE_EVENTS: str | Narrow | None = None
    """A callable ``(events, user)``, or its dotted path: which events are there for a user who may see the log."""

    API_PREFIXES: tuple[str, ...] = ("/api/",)
    """How the paths of APIs begin: there ``api.handlers`` answer every error as a problem, whoever asks."""


class _Current:
    """Reads the setting at each access; unknown keys are left to the system check."""

    def __getattr__(self, name: str) -> object:
        # Settings keep what was asked for once in their own dict, and forget it when it changes: this look costs less.
        given = vars(settings).get("EVENTSOURCING") or getattr(settings, "EVENTSOURCING", {})
        if isinstance(given, dict) and name in given:
            return given[name]
        return getattr(_DEFAULTS, name)


_DEFAULTS = Settings()
NAMES = tuple(field.name for field in fields(Settings))
"""Every key that the setting may have."""

if TYPE_CHECKING:
    conf: Settings
else:
    conf = _Current()
