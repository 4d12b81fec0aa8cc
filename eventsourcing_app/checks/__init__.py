"""System checks: what would make the log unsafe, slow or unreadable is said before it happens.

    E001–E019, W001–W019   the log's database; only with ``manage.py check --database`` and before ``migrate``
    E020–E029, W020–W029   the setting ``EVENTSOURCING`` and the databases it speaks of
    E030–E039              declared events
    E040–E049, W040–W049   the queue, and W090–W099
    E050–E059              database routers
    W060–W069, E060–E069   event-sourced models in the admin
    W061                   flows, by exception
    E080–E089, W080–W089   subscriptions and projections; those that read the database as E001
    E100–E129              event-sourced models

An id keeps its meaning forever.
"""

from __future__ import annotations

from django.core import checks

from eventsourcing_app.checks.admin import check_admin
from eventsourcing_app.checks.database import check_log_database
from eventsourcing_app.checks.declarations import check_declarations
from eventsourcing_app.checks.flows import check_flows
from eventsourcing_app.checks.histories import check_histories
from eventsourcing_app.checks.models import check_models
from eventsourcing_app.checks.queue import check_queue
from eventsourcing_app.checks.reactions import check_read_models, check_topics
from eventsourcing_app.checks.rebuilds import check_rebuilds
from eventsourcing_app.checks.routing import check_routing
from eventsourcing_app.checks.settings import check_settings
from eventsourcing_app.checks.subscriptions import check_subscriptions

TAG = "eventsourcing"


def register_checks() -> None:
    """Register every check; called once, when the apps are ready."""
    for check in (check_log_database, check_histories, check_rebuilds, check_subscriptions):
        checks.register(check, checks.Tags.database, TAG)
    of_code = (
        *(check_settings, check_declarations, check_flows, check_models, check_admin, check_queue, check_routing),
        *(check_read_models, check_topics),
    )
    for check in of_code:
        checks.register(check, TAG)
