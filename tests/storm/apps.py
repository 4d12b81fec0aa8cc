"""The app's configuration: the storm has read models of its own."""

from __future__ import annotations

from django.apps import AppConfig


class StormConfig(AppConfig):
    """Read models that the storm's projections fill."""

    name = "tests.storm"
    label = "storm"
    default_auto_field = "django.db.models.BigAutoField"
