"""Reading a bank's ledger from CSV, row by row in constant memory. A row that is not sound is named by its line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import IO, TYPE_CHECKING, Literal, NoReturn

from demo_bank.money import CENT, LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS = (
    "account_id",
    "sequence",
    "date",
    "type",
    "operation",
    "amount",
    "balance",
    "purpose",
    "counter_bank",
    "counter_account",
)
_DIRECTIONS: dict[str, Literal["credit", "debit"]] = {"credit": "credit", "debit": "debit"}
_LONGEST = 200


class MalformedRow(Exception):
    """A row of the file that cannot be understood. ``line`` is its number in the file, from 1."""

    def __init__(self, line: int, why: str) -> None:
        self.line, self.why = line, why
        super().__init__(f"line {line}: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One posting."""

    line: int
    account: str
    sequence: int
    """1, 2, … within the account, in posting order."""
    booked_on: date
    direction: Literal["credit", "debit"]
    operation: str
    amount: Decimal
    balance: Decimal
    """What the bank says that the account held after this posting."""
    purpose: str
    counter_bank: str
    counter_account: str


def read_ledger(path: Path) -> Iterator[Row]:
    """Yield the rows of the file in its order. Raises ``MalformedRow`` and ``OSError``."""
    with path.open("rb") as file:
        reader = csv.reader(_decoded(file), strict=True)
        try:
            header = next(reader, [])
            if tuple(header) != COLUMNS:
                raise MalformedRow(1, f"the header must be {','.join(COLUMNS)}.")
            for values in reader:
                yield _row(reader.line_num, values)
        except csv.Error as error:
            raise MalformedRow(reader.line_num, f"this is no CSV ({error}).") from error


def count_rows(path: Path) -> int:
    """Return about how many rows there are, without understanding them: for a progress bar."""
    with path.open("rb") as file:
        return max(sum(1 for _ in file) - 1, 0)


def _decoded(file: IO[bytes]) -> Iterator[str]:
    # Line by line, because a text file is decoded ahead of what is read: the line number would be wrong.
    for line, raw in enumerate(file, start=1):
        try:
            text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedRow(line, f"this is not UTF-8 ({error.reason}).") from error
        if "\x00" in text:
            raise MalformedRow(line, "it contains NUL.")
        yield text


def _row(line: int, values: list[str]) -> Row:
    if len(values) != len(COLUMNS):
        raise MalformedRow(line, f"it has {len(values)} columns instead of {len(COLUMNS)}.")
    given = dict(zip(COLUMNS, values, strict=True))
    for column, text in given.items():
        if len(text) > _LONGEST:
            _refuse(line, column, text[:20] + "…", f"is longer than {_LONGEST} characters")
    if not given["account_id"].strip():
        _refuse(line, "account_id", given["account_id"], "is empty")
    if given["type"] not in _DIRECTIONS:
        _refuse(line, "type", given["type"], "is neither credit nor debit")
    amount = _money(line, "amount", given["amount"])
    if amount <= 0:
        _refuse(line, "amount", given["amount"], "is not positive")
    return Row(
        line=line,
        account=given["account_id"].strip(),
        sequence=_sequence(line, given["sequence"]),
        booked_on=_date(line, given["date"]),
        direction=_DIRECTIONS[given["type"]],
        operation=given["operation"],
        amount=amount,
        balance=_money(line, "balance", given["balance"]),
        purpose=given["purpose"],
        counter_bank=given["counter_bank"],
        counter_account=given["counter_account"],
    )


def _sequence(line: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) <= 15 and int(text) > 0):
        _refuse(line, "sequence", text, "is no whole number from 1")
    return int(text)


def _date(line: int, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        _refuse(line, "date", text, "is no date such as 1993-01-31")


def _money(line: int, column: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or abs(amount) > LARGEST or amount != amount.quantize(CENT):
        _refuse(line, column, text, "is no amount with at most two decimals")
    return amount.quantize(CENT)


def _refuse(line: int, column: str, text: str, why: str) -> NoReturn:
    raise MalformedRow(line, f"{column} {text!r} {why}.")
