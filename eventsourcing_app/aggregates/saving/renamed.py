"""Streams that go on under a new name. A history that began under an older one is not begun again under the new."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import ConcurrencyError
from eventsourcing_app.log.connection import stored_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing_app.aggregates.model import EventSourcedModel


def require_no_older_stream(instances: Sequence[EventSourcedModel]) -> None:
    """Raise ``ConcurrencyError`` if one of them is to be created under a key whose history began under an older name.

    The constraint of the log sees one name at a time. That of the row's key refuses as long as there is a row: with
    this, it is refused without one, too.
    """
    for instance in instances:
        older = instance.stream_type_aliases
        if not older or not instance._state.adding:
            continue
        events = stored_event().objects.using(conf.DATABASE).filter(version__isnull=False)
        last = events.filter(stream_type__in=older, stream_key=instance.stream_key).order_by("version").last()
        if last is not None:
            raise ConcurrencyError(instance.stream_type, instance.stream_key, expected=0, actual=last.version)
