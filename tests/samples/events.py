"""Events of the sample models."""

from __future__ import annotations

from decimal import Decimal

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
