"""Signals for observers (metrics, logging, tests). They are no delivery: what must not be missed is a subscriber."""

from __future__ import annotations

from django.dispatch import Signal

events_appended = Signal()
"""Sent after the commit of each write to the log, with ``sender=StoredEvent``, ``position`` (of its last event),
``count`` and ``types`` (a frozen set of wire names). Lost if the process dies between commit and sending; a receiver
that raises is logged and stops nobody."""
