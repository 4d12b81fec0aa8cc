"""The hash of an event: SHA-256 over a canonical envelope (RFC 8785) of every column but position and hash.

Anybody can compute it again from an export with any RFC 8785 library: the envelope is the JSON object of those columns,
with ``data`` and ``metadata`` as objects in it, identifiers as lower-case text, and times as RFC 3339 in UTC with six
digits. The position is left out because it is a place, not a part of the fact.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from eventsourcing_app.log.clock import timestamp

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class _Envelope(msgspec.Struct):
    # RFC 8785 sorts keys; the fields stand in that order, so that encoding them one after another is canonical.
    actor: str
    causation_id: str | None
    correlation_id: str
    data: msgspec.Raw
    event_id: str
    metadata: msgspec.Raw
    recorded_at: str
    schema_version: int
    stream_key: str
    stream_type: str
    type: str
    version: int | None


_encode = msgspec.json.Encoder().encode


def envelope(
    *,
    event_id: UUID,
    stream_type: str,
    stream_key: str,
    version: int | None,
    type: str,
    schema_version: int,
    data: str,
    metadata: str,
    actor: str,
    correlation_id: str,
    causation_id: UUID | None,
    recorded_at: datetime,
) -> bytes:
    """Return the canonical envelope of an event. ``data`` and ``metadata`` are canonical JSON text."""
    cause = None if causation_id is None else str(causation_id)
    moment = timestamp(recorded_at)
    return envelope_of_text(
        *(actor, cause, correlation_id, data, str(event_id), metadata, moment),
        *(schema_version, stream_key, stream_type, type, version),
    )


def envelope_of_text(
    actor: str,
    causation_id: str | None,
    correlation_id: str,
    data: str,
    event_id: str,
    metadata: str,
    recorded_at: str,
    schema_version: int,
    stream_key: str,
    stream_type: str,
    type: str,
    version: int | None,
) -> bytes:
    """The same for a caller that has identifiers and time as text already: many events share them."""
    raw = msgspec.Raw
    return _encode(
        _Envelope(
            *(actor, causation_id, correlation_id, raw(data), event_id, raw(metadata), recorded_at),
            *(schema_version, stream_key, stream_type, type, version),
        )
    )


def fingerprint(canonical_envelope: bytes) -> bytes:
    """Return the SHA-256 of an envelope, 32 bytes."""
    return sha256(canonical_envelope).digest()
