"""The tests' settings for the storm and its directed scenes: short waits, and limits that stay out of the way."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

# Processes are frozen in the middle of a transaction, and others must not wait for them for ever.
DATABASES["default"]["OPTIONS"] = {
    **DATABASES["default"].get("OPTIONS", {}),
    "options": "-c lock_timeout=1s -c idle_in_transaction_session_timeout=30s",
}
EVENTSOURCING = {
    "DISPATCHER": "none",
    "LEASE_SECONDS": 2.0,
    "RETRY_SECONDS": (0.05, 1.0),
    "MAX_PARKED_STREAMS": 100_000,
    "MAX_PARKED_EVENTS": 1_000_000,
}
# What the processes of a storm say is written to one file: thousands of them are killed, and their database goes away.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
