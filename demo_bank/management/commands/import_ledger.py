"""``manage.py import_ledger``: post a bank's ledger, and check it against the bank's own balances."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from demo_bank.balances import check_balances
from demo_bank.imports import Imported, ImportStopped, Ledger
from demo_bank.ledger import MalformedRow, count_rows
from demo_bank.money import Currency
from eventsourcing_app import context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Command(BaseCommand):
    """Posts a bank's ledger. It can be killed and run again at any time: what is posted is not posted again."""

    help = "Open the accounts of a bank's ledger (CSV) and post its rows; what is posted already is left as it is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the ledger, as CSV")
        parser.add_argument(
            "--check-balances",
            action="store_true",
            help="then fold every account from its events and compare its balance after each row with the bank's",
        )
        parser.add_argument("--currency", choices=Currency.values, default="CZK", help="of all accounts (%(default)s)")
        parser.add_argument(
            "--overdraft-limit",
            type=_limit,
            default=Decimal("10000.00"),
            help="with which accounts are opened (%(default)s)",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        path: Path = options["file"]
        ledger = Ledger(path=path, currency=options["currency"], overdraft_limit=options["overdraft_limit"])
        try:
            self._import(ledger)
            if options["check_balances"]:
                self._check(path)
        except MalformedRow as error:
            raise CommandError(f"{path}, {error}") from error
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error

    def _import(self, ledger: Ledger) -> None:
        begun = time.monotonic()
        try:
            with (
                _until_asked_to_stop() as stop,
                _progress(ledger.path, "posting") as bar,
                context(actor="import_ledger"),
            ):
                done = ledger.import_all(progress=bar.update, stop=stop)
        except ImportStopped as error:
            self.stdout.write(_in_words(error.done, time.monotonic() - begun))
            raise CommandError(
                f"{ledger.path}, {error} Everything before it is kept; mend it and run again."
            ) from error
        self.stdout.write(_in_words(done, time.monotonic() - begun))
        if stop():
            raise CommandError("Asked to stop. What is posted is kept; run it again to go on.")

    def _check(self, path: Path) -> None:
        begun = time.monotonic()
        with _progress(path, "checking") as bar:
            checked = check_balances(path, progress=bar.update)
        rate = checked.rows / max(time.monotonic() - begun, 1e-6)
        self.stdout.write(
            f"Checked {checked.rows:,} rows, {checked.accounts:,} accounts: {checked.mismatches:,} mismatches "
            f"({rate:,.0f} rows/s)."
        )
        if checked.mismatches:
            raise CommandError("\n".join(["The balances do not agree:", *checked.first]))


def _limit(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None


def _in_words(done: Imported, seconds: float) -> str:
    rows = done.posted + done.skipped
    return (
        f"Read {rows:,} rows: {done.posted:,} posted, {done.skipped:,} posted before; {done.opened:,} accounts opened. "
        f"{seconds:.1f} s, {rows / max(seconds, 1e-6):,.0f} rows/s, {done.chunks} transactions of at most "
        f"{done.longest_chunk:.1f} s."
    )


def _progress(path: Path, what: str) -> Any:
    return tqdm(total=count_rows(path), desc=what, unit=" rows", file=sys.stderr, disable=not sys.stderr.isatty())


@contextmanager
def _until_asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM end the import after the chunk in hand."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
