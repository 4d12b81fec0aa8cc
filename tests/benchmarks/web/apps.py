"""The app's configuration. Its tables are made by the process that asks for them."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Installed in the processes that answer requests only."""

    name = "tests.benchmarks.web"
    label = "benchmark_web"
