"""Where values of an event lead: to the aggregate, event or correlation that a UUID or key in it names.

A UUID may name any of them. Another key counts only in a field that is called like a model (``account``,
``from_account_id``), since any text or number is somebody's key. A UUID that names none of them, but stands in another
event of the same correlation as well, leads to the correlation: such is the id of a transfer that two accounts record.
Two queries at most.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db.models import Q, Subquery

from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.log.beginning import Beginning
from eventsourcing_app.log.names import names_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from eventsourcing_app.admin.links import Links
    from eventsourcing_app.admin.payload import Leaf
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

MOST_VALUES: Final = 20
"""How many values of an event are looked up at most, its first ones."""
_AROUND, _TEXT = 100, 20_000
"""How many events of the correlation are looked through, and how much of the text of each."""
_LONGEST_KEY = 255
_KEY = re.compile(r"_(?:id|key|pk)\Z")


def urls_of(visible: StoredEventQuerySet, links: Links, event: StoredEvent, leaves: Iterable[Leaf]) -> dict[Leaf, str]:
    """Return where each of the leaves of an event leads, of those that lead anywhere where this user may go."""
    some = [leaf for leaf in dict.fromkeys(leaves) if len(leaf[1]) <= _LONGEST_KEY and is_text(leaf[1])]
    uuids = {leaf: uuid for leaf in some if (uuid := _uuid(leaf[1]))}
    called = _models_called({leaf[0] for leaf in some})
    keys = {leaf: called[leaf[0]] for leaf in some if leaf not in uuids and leaf[0] in called}
    wanted = [leaf for leaf in some if leaf in uuids or leaf in keys][:MOST_VALUES]
    if not wanted:
        return {}
    named = _named(visible, event, {uuids[leaf] for leaf in wanted if leaf in uuids}, _streams(wanted, keys))
    urls: dict[Leaf, str | None] = {}
    for leaf in wanted:
        urls[leaf] = _url(links, named, leaf[1], uuids.get(leaf), keys.get(leaf))
    missing = [leaf for leaf in wanted if urls[leaf] is None and leaf in uuids]
    if missing and event.correlation_id:
        shared = _shared(visible, event, {leaf[1] for leaf in missing})
        urls |= {leaf: links.correlation_url(event.correlation_id) for leaf in missing if leaf[1] in shared}
    return {leaf: url for leaf, url in urls.items() if url is not None}


def _streams(
    leaves: Collection[Leaf], keys: dict[Leaf, type[EventSourcedModel]]
) -> dict[type[EventSourcedModel], set[str]]:
    streams: dict[type[EventSourcedModel], set[str]] = {}
    for leaf in leaves:
        if (model := keys.get(leaf)) is not None:
            streams.setdefault(model, set()).add(leaf[1])
    return streams


def _named(
    visible: StoredEventQuerySet,
    event: StoredEvent,
    uuids: Collection[UUID],
    streams: dict[type[EventSourcedModel], set[str]],
) -> list[StoredEvent]:
    """Fetch the events that have one of the ids, the first one of each stream, and of each correlation."""
    wanted = Q()
    if uuids:
        texts = [str(each) for each in uuids]
        wanted = Q(event_id__in=uuids)
        wanted |= Q(stream_type__in=sorted(models_by_stream_type()), stream_key__in=texts, version=1)
        for text in texts:
            first = visible.filter(correlation_id=text).order_by("position").values("position")[:1]
            wanted |= Q(position=Subquery(first))
    for model, keys in streams.items():
        wanted |= Q(stream_type__in=names_of(model.stream_type), stream_key__in=keys, version=1)
    columns = ("position", "event_id", "stream_type", "stream_key", "version", "correlation_id")
    return list(visible.filter(wanted).exclude(pk=event.pk).only(*columns)) if wanted else []


def _url(
    links: Links,
    found: Iterable[StoredEvent],
    text: str,
    uuid: UUID | None,
    model: type[EventSourcedModel] | None,
) -> str | None:
    for each in found:
        if uuid is not None and each.event_id == uuid:
            return links.event_url(each.position)
        is_of_model = model is None or each.stream_type in names_of(model.stream_type)
        if each.version == 1 and each.stream_key == (text if uuid is None else str(uuid)) and is_of_model:
            stream = each.stream_type, each.stream_key
            return links.aggregate_url(*stream) or links.events_url(stream_type=stream[0], stream_key=stream[1])
        if uuid is not None and each.correlation_id == str(uuid):
            return links.correlation_url(each.correlation_id)
    return None


def _shared(visible: StoredEventQuerySet, event: StoredEvent, texts: Collection[str]) -> set[str]:
    """Return those of some texts that are in what other events of the correlation say."""
    of_it = visible.filter(correlation_id=event.correlation_id)
    near = of_it.filter(position__gte=event.position - _AROUND).order_by("position").values("position")[:_AROUND]
    said = visible.filter(position__in=Subquery(near)).exclude(pk=event.pk)
    wanted = Q()
    for text in texts:
        wanted |= Q(said__contains=text)
    rows = said.annotate(said=Beginning("data", _TEXT)).filter(wanted).values_list("said", flat=True)[:MOST_VALUES]
    return {text for row in rows for text in texts if text in row}


def _models_called(names: Iterable[str]) -> dict[str, type[EventSourcedModel]]:
    """Return, by field name, the event-sourced model that it is called after, of those that are."""
    models = {str(model._meta.model_name): model for model in models_by_stream_type().values()}
    words = {name: _KEY.sub("", name).replace("_", "") for name in names}
    return {name: model for name, word in words.items() for label, model in models.items() if word.endswith(label)}


def _uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None
