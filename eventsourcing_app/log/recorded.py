"""``RecordedEvent``: a stored event as handlers and readers get it, light and read-only."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from eventsourcing_app.events import canonical, evolution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

COLUMNS = (
    "position",
    "event_id",
    "stream_type",
    "stream_key",
    "version",
    "type",
    "schema_version",
    "data",
    "metadata",
    "actor",
    "correlation_id",
    "causation_id",
    "recorded_at",
    "hash",
)
"""The columns of the log, in the order of ``RecordedEvent``."""


class RecordedEvent(msgspec.Struct, frozen=True):
    """One event of the log."""

    position: int
    """Its place in the log. A place, not an identity: deduplicate by ``event_id``."""
    event_id: UUID
    """Its identity, a UUIDv7."""
    stream_type: str
    """The stream type of its aggregate; the topic of a published fact."""
    stream_key: str
    """The key of its aggregate, as text; the publish key of a published fact."""
    version: int | None
    """Its number in the stream, from 1; ``None`` for a published fact."""
    type: str
    """Its wire name."""
    schema_version: int
    """The version of its class when it was written."""
    data_text: str
    """Its data as stored: canonical JSON text."""
    metadata_text: str
    """Its metadata as stored: canonical JSON text."""
    actor: str
    """Who caused it, such as ``user:7``; empty if nobody is known."""
    correlation_id: str
    """Shared by everything that happened because of one request."""
    causation_id: UUID | None
    """The event that caused it, if an event did."""
    recorded_at: datetime
    """When it was recorded, in UTC."""
    hash: bytes
    """SHA-256 of its canonical envelope."""

    @property
    def event(self) -> object:
        """The event as its class of today; older versions are upcast.

        Raises ``EventUnreadable`` (``UnknownEventType``, ``NewerEventVersion``) if this code cannot read it.
        """
        return evolution.read(self.type, self.schema_version, self.data_text)

    @property
    def data(self) -> dict[str, Any]:
        """The data as stored, as plain values; readable even if the type is not known here."""
        return _mapping(self.data_text)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata: request id, trace and whatever else the context held."""
        return _mapping(self.metadata_text)


def _mapping(text: str) -> dict[str, Any]:
    value = canonical.loads(text)
    return value if isinstance(value, dict) else {}


def from_postgresql(row: Sequence[Any]) -> RecordedEvent:
    """Make a recorded event of a row of ``COLUMNS`` whose JSON was read as text, as ``reading_cursor`` gives it."""
    if row[12].tzinfo is UTC:  # but for sessions with another time zone
        return RecordedEvent(*row)
    return RecordedEvent(*[*row[:12], row[12].astimezone(UTC), row[13]])


def from_sqlite(row: Sequence[Any]) -> RecordedEvent:
    """Make a recorded event of a row of ``COLUMNS`` as SQLite keeps them: identifiers as hex text, times naive."""
    position, event_id, *unchanged, causation_id, recorded_at, digest = row
    cause = None if causation_id is None else UUID(causation_id)
    last = (cause, recorded_at.replace(tzinfo=UTC), bytes(digest))
    return RecordedEvent(*[position, UUID(event_id), *unchanged, *last])


FROM_ROW: dict[str, Callable[[Sequence[Any]], RecordedEvent]] = {"postgresql": from_postgresql, "sqlite": from_sqlite}
"""How a database's rows become recorded events, by vendor."""
