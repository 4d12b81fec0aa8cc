"""What operators did, in words for people, by the wire name of the event that tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrPromise

NAMES: Final[Mapping[str, _StrPromise]] = {
    "eventsourcing.subscription_started": _("subscribed"),
    "eventsourcing.subscription_stopped": _("unsubscribed"),
    "eventsourcing.subscription_paused": _("paused"),
    "eventsourcing.subscription_resumed": _("resumed"),
    "eventsourcing.subscription_reset": _("reset"),
    "eventsourcing.subscription_hurried": _("told to catch up"),
    "eventsourcing.subscription_rate_changed": _("rate set"),
    "eventsourcing.projection_rebuilt": _("rebuilt"),
    "eventsourcing.parked_events_retried": _("parked events retried"),
    "eventsourcing.event_skipped": _("event skipped"),
}


def name_of_act(wire_name: str) -> str:
    """Return what was done; the wire name itself for what there are no words for."""
    return str(NAMES.get(wire_name, wire_name))
