"""Settings of the server that docs/api.md is tried at: those of ``make demo``, but for the place of the database."""

from __future__ import annotations

from tests.demo_bank.settings import *  # noqa: F403
from tests.demo_bank.settings import EVENTSOURCING as DEMO_EVENTSOURCING

# A reader who has seen enough of a stream leaves; curl notices only when the server sends the next thing.
EVENTSOURCING = {**DEMO_EVENTSOURCING, "STREAM_POLL_SECONDS": 0.05, "STREAM_HEARTBEAT_SECONDS": 0.2}
