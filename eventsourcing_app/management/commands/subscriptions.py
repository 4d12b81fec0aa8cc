"""``manage.py subscriptions``: how far each is behind, what it has parked, and what operators do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.conf import conf
from eventsourcing_app.context import context
from eventsourcing_app.exceptions import EventSourcingError
from eventsourcing_app.management.actors import actor_or_login, add_actor
from eventsourcing_app.management.stopping import stoppable
from eventsourcing_app.subscriptions import operate
from eventsourcing_app.subscriptions.definitions import stored
from eventsourcing_app.subscriptions.drain import drain
from eventsourcing_app.subscriptions.lag import Lag, lags
from eventsourcing_app.subscriptions.records import ParkedEvent
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.runtime import subscribe, unsubscribe
from eventsourcing_app.subscriptions.subscribed import definition_of

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from eventsourcing_app.subscriptions.registry import Definition, Start

_HEADER = ("NAME", "STATUS", "CHECKPOINT", "BEHIND", "SECONDS", "PARKED", "DEAD", "RATE")


class Command(BaseCommand):
    """Shows subscriptions and acts on them. Each act is an event in the log, with its actor and its reason."""

    help = "Shows how far each subscription is behind, and pauses, resumes, retries, skips, resets, catches up."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        listed = acts.add_parser("list", help="Show every subscription.")
        listed.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON array.")
        listed.add_argument(
            "--max-lag",
            type=int,
            metavar="N",
            help="Exit with 1 if one is halted, or behind by more than N events: for probes.",
        )
        parked = acts.add_parser("parked", help="Show the events that failed, and those that wait behind them.")
        parked.add_argument("name", nargs="?", help="Only of this subscription.")
        parked.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON array.")
        for act, text in _ACTS.items():
            each = acts.add_parser(act, help=text)
            each.add_argument("name", help="The subscription.")
            _ARGUMENTS.get(act, lambda _parser: None)(each)
            each.add_argument("--reason", required=True, help="Why; it is kept in the log.")
            add_actor(each)

    def handle(self, *, act: str, **options: Any) -> None:
        if act == "list":
            self._list(options["as_json"], options["max_lag"])
        elif act == "parked":
            self._parked(options["name"], options["as_json"])
        else:
            with context(actor=actor_or_login(options["actor"])):
                try:
                    said = _act(act, **options)
                except (EventSourcingError, ImproperlyConfigured) as error:
                    raise CommandError(str(error)) from error
            self.stdout.write(said)
            if act == "catch_up":
                self._drain(options["name"])

    def _list(self, as_json: bool, max_lag: int | None) -> None:
        found = lags()
        if as_json:
            self.stdout.write(json.dumps([{**each._asdict(), "seconds": round(each.seconds, 3)} for each in found]))
        else:
            self._table([_HEADER, *map(_row, found)])
        if max_lag is None:
            return
        active = [each for each in found if each.status in ("active", "halted") and each.kind != "rebuild"]
        wrong = [each for each in active if each.status == "halted" or each.events > max_lag]
        if wrong:
            raise CommandError("\n".join(map(_told, wrong)))

    def _parked(self, name: str | None, as_json: bool) -> None:
        rows = ParkedEvent.objects.using(conf.DATABASE).select_related("segment").order_by("segment", "position")
        if name is not None:
            rows = rows.filter(segment__subscription=name)
        found = [_parked_row(row) for row in rows.iterator()]
        if as_json:
            self.stdout.write(json.dumps(found))
        else:
            header = ("SUBSCRIPTION", "POSITION", "TYPE", "STREAM", "STATE", "ATTEMPTS", "RETRY", "ERROR")
            self._table([header, *(tuple(str(value) for value in row.values()) for row in found)])

    def _table(self, rows: list[tuple[str, ...]]) -> None:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _drain(self, name: str) -> None:
        """Help the workers: handle in this process what is left."""
        with stoppable() as stop:
            drained = drain(definitions=[_definition_of(name)], stop=stop)
        self.stdout.write(f"{drained.handled} events handled")
        if not drained.finished:
            raise stop.error("Stopped before it has caught up. The workers go on.")
        if drained.waiting:
            raise CommandError("\n".join(["Not caught up:", *drained.waiting]))


_ACTS = {
    "pause": "Let it handle nothing until it is resumed.",
    "resume": "Let it go on that was paused or halted.",
    "retry": "Try parked events again at once, with all their attempts.",
    "skip": "Give up one event for this subscription.",
    "reset": "Move its checkpoint.",
    "catch_up": "Serve it now, in this process too, without the waits after failures.",
    "rate": "Set how many events it may handle in a time.",
    "subscribe": "Let it go on that was unsubscribed.",
    "unsubscribe": "Stop it until it is subscribed again.",
}


def _position(parser: ArgumentParser) -> None:
    parser.add_argument("position", type=int, help="Position of the event in the log.")


def _position_or_all(parser: ArgumentParser) -> None:
    parser.add_argument("position", type=int, nargs="?", help="Position of the event. Default: all that failed.")


def _start(parser: ArgumentParser) -> None:
    parser.add_argument("to", type=_start_of, help="beginning, now, or a position; what comes after it is handled.")


def _rate(parser: ArgumentParser) -> None:
    parser.add_argument("rate", help="Such as 50/s, 100/m or 1000/h; 'none' for as many as come.")
    parser.add_argument("--burst", type=int, metavar="N", help="So many at once. Default: what comes in a second.")


def _drop(parser: ArgumentParser) -> None:
    parser.add_argument("--drop-checkpoint", action="store_true", help="Forget how far it has come.")


_ARGUMENTS = {"retry": _position_or_all, "skip": _position, "reset": _start, "rate": _rate, "unsubscribe": _drop}


def _start_of(text: str) -> Start:
    return text if text in ("beginning", "now") else int(text)  # type: ignore[return-value]


def _act(act: str, *, name: str, reason: str, **options: Any) -> str:
    if act == "retry":
        return f"{operate.retry(name, options['position'], reason=reason)} events will be tried again"
    if act == "skip":
        operate.skip(name, options["position"], reason=reason)
    elif act == "reset":
        operate.reset(name, options["to"], reason=reason)
    elif act == "rate":
        rate = "" if options["rate"] == "none" else options["rate"]
        operate.set_rate(name, rate, options["burst"], reason=reason)
    elif act == "subscribe":
        subscribe(name, reason=reason)
    elif act == "unsubscribe":
        unsubscribe(name, keep_checkpoint=not options["drop_checkpoint"], reason=reason)
    else:
        {"pause": operate.pause, "resume": operate.resume, "catch_up": operate.catch_up}[act](name, reason=reason)
    return f"{name}: done"


def _definition_of(name: str) -> Definition:
    declared = registry.get(name)
    row = stored().exclude(handler="").filter(name=name).first() if declared is None else None
    if declared is None and row is None:
        raise CommandError(f"{name} is not declared by this code: only workers that know it can serve it.")
    try:
        return declared if declared is not None else definition_of(row)  # type: ignore[arg-type]
    except ImproperlyConfigured as error:
        raise CommandError(f"{error} Only workers that have it can serve it.") from error


def _row(lag: Lag) -> tuple[str, ...]:
    numbers = (lag.checkpoint, lag.events, f"{lag.seconds:.1f}", lag.parked, lag.dead)
    return (lag.name, lag.status, *map(str, numbers), lag.rate or "-")


def _told(lag: Lag) -> str:
    if lag.status == "halted":
        return f"{lag.name} is halted: {lag.reason}"
    return f"{lag.name} is {lag.events} events and {lag.seconds:.1f} s behind"


def _parked_row(row: ParkedEvent) -> dict[str, object]:
    return {
        "subscription": row.segment.subscription_id,
        "position": row.position,
        "type": row.type,
        "stream": f"{row.stream_type} {row.stream_key}".strip(),
        "state": row.state,
        "attempts": row.attempts,
        "retry_at": row.retry_at.isoformat() if row.retry_at else None,
        "error": row.reason,
    }
