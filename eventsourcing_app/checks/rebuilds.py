"""The check of rows that a migration has left behind: they are not the fold of their events until they are rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections

from eventsourcing_app.aggregates.rebuild.due import due
from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_rebuilds(*, databases: Sequence[str] | None = None, **_kwargs: Any) -> list[checks.CheckMessage]:
    """Check for marked models, if the log's database is among those to be checked."""
    if conf.DATABASE not in (databases or ()) or conf.DATABASE not in connections:
        return []
    return [
        checks.Warning(
            f"The rows of {label} are not yet rebuilt since a migration changed the model: they may not be what its "
            "events say.",
            hint=f"Run: python manage.py rebuild {label}. The next migrate does it too, unless REBUILD_AT_MIGRATE is "
            "False.",
            id="eventsourcing_app.W008",
        )
        for label in due()
    ]
