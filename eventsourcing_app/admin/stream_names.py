"""Streams by name: what the aggregate is called that an event belongs to, for viewers who may see it in this site.

One query for each model among the events of a page, however many they are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError
from django.db.models import Model

from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.admin.keys import key_in
from eventsourcing_app.aggregates.keys import key_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.records import StoredEvent

logger = logging.getLogger(__name__)


def names_of_streams(
    site: AdminSite, request: HttpRequest, events: Iterable[StoredEvent]
) -> Mapping[tuple[str, str], str]:
    """Return, by type and key of a stream, what aggregates are called whose model says so and which the viewer may see.

    That is the text of the row as it is now. What has no row, or only Django's text for one, is left out.
    """
    models = models_by_stream_type()
    keys: dict[type[EventSourcedModel], dict[Any, set[tuple[str, str]]]] = {}
    for event in events:
        model = models.get(event.stream_type)
        if model is None or event.version is None or model.__str__ is Model.__str__:
            continue
        if (key := key_in(event.stream_key, key_field(model))) is not None:
            keys.setdefault(model, {}).setdefault(key, set()).add((event.stream_type, event.stream_key))
    names = {}
    for model, streams in keys.items():
        for row in _rows(site, request, model, list(streams)):
            if name := _name_of(row):
                names.update(dict.fromkeys(streams.get(row.pk, ()), name))
    return names


def _name_of(row: EventSourcedModel) -> str:
    """What a row is called; nothing where its ``__str__`` fails: a page of the log must not."""
    try:
        return str(row)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("The name of a %s could not be told.", type(row).__name__)
        return ""


def _rows(site: AdminSite, request: HttpRequest, model: type[EventSourcedModel], keys: list[Any]) -> list[Any]:
    shown: Any = site._registry.get(model)
    if shown is None or not shown.has_view_or_change_permission(request):
        return []
    rows = shown.get_queryset(request).filter(pk__in=keys)
    related = shown.get_list_select_related(request)  # by which its own list names rows without a query for each
    if related:
        rows = rows.select_related(*(() if related is True else related))
    return [row for row in rows if shown.has_view_or_change_permission(request, row)]
