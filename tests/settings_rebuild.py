"""The tests' settings for child processes that rebuild: an app that stops, fails or dies in the middle."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as TEST_APPS

INSTALLED_APPS = [*TEST_APPS, "tests.rebuild_sample"]
