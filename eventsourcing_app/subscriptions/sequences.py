"""Sequences: which events must be handled one after the other, and in which segment.

A stream is one sequence. It keeps it when its model gives it another name: the oldest name counts, which never changes.
Facts that were published with one key are one sequence, whatever their topics. A fact without a key has no order, so
each is a sequence of its own.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from eventsourcing_app.log.names import renamed

if TYPE_CHECKING:
    from uuid import UUID


class InStream(Protocol):
    """What is asked of an event: a recorded one, or a row of the log."""

    @property
    def event_id(self) -> UUID: ...
    @property
    def stream_type(self) -> str: ...
    @property
    def stream_key(self) -> str: ...
    @property
    def version(self) -> int | None: ...


class Sequences:
    """Tells the sequences of events, with the names of streams as they are when it is made."""

    def __init__(self) -> None:
        self._oldest = {name: names[-1] for names in renamed() for name in names}

    def of(self, recorded: InStream) -> str:
        """Return the sequence of an event: a hash that any process, at any time, finds again."""
        if recorded.version is None:
            key = recorded.stream_key.encode()
            return sha256(b"\0" + key if key else recorded.event_id.bytes).hexdigest()
        stream_type = self._oldest.get(recorded.stream_type, recorded.stream_type)
        return sha256(f"{stream_type}\0{recorded.stream_key}".encode()).hexdigest()


def segment_of(sequence: str, segments: int) -> int:
    """Return the number of the segment, of so many, in which a sequence is handled."""
    return int(sequence[:16], 16) % segments
