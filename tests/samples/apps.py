"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class SamplesConfig(AppConfig):
    """Sample models of the tests."""

    name = "tests.samples"
    label = "samples"
    default_auto_field = "django.db.models.BigAutoField"
