"""A pytest plugin: tests of pytest-django that flush the database may empty protected tables, and nothing else may.

It brings the fixture ``captured_events``, too. Installed with the package. Without Django's settings, or without this
app in them, it does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.apps import apps
from django.conf import settings

from eventsourcing_app import testing
from eventsourcing_app.testing.append_only import flush_allowed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Allow the flush that ends ``transactional_db`` and ``django_db(transaction=True)``, failed tests included."""
    if not (settings.configured and apps.ready and apps.is_installed("eventsourcing_app")):
        return (yield)
    with flush_allowed():
        return (yield)


@pytest.fixture
def captured_events(db: None) -> Iterator[testing.CapturedEvents[object]]:
    """The events that the test has appended so far, committed or not."""
    captured: testing.CapturedEvents[object] = testing.CapturedEvents()
    with captured._watching():
        yield captured
