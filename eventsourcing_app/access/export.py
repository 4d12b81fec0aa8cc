"""Exports of stored events as NDJSON and CSV: window after window by position, so that memory stays constant.

Each window is a short query of its own; no transaction and no cursor stays open while somebody downloads. An export
ends at the position up to which the log was settled when it began: no event can still appear below, so that the next
export goes on after it without missing one.

A file that was cut off must not look whole. An error ends it with a line that says so, and is then raised, for the
server to break off the connection.

A spreadsheet takes a cell that begins with one of some characters for a formula, which can send away what stands in
the others. CSV exports write an apostrophe before it, also in the text within ``data`` and ``metadata``, where a
spreadsheet that splits by other characters finds the beginnings of cells. Source: OWASP, "CSV Injection",
https://owasp.org/www-community/attacks/CSV_Injection. NDJSON is exact.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, Literal

from eventsourcing_app.access.masking import PAYLOAD, may_view_payload, without_masked
from eventsourcing_app.log.recorded import COLUMNS
from eventsourcing_app.log.settled import settled_position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

Form = Literal["ndjson", "csv"]
CONTENT_TYPES: Final[Mapping[Form, str]] = {
    "ndjson": "application/x-ndjson; charset=utf-8",
    "csv": "text/csv; charset=utf-8; header=present",
}
FIELDS: Final = (*COLUMNS, "masked")
"""What is exported of an event: the columns of the log, and whether some are masked."""
WINDOW: Final = 200
"""Events fetched at a time, at most."""
FIRST_WINDOW: Final = 20
"""Events fetched at first: nobody knows yet how large they are."""
LARGEST_PART: Final = 1_000_000
"""Bytes that are made at a time, about: where events are large, fewer of them are fetched."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Readers that split text, not bytes, into lines take these for ends of lines, too.
_LINES = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})


class Export:
    """All of ``events`` above ``after``, as the user may see them, rising by position or with the newest first.

    ``events`` are among those that the user may see and export (``visible_events``, ``may_export_events``).
    """

    def __init__(
        self,
        events: StoredEventQuerySet,
        form: Form,
        *,
        user: Viewer,
        after: int = 0,
        newest_first: bool = False,
    ) -> None:
        self._events = without_masked(events, user)
        self._masked = not may_view_payload(user)
        self._form: Form = form
        self._after, self._newest_first = after, newest_first
        self._limit = FIRST_WINDOW
        self.until = settled_position()
        """The position that it goes up to."""

    @property
    def content_type(self) -> str:
        """Its media type."""
        return CONTENT_TYPES[self._form]

    @property
    def file_name(self) -> str:
        """A name that no file system and no header takes for something else."""
        return f"events-until-{self.until}.{self._form}"

    def chunks(self) -> Iterator[bytes]:
        """Yield the file in parts, one a window. Whatever fails is raised after a last line that tells of it."""
        write = _WRITERS[self._form]
        reached = self.until if self._newest_first else self._after
        if self._form == "csv":
            yield _csv([FIELDS])
        try:
            for events in self._windows():
                part = write([row_of(event, masked=self._masked) for event in events])
                self._limit = max(1, min(WINDOW, self._limit * LARGEST_PART // len(part)))
                yield part
                reached = events[-1].position
        except Exception:
            yield _FAILURES[self._form](reached)
            raise

    def _windows(self) -> Iterator[Sequence[StoredEvent]]:
        low, high = self._after, self.until
        order = "-position" if self._newest_first else "position"
        while True:
            within = self._events.filter(position__gt=low, position__lte=high)
            limit = self._limit
            events = list(within.order_by(order)[:limit])
            if events:
                yield events
            if len(events) < limit:
                return
            if self._newest_first:
                high = events[-1].position - 1
            else:
                low = events[-1].position


def row_of(event: StoredEvent, *, masked: bool) -> dict[str, Any]:
    """Return an event in the form in which the API shows it."""
    row = {name: None if masked and name in PAYLOAD else getattr(event, name) for name in COLUMNS}
    row["event_id"] = str(event.event_id)
    row["causation_id"] = None if event.causation_id is None else str(event.causation_id)
    row["recorded_at"] = event.recorded_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if not masked:
        row["hash"] = bytes(event.hash).hex()
    return {**row, "masked": masked}


def safe_cell(value: Any) -> Any:
    """Return a value of JSON with no text in it that a spreadsheet takes for a formula."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if isinstance(value, dict):
        return {safe_cell(name): safe_cell(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [safe_cell(inner) for inner in value]
    return value


def _ndjson(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(f"{_json(row)}\n" for row in rows).encode()


def _csv_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return _csv([[_cell(row[name]) for name in FIELDS] for row in rows])


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    value = safe_cell(value)
    return _json(value) if isinstance(value, (dict, list, bool)) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_LINES)


def _failed_ndjson(reached: int) -> bytes:
    return f"{_json({'error': 'export_failed', 'after_position': reached})}\n".encode()


def _failed_csv(reached: int) -> bytes:
    return _csv([[f"EXPORT FAILED after position {reached}: this file is not complete."]])


_WRITERS: Mapping[Form, Callable[[Sequence[Mapping[str, Any]]], bytes]] = {"ndjson": _ndjson, "csv": _csv_rows}
_FAILURES: Mapping[Form, Callable[[int], bytes]] = {"ndjson": _failed_ndjson, "csv": _failed_csv}
