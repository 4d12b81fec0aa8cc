"""Signals for observers (metrics, logging, tests). They are no delivery: what must not be missed is a subscriber."""

from __future__ import annotations

from django.dispatch import Signal

events_appended = Signal()
"""Sent after the commit of each write to the log, with ``sender=StoredEvent``, ``position`` (of its last event),
``count`` and ``types`` (a frozen set of wire names). Lost if the process dies between commit and sending; a receiver
that raises is logged and stops nobody."""

event_parked = Signal()
"""Sent after an event was parked, or has failed again, with ``sender=Subscription``, ``subscription`` (its name),
``position``, ``error`` (a text) and ``dead`` (whether no further attempt will be made)."""

subscription_halted = Signal()
"""Sent after a subscription was halted by itself, with ``sender=Subscription``, ``subscription`` and ``reason``."""

subscription_caught_up = Signal()
"""Sent when a subscription that was behind has reached the settled position, with ``sender=Subscription``,
``subscription`` and ``position``. Events may be parked all the same."""
