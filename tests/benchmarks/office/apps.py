"""The app's configuration. Its table is made without migrations (``migrate --run-syncdb``)."""

from __future__ import annotations

from django.apps import AppConfig


class OfficeConfig(AppConfig):
    """Installed in the processes that fill and serve the admin only."""

    name = "tests.benchmarks.office"
    label = "office"
