"""Checks of the setting ``EVENTSOURCING``: a typing error must not silently leave a default in place."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django.db import connections
from django.utils.module_loading import import_string

from eventsourcing_app.conf import NAMES, conf

if TYPE_CHECKING:
    from collections.abc import Iterator


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_count_or_none(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _are_waits(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_time, value)) and value[0] <= value[1]


def _are_words(value: object) -> bool:
    return isinstance(value, tuple | list | set | frozenset) and all(isinstance(word, str) for word in value)


def _are_prefixes(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(each, str) and each.startswith("/") for each in value)


def _is_function_or_none(value: object) -> bool:
    try:
        return value is None or callable(import_string(value) if isinstance(value, str) else value)
    except ImportError:
        return False


_DISPATCHERS = ("django_q", "sync", "none")
_SHAPES: dict[str, tuple[Callable[[object], bool], str]] = {
    "MAX_EVENT_BYTES": (_is_count, "a whole number above 0"),
    "MAX_EVENT_DEPTH": (_is_count, "a whole number above 0"),
    "DENIED_METADATA": (_are_words, "a list of words"),
    "RECORD_IP_ADDRESS": (lambda value: isinstance(value, bool), "True or False"),
    "RECORD_USER_AGENT": (lambda value: isinstance(value, bool), "True or False"),
    "DISPATCHER": (lambda value: value in _DISPATCHERS, f"one of {', '.join(_DISPATCHERS)}"),
    "DRAIN_TASKS": (_is_count, "a whole number above 0"),
    "LEASE_SECONDS": (_is_time, "a number above 0"),
    "HANDLER_SECONDS": (_is_time, "a number above 0"),
    "MAX_ATTEMPTS": (_is_count, "a whole number above 0"),
    "MAX_PARKED_STREAMS": (_is_count, "a whole number above 0"),
    "MAX_PARKED_EVENTS": (_is_count, "a whole number above 0"),
    "MAX_CAUSATION_DEPTH": (_is_count, "a whole number above 0"),
    "HEALTH_LAG_SECONDS": (_is_time, "a number above 0"),
    "HEALTH_OPEN_SECONDS": (_is_time, "a number above 0"),
    "RECEIPT_DAYS": (lambda value: value is None or _is_count(value), "a whole number above 0, or None"),
    "SNAPSHOT_EVERY": (_is_count_or_none, "a whole number, or 0"),
    "RETRY_SECONDS": (_are_waits, "two numbers above 0, the first not the larger"),
    "STREAMS": (_is_count, "a whole number above 0"),
    "STREAMS_PER_USER": (_is_count, "a whole number above 0"),
    "STREAM_SECONDS": (_is_time, "a number above 0"),
    "STREAM_HEARTBEAT_SECONDS": (_is_time, "a number above 0"),
    "STREAM_POLL_SECONDS": (_is_time, "a number above 0"),
    "STREAM_WAIT_SECONDS": (lambda value: _is_time(value) or value == 0, "a number above 0, or 0"),
    "REBUILD_AT_MIGRATE": (lambda value: isinstance(value, bool), "True or False"),
    "READ_TIMEOUT_SECONDS": (lambda value: value is None or _is_time(value), "a number above 0, or None"),
    "VISIBLE_EVENTS": (_is_function_or_none, "a function of events and user, its dotted path, or None"),
    "API_PREFIXES": (_are_prefixes, "a list of beginnings of paths, each with a slash in front"),
}
_MIDDLEWARE = "eventsourcing_app.middleware.EventContextMiddleware"


def check_settings(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check the setting itself, and the database that it names."""
    given = getattr(settings, "EVENTSOURCING", {})
    if not isinstance(given, dict):
        return [_not_a_dict(given)]
    return list(_problems(given))


def _problems(given: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    for key in given:
        if key not in NAMES:
            yield _unknown_key(key)
        elif key in _SHAPES and not _SHAPES[key][0](given[key]):
            yield _wrong_shape(key, given[key], _SHAPES[key][1])
    if conf.CLOCK is not None and not settings.DEBUG:
        yield _clock_outside_debug()
    if settings.MIDDLEWARE and _MIDDLEWARE not in settings.MIDDLEWARE:
        yield _no_middleware()
    if conf.DATABASE not in connections:
        yield _unknown_database()
    elif connections[conf.DATABASE].settings_dict.get("ATOMIC_REQUESTS"):
        yield _atomic_requests()


def _not_a_dict(given: object) -> checks.CheckMessage:
    return checks.Error(
        f"The setting EVENTSOURCING must be a dict, not {type(given).__name__}.",
        hint='Write EVENTSOURCING = {"DATABASE": "default"}, or leave it out: every key has a default.',
        id="eventsourcing_app.E020",
    )


def _no_middleware() -> checks.CheckMessage:
    return checks.Warning(
        "EventContextMiddleware is not in MIDDLEWARE: events of requests tell no actor, and the idempotency keys of "
        "all users are one another's.",
        hint=f'Add "{_MIDDLEWARE}" to MIDDLEWARE, best at the top.',
        id="eventsourcing_app.W022",
    )


def _unknown_key(key: str) -> checks.CheckMessage:
    close = get_close_matches(str(key).upper(), NAMES, n=1)
    known = f"Did you mean {close[0]!r}?" if close else f"It knows {', '.join(NAMES)}."
    return checks.Warning(
        f"The setting EVENTSOURCING has no key {key!r}; it is ignored.", hint=known, id="eventsourcing_app.W020"
    )


def _wrong_shape(key: str, value: object, wanted: str) -> checks.CheckMessage:
    return checks.Error(f"EVENTSOURCING[{key!r}] is {value!r}.", hint=f"It is {wanted}.", id="eventsourcing_app.E023")


def _clock_outside_debug() -> checks.CheckMessage:
    return checks.Error(
        "EVENTSOURCING['CLOCK'] replaces the system clock while DEBUG is False: recorded times would not be true.",
        hint="Remove CLOCK from EVENTSOURCING. It is for demos and tests that need a past.",
        id="eventsourcing_app.E021",
    )


def _unknown_database() -> checks.CheckMessage:
    return checks.Error(
        f"EVENTSOURCING['DATABASE'] is {conf.DATABASE!r}, but DATABASES has no such alias.",
        hint=f"Name one of: {', '.join(map(repr, connections))}.",
        id="eventsourcing_app.E022",
    )


def _atomic_requests() -> checks.CheckMessage:
    return checks.Warning(
        f"ATOMIC_REQUESTS is on for the log's database {conf.DATABASE!r}: a request that has appended holds back every "
        "subscription until its response is finished.",
        hint=f"Set DATABASES[{conf.DATABASE!r}]['ATOMIC_REQUESTS'] = False. Commands have a transaction of their own.",
        id="eventsourcing_app.W021",
    )
