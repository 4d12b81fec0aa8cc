"""Money: a ``Decimal`` with two decimals and the code of its currency. What is not exactly that is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from django.db import models

from eventsourcing_app import CommandRejected

CENT: Final = Decimal("0.01")
LARGEST: Final = Decimal("999999999999.99")
"""What fits into a column of 14 digits with two decimals."""


class Currency(models.TextChoices):
    """The currencies of this bank; each has two decimals."""

    CHF = "CHF", "Swiss franc"
    CZK = "CZK", "Czech koruna"
    EUR = "EUR", "euro"
    GBP = "GBP", "pound sterling"
    USD = "USD", "US dollar"


def checked_amount(amount: Decimal) -> Decimal:
    """Return an amount to be moved, with exactly two decimals.

    Raises ``CommandRejected`` unless it is positive and has no more than two decimals.
    """
    exact = _quantised(amount)
    if exact <= 0:
        raise CommandRejected(f"The amount must be positive, not {amount}.", code="amount_not_positive")
    return exact


def checked_limit(limit: Decimal) -> Decimal:
    """Return an overdraft limit, with exactly two decimals. Raises ``CommandRejected`` if it is negative."""
    exact = _quantised(limit)
    if exact < 0:
        raise CommandRejected(f"An overdraft limit cannot be negative: {limit}.", code="limit_negative")
    return exact


def checked_currency(code: str) -> str:
    """Return the code of a currency of this bank. Raises ``CommandRejected`` for any other."""
    if code not in Currency.values:
        known = ", ".join(Currency.values)
        raise CommandRejected(f"This bank has no currency {code!r}; it has {known}.", code="currency_unknown")
    return str(code)


def _quantised(amount: Decimal) -> Decimal:
    if not isinstance(amount, Decimal):
        raise TypeError(f"Money is a Decimal, not {type(amount).__name__}: write Decimal('{amount}').")
    if not amount.is_finite() or abs(amount) > LARGEST:
        raise CommandRejected(f"{amount} is no amount that an account can hold.", code="amount_out_of_range")
    exact = amount.quantize(CENT)
    if exact != amount:
        raise CommandRejected(f"{amount} has more than two decimals.", code="too_many_decimals")
    return exact
