"""Checks of flows: what one returns that is repeated by key must be such that the same can be returned again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.aggregates.flow import declared_flows

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.flow import Flow


def check_flows(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Check the flows that this process has declared. A warning, because without a key none needs to store anything."""
    return [_unstorable(flow, why) for flow in declared_flows() if (why := _why_not(flow))]


def _why_not(flow: Flow[..., Any]) -> str:
    try:
        _ = flow.answers
    except ImproperlyConfigured as error:
        return str(error)
    return ""


def _unstorable(flow: Flow[..., Any], why: str) -> checks.CheckMessage:
    return checks.Warning(
        f"Flow {flow.name!r} can be called neither with an idempotency key nor by a subscriber: {why}",
        hint="Return a type that an event can hold (docs/events.md lists them), None or a Receipt: of an aggregate its "
        "key. If the flow is never called so, silence this check.",
        obj=flow,
        id="eventsourcing_app.W061",
    )
