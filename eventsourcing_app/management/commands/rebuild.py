"""``manage.py rebuild app.Model``: folds every aggregate of a model again and repairs, or only compares, its rows."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from eventsourcing_app.aggregates.rebuild.rebuild import Rebuilt, Stopped, check_sample
from eventsourcing_app.aggregates.rebuild.rebuilder import Ears, Progress, run_rebuild
from eventsourcing_app.aggregates.rebuild.runs import Counts, Finding, finding_of
from eventsourcing_app.exceptions import EventSourcingError
from eventsourcing_app.management.named import event_sourced_or_error
from eventsourcing_app.management.stopping import stoppable

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from datetime import datetime

    from eventsourcing_app.aggregates.model import EventSourcedModel

_TTY_SECONDS, _LINE_SECONDS = 0.5, 30.0
"""How often progress is shown: on a terminal, where it replaces itself, and in a file."""


class Command(BaseCommand):
    """Compares rows with their history; exits 1 if ``--check`` finds a difference or one cannot be repaired.

    SIGTERM and Ctrl-C end it after the current window of events, with the exit code 128 + signal.
    """

    help = (
        "Rebuilds the rows of event-sourced models from their events, or compares them with --check. It may be killed "
        "at any time: started again, it goes on where it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("models", nargs="+", metavar="app_label.Model", help="The models.")
        parser.add_argument("--check", action="store_true", help="Only compare; change nothing.")
        parser.add_argument(
            "--sample",
            type=_sample,
            metavar="N|N%",
            help="Only compare so many aggregates, or so many of a hundred, picked at random. Rows without history are "
            "not looked for.",
        )
        parser.add_argument(
            "--processes",
            type=int,
            metavar="N",
            help="Worker processes. Default: one a processor; one where SQLite is written, because it has one writer.",
        )
        parser.add_argument("--restart", action="store_true", help="Begin anew after an interrupted run, too.")
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print one JSON object a line: each row that differed, then a summary of each model.",
        )
        parser.add_argument("--no-progress", action="store_false", dest="progress", help="Show no progress on stderr.")

    def handle(
        self,
        *,
        models: list[str],
        check: bool,
        sample: dict[str, Any] | None,
        processes: int | None,
        as_json: bool,
        **options: Any,
    ) -> None:
        if processes is not None and processes < 1:
            raise CommandError("--processes is 1 or more.")
        found = [event_sourced_or_error(label) for label in dict.fromkeys(models)]
        self._json, self._check = as_json, check or sample is not None
        self._shown = options["progress"] and options["verbosity"] > 0
        failed = []
        with stoppable() as self._stop:
            for model in found:
                counts = self._sample(model, sample) if sample else self._rebuild(model, processes, options["restart"])
                if counts is None:
                    raise self._stop.error("Stopped. What is finished is stored: run it again to go on.")
                failed += self._summarise(model, counts)
        if failed:
            raise CommandError("\n".join(failed))

    def _rebuild(self, model: type[EventSourcedModel], processes: int | None, restart: bool) -> Counts | None:
        label = model._meta.label
        shown = _Shown(self, label) if self._shown else None
        ears = Ears(
            found=lambda finding: self._tell(label, finding),
            began=self._begin,
            progress=shown.show if shown else lambda _progress: None,
            note=self._note,
        )
        try:
            return run_rebuild(
                model, check=self._check, processes=processes, restart=restart, ears=ears, stop=self._stop
            )
        except EventSourcingError as error:
            raise CommandError(str(error)) from error
        finally:
            if shown:
                shown.end()

    def _sample(self, model: type[EventSourcedModel], sample: dict[str, Any]) -> Counts | None:
        seen, drifted = Rebuilt(), 0
        self._begin(timezone.now(), resumed=False)
        try:
            for drift in check_sample(model, seen=seen, stop=self._stop, **sample):
                drifted += 1
                self._tell(model._meta.label, finding_of(model, drift, check=True))
        except Stopped:
            return None
        return Counts(seen.aggregates, seen.events, drifted, drifted)

    def _begin(self, moment: datetime, resumed: bool) -> None:
        """Take note of since when the comparison holds, to say it with the counts."""
        self._began, self._resumed = moment, resumed

    def _note(self, text: str) -> None:
        if self._shown:
            self.stderr.write(text)

    def _tell(self, label: str, finding: Finding) -> None:
        if self._json:
            self.stdout.write(json.dumps({"model": label, **finding._asdict()}, ensure_ascii=False))
        else:
            self.stdout.write(_describe(label, finding))

    def _summarise(self, model: type[EventSourcedModel], counts: Counts) -> list[str]:
        label = model._meta.label
        found = f"{label}: {counts.aggregates} aggregates, {counts.events} events: {counts.drifted} differ"
        if self._resumed:
            found += f", as of {self._began:%Y-%m-%d %H:%M:%S %Z}, when the run that this went on with was begun"
        if self._json:
            since = {"started_at": self._began.isoformat(), "resumed": self._resumed}
            self.stdout.write(json.dumps({"model": label, "check": self._check, **counts._asdict(), **since}))
        if counts.left:
            return [f"{found}, {counts.left} not repaired."]
        if not self._json:
            self.stdout.write(self.style.SUCCESS(f"{found}{', all repaired' if counts.drifted else ''}."))
        return []


def _sample(text: str) -> dict[str, Any]:
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if 0 < share <= 1:
                return {"share": share}
        elif int(text) > 0:
            return {"size": int(text)}
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of aggregates, such as 200, nor a share, as 0.5%.")


def _describe(label: str, finding: Finding) -> str:
    what, event = f"{label} {finding.stream_key}", f"(event #{finding.position}, {finding.type})"
    if finding.problem == "unknown":
        return f"{what}: the row has no history. manage.py adopt begins one, if its model has an adoption_event."
    if finding.problem == "missing":
        told = f"{what}: the row is missing; its history begins at version 1 {event}."
    elif finding.problem == "left over":
        told = f"{what}: the row is left over; its history ended at version {finding.version} {event}."
    else:
        values = ", ".join(
            f"{name} is {_plain(was)}, by history {_plain(ought)}" for name, (was, ought) in finding.fields.items()
        )
        told = f"{what}: {values}; they part at version {finding.version} {event}."
    return f"{told} It cannot be repaired: {finding.refusal}" if finding.refusal else told


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Shown:
    """Progress and the time left, on stderr: one line that replaces itself on a terminal, else a line now and then."""

    def __init__(self, command: Command, label: str) -> None:
        self._command, self._label = command, label
        self._terminal = command.stderr.isatty()
        self._began = self._last = time.monotonic()
        self._open = False

    def show(self, progress: Progress) -> None:
        """Show it, unless that was done just now."""
        now = time.monotonic()
        if now - self._last < (_TTY_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._last, self._open = now, self._terminal
        line = f"{self._label}: {_progress(progress, now - self._began)}"
        self._command.stderr.write(f"\r{line:<79}" if self._terminal else line, ending="" if self._terminal else "\n")

    def end(self) -> None:
        """Leave the line."""
        if self._open:
            self._command.stderr.write("")


def _progress(progress: Progress, seconds: float) -> str:
    done = f"{progress.aggregates} aggregates, {progress.events} events"
    rate = (progress.events - progress.before) / seconds if seconds else 0.0
    if not progress.whole or not rate:
        return f"{done} of {'at least ' if not progress.whole else ''}{progress.planned}"
    left = max(0, progress.planned - progress.events)
    share = 100 * progress.events // max(progress.planned, progress.events, 1)
    minutes, rest = divmod(round(left / rate), 60)
    return f"{done} ({share} %), {rate:.0f} a second, {minutes // 60}:{minutes % 60:02}:{rest:02} left"
