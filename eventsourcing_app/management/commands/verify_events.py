"""``manage.py verify_events``: checks every hash, canonical form and stream version of the log."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from eventsourcing_app.log.verify import verify

if TYPE_CHECKING:
    from argparse import ArgumentParser

_NAMED = 20


class Command(BaseCommand):
    """Reads the log once; exits 1 and names the first events with a fault."""

    help = "Verifies the hash and canonical form of stored events, and that each stream has versions 1 to n."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--first", type=int, default=1, help="First position (default: 1).")
        parser.add_argument("--last", type=int, default=None, help="Last position (default: the end).")

    def handle(self, *args: Any, first: int, last: int | None, verbosity: int, **options: Any) -> None:
        if first < 1 or (last is not None and last < first):
            raise CommandError("Positions count from 1, and --last is not before --first.")
        verified = 0
        show = verbosity > 0 and self.stderr.isatty()

        def progress(count: int) -> None:
            nonlocal verified
            verified += count
            if show:
                self.stderr.write(f"\r{verified} events", ending="")

        faults = verify(first=first, last=last, progress=progress)
        named = list(itertools.islice(faults, _NAMED))
        more = sum(1 for _ in faults)
        if show:
            self.stderr.write("")
        for fault in named:
            self.stdout.write(f"#{fault.position}: {fault.what}")
        if named:
            others = f" and {more} more" if more else ""
            raise CommandError(
                f"{verified} events verified: {len(named)}{others} faults. The first is at #{named[0].position}."
            )
        self.stdout.write(self.style.SUCCESS(f"{verified} events verified: no fault."))
