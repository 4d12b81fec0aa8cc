"""The app's configuration. Its table is made without migrations (``migrate --run-syncdb``)."""

from __future__ import annotations

from django.apps import AppConfig


class BankConfig(AppConfig):
    """Installed in the processes of the benchmark only."""

    name = "tests.benchmarks.bank"
    label = "bank"
