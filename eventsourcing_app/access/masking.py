"""Payloads are shown by permission: whatever quotes one is left out for everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from eventsourcing_app.access.visibility import Viewer

VIEW_PAYLOAD: Final = "eventsourcing_app.view_payload"
"""The permission to see what events hold."""


def may_view_payload(user: Viewer) -> bool:
    """Whether the user may see what events hold, and texts that may quote it."""
    return user.is_active and user.has_perm(VIEW_PAYLOAD)
