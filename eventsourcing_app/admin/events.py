"""The log in the admin: every stored event, newest first, and nothing to press that could change one."""

from __future__ import annotations

from django.contrib import admin

from eventsourcing_app.admin.correlation import CorrelationMixin
from eventsourcing_app.admin.event_list import EventListAdmin
from eventsourcing_app.admin.event_page import EventPageMixin
from eventsourcing_app.admin.operators import OperatorLogMixin
from eventsourcing_app.log.records import StoredEvent


@admin.register(StoredEvent)
class StoredEventAdmin(EventPageMixin, CorrelationMixin, OperatorLogMixin, EventListAdmin):
    """The stored events: their list, the page of each, their correlations, and what operators did."""
