"""A sign of life while handlers work outside any transaction, so that a slow one is not taken for a dead one."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError, connections

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions import claim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.subscriptions.worker import Worker

_HANGS = "A handler has taken more than %s s: what its worker has claimed is left to others. See HANDLER_SECONDS."

logger = logging.getLogger("eventsourcing_app.subscriptions")


@contextmanager
def kept_alive(worker: Worker) -> Iterator[None]:
    """Renew the leases of what a worker is at, from another thread with a connection of its own.

    A process that is killed or frozen renews nothing, and its claims are given to other workers; so are those of one
    whose handler has not returned after ``HANDLER_SECONDS``, where no supervisor ends it.
    """
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(worker, done, conf.LEASE_SECONDS / 3), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _renew(worker: Worker, done: threading.Event, every: float) -> None:
    try:
        while not done.wait(every):
            try:
                held = worker.held
                hangs = time.monotonic() - worker.called_at > conf.HANDLER_SECONDS
                if held and not hangs:
                    claim.renew(worker.token, held)
                elif held:
                    logger.error(_HANGS, conf.HANDLER_SECONDS)
            except (DatabaseError, InterfaceError):
                logger.warning("The leases of a worker could not be renewed.", exc_info=True)
                connections[conf.DATABASE].close()
    finally:
        connections.close_all()  # of this thread
