"""Arrival: whether a rebuild has all events behind it that it was to handle, and which of them failed.

What has not arrived is never put in place: readers would see less than they do now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import RebuildFailed
from eventsourcing_app.subscriptions.definitions import segments_of, stored
from eventsourcing_app.subscriptions.lag import waiting
from eventsourcing_app.subscriptions.records import ParkedEvent

if TYPE_CHECKING:
    from collections.abc import Sequence


def require_checkpoint(name: str) -> None:
    """Raise ``RebuildFailed`` for a projection that was unsubscribed and has forgotten how far it had come."""
    if not segments_of(name).exists():
        raise RebuildFailed(
            f"{name} was unsubscribed and its checkpoint dropped: nothing would keep it up to date. First subscribe it "
            "again."
        )


def require_arrived(name: str, until: int) -> None:
    """Raise ``RebuildFailed``, with the reason, if a subscription has not come to a position."""
    behind = segments_of(name).filter(checkpoint__lt=until).order_by("checkpoint").first()
    if behind is None:
        return
    row = stored().get(name=name)
    why = "; ".join(waiting([name], until=until)) or f"it is {row.status} {row.status_reason}".strip()
    raise RebuildFailed(
        f"{name} has come to #{behind.checkpoint}, and not to #{until}, so nothing was put in place: {why}"
    )


def failed_in(name: str) -> list[str]:
    """Return the events that a subscription has failed on, each in one line."""
    rows = ParkedEvent.objects.using(conf.DATABASE).filter(segment__subscription=name)
    failed = rows.exclude(state=ParkedEvent.State.BEHIND).order_by("position")
    return [f"#{row.position} {row.type} ({row.stream_type} {row.stream_key}): {row.reason}" for row in failed]


def require_none_failed(live: str, failed: Sequence[str]) -> None:
    """Raise ``RebuildFailed`` if events failed while a projection was built again."""
    if not failed:
        return
    shown = "\n".join(f"  {each}" for each in failed[:10])
    more = f"\n  … and {len(failed) - 10} more" if len(failed) > 10 else ""
    raise RebuildFailed(
        f"{len(failed)} events failed while {live} was built again, so it was not put in place:\n{shown}{more}\n"
        "Mend the handler and run it again. If it was the data that was at fault, mend that and run it with --restart. "
        "Or put it in place as it is with --with-parked: they stay parked."
    )
