"""A sign of life while a handler works outside any transaction, so that a slow one is not taken for a dead one."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, connections

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions import claim

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("eventsourcing_app.subscriptions")


@contextmanager
def kept_alive(claimed: claim.Claim) -> Iterator[None]:
    """Renew the lease of a claim from another thread, on a connection of its own, until the block ends.

    A process that is killed or frozen renews nothing, and its claim is given to another worker.
    """
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(claimed, done, conf.LEASE_SECONDS / 3), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _renew(claimed: claim.Claim, done: threading.Event, every: float) -> None:
    try:
        while not done.wait(every):
            try:
                if not claim.renew(claimed):
                    return
            except (DatabaseError, InterfaceError):
                logger.warning("The lease of %s could not be renewed.", claimed.subscription, exc_info=True)
                connections[conf.DATABASE].close()
    finally:
        connections.close_all()  # of this thread
