"""``drain()``: let every subscription catch up, here and now, in a test."""

from __future__ import annotations

from eventsourcing_app.subscriptions import drain as loop


def drain(*, raise_errors: bool = True) -> int:
    """Deliver whatever has been appended to whoever reacts to it, and return how many events were handled.

    A subscription that failed before is tried again at once. Works inside the transaction of a ``TestCase``:
    subscribers then run in it, too. What a handler raises is raised here, after the others had their turn; with
    ``raise_errors=False`` it is only stored with the subscription, as in production.
    """
    drained = loop.drain(inside_transaction=True, early=True)
    if raise_errors and drained.errors:
        raise drained.errors[0]
    return drained.handled
