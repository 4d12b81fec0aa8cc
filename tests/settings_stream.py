"""Settings of server processes that send streams to tests: the variable ``STREAM_SETTINGS`` has what a test wants."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import EVENTSOURCING as TEST_EVENTSOURCING

EVENTSOURCING = {
    **TEST_EVENTSOURCING,
    "STREAM_POLL_SECONDS": 0.05,
    **json.loads(os.environ.get("STREAM_SETTINGS", "{}")),
}
