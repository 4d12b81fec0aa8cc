"""The demo's own settings, but for the place of the database: for child processes that run its commands."""

from __future__ import annotations

from demo_bank import settings as demo
from tests.settings import *  # noqa: F403
from tests.settings import Q_CLUSTER as TEST_CLUSTER
from tests.settings import RUN_DIRECTORY

DEBUG = True
EVENTSOURCING = {**demo.EVENTSOURCING, "CLOCK": "demo_bank.clock.now"}
Q_CLUSTER = {**TEST_CLUSTER, "name": "demo"}
SENT_MAIL = RUN_DIRECTORY / "sent_mail"
if hasattr(demo, "MAILERS"):
    MAILERS = {"default": {**demo.MAILERS["default"], "OPTIONS": {"file_path": SENT_MAIL}}}
else:
    EMAIL_FILE_PATH = SENT_MAIL
