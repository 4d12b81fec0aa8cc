"""A projection that can be rebuilt: it counts what was added to each wallet, with a bug if a test wants one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventsourcing_app import Projection, RecordedEvent, handles
from tests.reactions_sample.scene import count_it
from tests.samples.events import MoneyAdded
from tests.samples.models import OwnerTotal

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

NAME = "t.totals"


def counting(*, add: Callable[[MoneyAdded, RecordedEvent], None] | None = None, **attributes: Any) -> type[Projection]:
    """Declare the projection, with a bug if ``add`` has one."""

    def by_owner(event: MoneyAdded, recorded: RecordedEvent) -> None:
        count_it(recorded.stream_key, event.amount)

    chosen = add or by_owner

    @handles(MoneyAdded)
    def added(self: Projection, event: MoneyAdded, recorded: RecordedEvent) -> None:
        chosen(event, recorded)

    return type("Totals", (Projection,), {"name": NAME, "models": (OwnerTotal,), "added": added, **attributes})


def after_one() -> Callable[[], bool]:
    """Let the rebuild begin, and then stop it."""
    asked = iter([False])
    return lambda: next(asked, True)


def totals() -> dict[str, tuple[int, Decimal]]:
    """What has been counted of each wallet."""
    return {row.reference: (row.events, row.total) for row in OwnerTotal.objects.all()}


def table() -> str:
    """Where it is counted."""
    return OwnerTotal._meta.db_table
