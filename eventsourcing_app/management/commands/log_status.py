"""``manage.py log_status``: how far the log goes, how far it is settled, and what holds the rest back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.exceptions import LogUnsafe
from eventsourcing_app.log.settled import LogStatus, OpenAppend, status

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    """Prints the state of the log's order."""

    help = (
        "Shows the newest position of the log, the settled position and the oldest transaction that holds it back. "
        "An open append without an age belongs to another role: grant pg_read_all_stats to see it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON object.")

    def handle(self, *, as_json: bool = False, **_options: object) -> None:
        try:
            found = status()
        except LogUnsafe as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(_as_dict(found)) if as_json else _as_text(found))


def _as_dict(found: LogStatus) -> dict[str, object]:
    append = found.oldest_open_append
    return {
        "last_position": found.last,
        "settled_position": found.settled,
        "distance": found.distance,
        "candidate": found.candidate,
        "holders": found.holders,
        "oldest_open_append": append
        and {
            "age_seconds": append.age.total_seconds() if append.age is not None else None,
            "pid": append.pid,
            "prepared": append.prepared,
        },
    }


def _as_text(found: LogStatus) -> str:
    candidate = "none"
    if found.candidate is not None:
        candidate = f"{found.candidate}, once {found.holders} transaction{'' if found.holders == 1 else 's'} ended"
    lines = {
        "Last position": str(found.last),
        "Settled position": f"{found.settled} ({found.distance} behind)",
        "Next candidate": candidate,
        "Oldest open append": _described(found.oldest_open_append),
    }
    return "\n".join(f"{label + ':':<20} {value}" for label, value in lines.items())


def _described(append: OpenAppend | None) -> str:
    if append is None:
        return "none"
    who = f"pid {append.pid}" if append.prepared is None else f"prepared transaction {append.prepared!r}"
    return f"{who}, open for {append.age}" if append.age is not None else f"{who}, age unknown"
