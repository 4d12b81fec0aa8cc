"""The app's configuration: it makes the parts of a rebuild small, and puts a gate before one wallet.

It is installed in child processes only. A wallet is folded from its first event, so that is where the gate stands.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import time
from pathlib import Path

from django.apps import AppConfig
from django.utils.module_loading import import_string

SPECIAL = "special"
"""Owner of the wallet at which something happens."""


class RebuildSampleConfig(AppConfig):
    """Wallets with a gate."""

    name = "tests.rebuild_sample"

    def ready(self) -> None:
        # By name: this module is imported before models can be.
        import_string("eventsourcing_app.aggregates.rebuild.runs").PART_EVENTS = 10
        wallet = import_string("tests.samples.models.Wallet")
        opened = wallet._opened

        @functools.wraps(opened)
        def gated(self: object, event: object) -> None:
            opened(self, event)
            _note(f"folded {self.owner}")  # type: ignore[attr-defined]
            if self.owner == SPECIAL:  # type: ignore[attr-defined]
                _happen()

        wallet._opened = gated


def _happen() -> None:
    what, gate = os.environ.get("REBUILD_WHAT"), Path(os.environ["REBUILD_GATE"])
    if what == "fail":
        raise ValueError("no such owner")
    if what == "die" and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    if gate.exists():
        _note(f"waiting {os.getpid()}")
        while gate.exists():
            time.sleep(0.01)


def _note(line: str) -> None:
    with Path(os.environ["REBUILD_JOURNAL"]).open("a") as journal:
        journal.write(f"{line}\n")
