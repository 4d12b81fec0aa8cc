"""Events of the sample models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Literal
from uuid import UUID

from eventsourcing_app import event


@event("samples.wallet_opened")
class WalletOpened:
    owner: str


@event("samples.money_added", aliases=("samples.money_put_in",))
class MoneyAdded:
    amount: Decimal
    reference: str = ""


@event("samples.money_taken")
class MoneyTaken:
    amount: Decimal


@event("samples.wallet_labelled")
class WalletLabelled:
    labels: list[str]


@event("samples.wallet_closed", ends=True)
class WalletClosed:
    reason: str = ""


@event("samples.counted")
class Counted:
    by: int


@event("samples.book_listed")
class BookListed:
    title: str


def _split_title(data: dict[str, object]) -> dict[str, object]:
    title, _, subtitle = str(data["title"]).partition(": ")
    return {"title": title, "subtitle": subtitle}


@event("samples.book_renamed", version=2, upcasters={1: _split_title})
class BookRenamed:
    title: str
    subtitle: str


@event("samples.rate_changed")
class RateChanged:
    currency: str
    rate: Decimal


@event("samples.never_applied")
class NeverApplied:
    pass


@event("samples.contract_signed")
class ContractSigned:
    customer_id: int
    terms: tuple[str, ...] = ()


@event("samples.scan_filed")
class ScanFiled:
    name: str
    pages: int = 0


@event("samples.passport_issued")
class PassportIssued:
    pages: int
    photo: str = ""


@event("samples.passport_stamped")
class PassportStamped:
    country: str


@event("samples.passport_lost")
class PassportLost:
    pass


@event("samples.passport_revoked", ends=True, aliases=("samples.passport_withdrawn",))
class PassportRevoked:
    pass


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Line:
    article: str
    amount: Decimal
    weights: list[float]


@event("samples.everything_happened")
class EverythingHappened:
    """One field of each type that an event may have."""

    text: str
    flag: bool
    number: int
    ratio: float
    amount: Decimal
    day: date
    moment: datetime
    clock: time
    span: timedelta
    ident: UUID
    colour: Colour
    word: Literal["yes", "no"]
    perhaps: int | None
    many: list[float]
    pair: tuple[int, str]
    several: tuple[Decimal, ...]
    mapping: dict[str, float]
    unique: set[int]
    frozen: frozenset[str]
    lines: list[Line]
