"""Subscriptions that keep a record of what reaches them, and die where the environment says so.

``REACTIONS_PROJECTIONS`` and ``REACTIONS_SUBSCRIBERS`` say how many of each there are. ``REACTIONS_JOURNAL`` is the
file to which subscribers add a line for each event. ``REACTIONS_KILL`` (``projection 5``, ``subscriber 5``) kills the
process in the first of that kind at that version of a stream, ``REACTIONS_KILLS`` times in all. Subscribers take
``REACTIONS_SECONDS`` for each event; ``REACTIONS_HANG`` (``python 3``, ``c 3``) lets the first of them never return
from that version, in Python or in C; with ``REACTIONS_HANG_IN=projection`` the first projection neither. That one
has ``REACTIONS_SEGMENTS`` segments, and can be rebuilt.
"""

from __future__ import annotations

import os
import re
import signal
import time
from decimal import Decimal
from pathlib import Path

from eventsourcing_app import Projection, RecordedEvent, handles, publish, subscriber
from tests.samples.events import MoneyAdded, RateChanged
from tests.samples.models import OwnerTotal

JOURNAL = Path(os.environ["REACTIONS_JOURNAL"])


def write_down(line: str) -> None:
    """Add a line; the system keeps lines of several processes apart. That this one has reacted is to be seen, too."""
    with JOURNAL.open("a") as journal:
        journal.write(f"{line}\n")
    JOURNAL.with_suffix(f".{os.getsid(0)}").touch()  # that of whoever started it


def die_if_told(kind: str, recorded: RecordedEvent) -> None:
    """End as by the kernel's out-of-memory killer, a limited number of times."""
    if os.environ.get("REACTIONS_KILL") != f"{kind} {recorded.version}":
        return
    deaths = JOURNAL.with_suffix(".deaths")
    if deaths.exists() and deaths.stat().st_size >= int(os.environ.get("REACTIONS_KILLS", "1")):
        return
    with deaths.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def hang_if_told(recorded: RecordedEvent) -> None:
    """Never return: in Python, or in C, where no other thread of the process has a turn either."""
    how, _, version = os.environ.get("REACTIONS_HANG", " -1").partition(" ")
    if recorded.version != int(version):
        return
    if how == "c":
        re.match(r"(a+)+$", "a" * 64 + "b")
    while True:
        time.sleep(0.01)


class _Tally(Projection):
    """Counts the events of each stream, and writes down where one does not follow the one before."""

    number = 0

    @handles(MoneyAdded)
    def add(self, event: MoneyAdded, recorded: RecordedEvent) -> None:
        tally, _ = OwnerTotal.objects.get_or_create(reference=f"{self.number} {recorded.stream_key}")
        if tally.events + 2 != recorded.version:  # the first version opened the wallet
            write_down(f"disorder {self.number} {recorded.stream_key} {recorded.version}")
        tally.events += 1
        tally.total += event.amount
        tally.save()
        if self.number == 0:
            die_if_told("projection", recorded)
            if os.environ.get("REACTIONS_HANG_IN") == "projection":
                write_down(f"hangs {recorded.version}")
                hang_if_told(recorded)


for number in range(int(os.environ.get("REACTIONS_PROJECTIONS", "1"))):
    own = {"models": (OwnerTotal,), "segments": int(os.environ.get("REACTIONS_SEGMENTS", "1"))} if number == 0 else {}
    type(f"Tally{number}", (_Tally,), {"name": f"reactions.tally_{number}", "number": number, **own})


def _journal(number: int) -> None:
    def keep(event: MoneyAdded, recorded: RecordedEvent) -> None:
        time.sleep(float(os.environ.get("REACTIONS_SECONDS", "0")))
        if number == 0:
            hang_if_told(recorded)
            publish(RateChanged(currency=str(recorded.version), rate=Decimal(1)), key=recorded.stream_key)
        write_down(f"{number} {recorded.stream_key} {recorded.version}")
        if number == 0:
            die_if_told("subscriber", recorded)

    subscriber(f"reactions.journal_{number}", MoneyAdded)(keep)


for number in range(int(os.environ.get("REACTIONS_SUBSCRIBERS", "1"))):
    _journal(number)
