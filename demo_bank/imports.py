"""Importing a bank's ledger: every row becomes a command on its account, as if it were posted now.

Rows are taken in the order of the file, in chunks; a chunk is one transaction that locks the accounts it names, runs
their commands and saves them all. So memory stays constant however long the file is, what stands before a bad row is
kept and nothing after it, and a run that was killed has stored whole chunks. The next run starts at the top again: how
far each account has come is part of its own state, so rows that are posted do nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from django.db import IntegrityError, transaction

from demo_bank.ledger import MalformedRow, Row, read_ledger
from demo_bank.models import Account
from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError, EventRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal
    from pathlib import Path

PREFIX = "ledger-"
"""What stands before the bank's own account number, so that it cannot meet one of ours."""

_FIRST_CHUNK, _LARGEST_CHUNK = 200, 2_000
_CHUNK_SECONDS = 0.5
"""A chunk aims at this time, well below the second for which others may have to wait for its accounts."""
_ATTEMPTS = 5


@dataclass(slots=True, kw_only=True)
class Imported:
    """What an import has done so far."""

    posted: int = 0
    skipped: int = 0
    """Rows that an earlier run had posted."""
    opened: int = 0
    chunks: int = 0
    last_chunk: float = 0.0
    """Seconds of the last transaction."""
    longest_chunk: float = 0.0

    def add(self, *, posted: int, skipped: int, opened: int, seconds: float) -> None:
        """Count a chunk that is committed."""
        self.posted += posted
        self.skipped += skipped
        self.opened += opened
        self.chunks += 1
        self.last_chunk = max(seconds, 1e-6)
        self.longest_chunk = max(self.longest_chunk, seconds)


class Refused(NamedTuple):
    """A row that a command refused."""

    line: int
    why: str


class ImportStopped(Exception):
    """The import cannot go on; ``done`` tells what was kept, ``line`` where it stopped."""

    def __init__(self, line: int, why: str, done: Imported) -> None:
        self.line, self.why, self.done = line, why, done
        super().__init__(f"line {line}: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A file, and the terms on which its accounts are opened."""

    path: Path
    currency: str
    overdraft_limit: Decimal

    def import_all(
        self, progress: Callable[[int], object] = lambda _rows: None, stop: Callable[[], bool] = lambda: False
    ) -> Imported:
        """Post every row that is not posted yet.

        ``progress`` is called with the number of rows of each chunk; after a chunk, ``stop`` may end the import. Raises
        ``ImportStopped`` at the first row that is malformed or refused; everything before it is kept.
        """
        done = Imported()
        for chunk, malformed in self._chunks(done):
            refused = self._import_chunk(chunk, done) if chunk else None
            if refused is not None:
                raise ImportStopped(*refused, done)
            if malformed is not None:
                raise ImportStopped(malformed.line, malformed.why, done) from malformed
            progress(len(chunk))
            if stop():
                break
        return done

    def _chunks(self, done: Imported) -> Iterator[tuple[list[Row], MalformedRow | None]]:
        chunk: list[Row] = []
        wanted = _FIRST_CHUNK
        try:
            for row in read_ledger(self.path):
                chunk.append(row)
                if len(chunk) >= wanted:
                    yield chunk, None
                    wanted = min(int(wanted * _CHUNK_SECONDS / done.last_chunk) + 1, 2 * wanted, _LARGEST_CHUNK)
                    chunk = []
        except MalformedRow as error:
            yield chunk, error
            return
        yield chunk, None

    def _import_chunk(self, chunk: list[Row], done: Imported) -> Refused | None:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._post_chunk(chunk, done)
            except (IntegrityError, ConcurrencyError):
                continue  # Another import has just opened one of these accounts: look again.
        return self._post_chunk(chunk, done)

    def _post_chunk(self, chunk: list[Row], done: Imported) -> Refused | None:
        begun = time.monotonic()
        posted = opened = 0
        refused = None
        with transaction.atomic():
            accounts = self._lock_accounts(chunk)
            changed: dict[str, Account] = {}
            for row in chunk:
                known = accounts.get(row.account)
                try:
                    account = self._open(row) if known is None else known
                    was_posted = self._post(row, account)
                except (CommandRejected, EventRefused) as error:
                    refused = Refused(row.line, str(error))
                    break
                if known is None:
                    accounts[row.account] = account
                    opened += 1
                if was_posted:
                    changed[row.account] = account
                    posted += 1
            Account.objects.save_all(list(changed.values()))
        done.add(posted=posted, skipped=len(chunk) - posted, opened=opened, seconds=time.monotonic() - begun)
        return refused

    def _lock_accounts(self, chunk: list[Row]) -> dict[str, Account]:
        # In the order of the keys, as save_all() does, so that two imports never wait for each other.
        rows = Account.objects.filter(number__in={PREFIX + row.account for row in chunk}).order_by("pk")
        return {row.number.removeprefix(PREFIX): row for row in rows.select_for_update(no_key=True)}

    def _open(self, row: Row) -> Account:
        account = Account()
        account.open(
            owner=f"Holder of account {row.account}",
            number=PREFIX + row.account,
            currency=self.currency,
            overdraft_limit=self.overdraft_limit,
        )
        return account

    def _post(self, row: Row, account: Account) -> bool:
        before = account.imported_sequence
        account.post_entry(
            sequence=row.sequence,
            booked_on=row.booked_on,
            direction=row.direction,
            amount=row.amount,
            currency=self.currency,
            operation=row.operation,
            purpose=row.purpose,
            counter_bank=row.counter_bank,
            counter_account=row.counter_account,
        )
        return account.imported_sequence > before
