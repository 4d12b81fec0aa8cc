"""Checking an import against the bank's own balances: after every single row, not only at the end."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from demo_bank.events import EntryPosted
from demo_bank.imports import PREFIX
from demo_bank.ledger import MalformedRow, read_ledger
from demo_bank.models import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

_NAMED = 10


@dataclass(slots=True, kw_only=True)
class Checked:
    """The outcome of a check."""

    rows: int = 0
    """Rows whose balance was compared with the bank's."""
    accounts: int = 0
    mismatches: int = 0
    first: list[str] = field(default_factory=list)
    """The first mismatches, in words."""

    def differs(self, what: str) -> None:
        """Count a mismatch."""
        self.mismatches += 1
        if len(self.first) < _NAMED:
            self.first.append(what)


def check_balances(path: Path, progress: Callable[[int], object] = lambda _rows: None) -> Checked:
    """Fold each account of the file from its events and compare its balance after every row with the bank's.

    The log alone is asked, not the state columns. Memory: eight bytes for each row of the file.
    """
    expected = _expected(path)
    keys = dict(Account.objects.filter(number__startswith=PREFIX).values_list("number", "pk"))
    checked = Checked()
    for number, balances in expected.items():
        key = keys.get(PREFIX + number)
        posted = {} if key is None else dict(_folded(key))
        checked.accounts += 1
        for sequence, cents in enumerate(balances, start=1):
            checked.rows += 1
            balance, bank = posted.get(sequence), Decimal(cents).scaleb(-2)
            if balance is None:
                checked.differs(f"account {number}, row {sequence}: not posted; the bank says {bank}")
            elif balance != bank:
                checked.differs(f"account {number}, row {sequence}: {balance}, but the bank says {bank}")
        progress(len(balances))
    return checked


def _expected(path: Path) -> dict[str, array[int]]:
    """Return the bank's balances in cents, for each account in the order of its sequence."""
    expected: dict[str, array[int]] = {}
    for row in read_ledger(path):
        balances = expected.setdefault(row.account, array("q"))
        if row.sequence != len(balances) + 1:
            raise MalformedRow(row.line, f"sequence {row.sequence} comes after {len(balances)} of its account.")
        balances.append(int(row.balance.scaleb(2)))
    return expected


def _folded(key: UUID) -> Iterator[tuple[int, Decimal]]:
    """Yield the balance after each posted row, in one pass: the state is folded on from event to event."""
    for account, recorded in Account.objects.replay(key):
        if isinstance(recorded.event, EntryPosted):
            yield recorded.event.sequence, account.balance
