"""The demo bank as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class DemoBankConfig(AppConfig):
    """The demo bank as a Django app."""

    name = "demo_bank"
    verbose_name = "Demo bank"
