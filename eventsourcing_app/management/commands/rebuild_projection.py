"""``manage.py rebuild_projection``: builds the tables of a projection again, beside the ones that serve."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.context import context
from eventsourcing_app.exceptions import EventSourcingError
from eventsourcing_app.management.actors import actor_or_login, add_actor
from eventsourcing_app.management.stopping import stoppable
from eventsourcing_app.projections.rebuilding import Progress, Rebuilt, Wishes, cancel, rebuild, rebuild_in_place

if TYPE_CHECKING:
    from argparse import ArgumentParser

_TTY_SECONDS, _LINE_SECONDS = 0.5, 30.0
"""How often progress is shown: on a terminal, where it replaces itself, and in a file."""
_STOPPED = "Stopped. What is built is kept: run it again to go on, or with --cancel to drop it."
_STOPPED_IN_PLACE = "Stopped. Nothing has changed: run it again to begin anew."


class Command(BaseCommand):
    """Builds a projection again; exits with 1 if ``--check`` finds a difference, or if events fail.

    SIGTERM and Ctrl-C end it after the current batch, with the exit code 128 + signal.
    """

    help = (
        "Builds the tables of a projection again from all events, beside the ones that serve, and exchanges them in a "
        "moment. It may be killed at any time: started again, it goes on where it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="The name of the projection.")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--check", action="store_true", help="Only compare; keep the tables that serve.")
        how.add_argument("--compare", action="store_true", help="Compare before the exchange, and tell what differs.")
        how.add_argument(
            "--in-place",
            action="store_true",
            help="Empty the tables and fill them, in one transaction: for small ones.",
        )
        how.add_argument("--cancel", action="store_true", help="Drop what an interrupted run has built.")
        parser.add_argument("--restart", action="store_true", help="Begin anew after an interrupted run, too.")
        parser.add_argument(
            "--with-parked", action="store_true", help="Exchange also if events failed; they stay parked."
        )
        parser.add_argument(
            "--processes",
            type=int,
            metavar="N",
            help="Worker processes, no more than the projection has segments. Default: one a processor.",
        )
        parser.add_argument(
            "--reason", default="", help="Why; it is kept in the log. Needed unless --check or --cancel is given."
        )
        add_actor(parser)
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON object at the end.")
        parser.add_argument("--no-progress", action="store_false", dest="progress", help="Show no progress on stderr.")

    def handle(self, *, name: str, processes: int | None, as_json: bool, **options: Any) -> None:
        if processes is not None and processes < 1:
            raise CommandError("--processes is 1 or more.")
        if not (options["reason"].strip() or options["check"] or options["cancel"]):
            raise CommandError("Say why, with --reason: it is kept in the log.")
        shown = options["progress"] and options["verbosity"] > 0
        self._name, self._last, self._began = name, 0.0, time.monotonic()
        with stoppable() as stop, context(actor=actor_or_login(options["actor"])):
            wishes = Wishes(
                processes=processes or os.cpu_count() or 1,
                restart=options["restart"],
                compare=options["compare"],
                only_compare=options["check"],
                with_parked=options["with_parked"],
                reason=options["reason"],
                stop=stop,
                progress=self._show if shown else lambda _progress: None,
                note=self.stderr.write if shown else lambda _text: None,
            )
            try:
                if options["cancel"]:
                    there = cancel(name)
                    self.stdout.write(f"{name}: {'dropped' if there else 'there was nothing to drop'}.")
                    return
                result = (rebuild_in_place if options["in_place"] else rebuild)(name, wishes)
            except EventSourcingError as error:
                raise CommandError(str(error)) from error
            if not result.finished:
                raise stop.error(_STOPPED_IN_PLACE if options["in_place"] else _STOPPED)
        self._tell(name, result, as_json)

    def _tell(self, name: str, result: Rebuilt, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(_as_dict(name, result), default=str, ensure_ascii=False))
        else:
            for each in result.differences:
                self.stdout.write(f"{each.table}: {each.live} times now, {each.rebuilt} by history: {each.values}")
            if result.swapped:
                self.stdout.write(self.style.SUCCESS(f"{name}: built again, up to #{result.checkpoint}."))
        if result.differing is not None and not as_json:
            self.stdout.write(f"{name}: {result.differing} rows differ, as of #{result.checkpoint}.")
        if result.differing and not result.swapped:
            raise CommandError(f"{name} is not what its events say: {result.differing} rows differ.")

    def _show(self, progress: Progress) -> None:
        terminal, now = self.stderr.isatty(), time.monotonic()
        if now - self._last < (_TTY_SECONDS if terminal else _LINE_SECONDS):
            return
        first, self._last = not self._last, now
        if first:
            self._began, self._done = now, progress.done
            return
        rate = (progress.done - self._done) / max(now - self._began, 0.001)
        share = 100 * progress.done // max(progress.whole, 1)
        line = f"{self._name}: {progress.done} of {progress.whole} positions ({share} %), {rate:.0f} a second"
        if rate > 0:
            minutes, seconds = divmod(round(max(0, progress.whole - progress.done) / rate), 60)
            line += f", {minutes // 60}:{minutes % 60:02}:{seconds:02} left"
        self.stderr.write(f"\r{line:<79}" if terminal else line, ending="" if terminal else "\n")


def _as_dict(name: str, result: Rebuilt) -> dict[str, object]:
    return {
        "projection": name,
        "swapped": result.swapped,
        "checkpoint": result.checkpoint,
        "differing": result.differing,
        "differences": [each._asdict() for each in result.differences],
        "parked": result.parked,
    }
