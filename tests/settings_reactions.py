"""The tests' settings for child processes that react: an app of subscriptions, short waits, and django-q2 as waker."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as TEST_APPS
from tests.settings import Q_CLUSTER as TEST_CLUSTER

INSTALLED_APPS = [*TEST_APPS, "tests.reactions_sample"]
EVENTSOURCING = {
    "DISPATCHER": os.environ.get("REACTIONS_DISPATCHER", "django_q"),
    "LEASE_SECONDS": float(os.environ.get("REACTIONS_LEASE", "1.0")),
    "RETRY_SECONDS": (0.05, 0.2),
    "HANDLER_SECONDS": float(os.environ.get("REACTIONS_HANDLER_SECONDS", "60")),
    "MAX_ATTEMPTS": int(os.environ.get("REACTIONS_ATTEMPTS", "8")),
}
# The cluster looks at its schedule every half minute of its own loop, the first time after one round of it.
Q_CLUSTER = {
    **TEST_CLUSTER,
    "workers": 2,
    "poll": 0.05,
    "guard_cycle": float(os.environ.get("REACTIONS_GUARD", "0.5")),
    **json.loads(os.environ.get("REACTIONS_CLUSTER", "{}")),
}
