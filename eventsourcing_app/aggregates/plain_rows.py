"""The rows of an event-sourced model as they are, for the library itself.

The model's own queryset refuses to write them, and a custom manager may hide some.
"""

from __future__ import annotations

from typing import TypeVar

from django.db import models

from eventsourcing_app.conf import conf

M = TypeVar("M", bound=models.Model)


def plain_rows(model: type[M]) -> models.QuerySet[M]:
    """Return every row of a model, in the database of the log, with nothing refused."""
    return models.QuerySet(model, using=conf.DATABASE)
