"""The app's configuration: finds every app's events and reactions, registers checks, and schedules the sweep."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig, apps
from django.core.management.base import OutputWrapper
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules, import_string
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.conf import conf


class EventSourcingConfig(AppConfig):
    """Event sourcing for Django models."""

    name = "eventsourcing_app"
    verbose_name = _("Event sourcing")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # By name: this module is imported before models can be.
        autodiscover_modules("events")
        autodiscover_modules("reactions")
        import_string("eventsourcing_app.checks.register_checks")()
        log_grew = import_string("eventsourcing_app.log.commits.log_grew")
        log_grew.connect(import_string("eventsourcing_app.subscriptions.wake.request"), dispatch_uid=self.name)
        post_migrate.connect(_schedule_sweep, dispatch_uid=f"{self.name}.sweep")
        post_migrate.connect(_define_subscriptions, sender=self, dispatch_uid=f"{self.name}.subscriptions")
        post_migrate.connect(_rebuild_due, sender=self, dispatch_uid=f"{self.name}.rebuilds")


def _define_subscriptions(using: str, **_signal: Any) -> None:
    """From the release on, not from when a worker first runs."""
    subscriptions = apps.get_model("eventsourcing_app", "Subscription")._meta.db_table
    if using == conf.DATABASE and subscriptions in connections[using].introspection.table_names():
        registry = import_string("eventsourcing_app.subscriptions.registry.registry")
        import_string("eventsourcing_app.subscriptions.release.define")(registry.all())


def _rebuild_due(using: str, verbosity: int, stdout: OutputWrapper | None = None, **_signal: Any) -> None:
    """When every migration has been applied: what migrations have marked is rebuilt with the code of today."""
    if using == conf.DATABASE:
        out = stdout or OutputWrapper(sys.stdout)
        say = out.write if verbosity > 0 else _say_nothing
        import_string("eventsourcing_app.aggregates.rebuild.due.rebuild_due")(say)


def _say_nothing(_text: str) -> None:
    """For ``migrate --verbosity 0``."""


def _schedule_sweep(app_config: AppConfig, using: str, **_signal: Any) -> None:
    """Once the tables of django-q2 exist, whichever app is migrated last."""
    if app_config.name not in ("eventsourcing_app", "django_q") or conf.DISPATCHER != "django_q":
        return
    schedules = apps.get_model("django_q", "Schedule")._meta.db_table if apps.is_installed("django_q") else None
    if schedules in connections[using].introspection.table_names():
        import_string("eventsourcing_app.tasks.schedule_sweep")(using)
