"""The app's configuration. Its tables are made without migrations (``migrate --run-syncdb``)."""

from __future__ import annotations

from django.apps import AppConfig


class PlainBankConfig(AppConfig):
    """Installed in the processes of django-simple-history only."""

    name = "tests.benchmarks.plain_bank"
    label = "plain_bank"
