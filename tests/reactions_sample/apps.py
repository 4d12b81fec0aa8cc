"""The app's configuration. It has no models: read models are those of the samples."""

from __future__ import annotations

from django.apps import AppConfig


class ReactionsSampleConfig(AppConfig):
    """Subscriptions of child processes."""

    name = "tests.reactions_sample"
