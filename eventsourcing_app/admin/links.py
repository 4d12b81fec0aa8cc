"""Links between pages of one admin site, as far as they exist there and the user of a request may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from eventsourcing_app.access.acts import may_view_acts
from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.access.subscriptions import may_view_parked, may_view_subscriptions
from eventsourcing_app.access.visibility import may_view_events
from eventsourcing_app.admin.values import NOTHING, breakable, brief

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.contrib.admin import AdminSite
    from django.db.models import Model
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from eventsourcing_app.log.records import StoredEvent

_APP = "eventsourcing_app"


class Links:
    """Addresses are ``None``, and texts without a link, where there is nothing that this user could open."""

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        self.site, self.request = site, request
        self._models = models_by_stream_type()
        self._allowed: dict[type[Model], bool] = {}

    # Events

    def event_url(self, position: int) -> str | None:
        """The page of one event."""
        return self._events_url("change", position)

    def events_url(self, **filters: str) -> str | None:
        """The list of events with these filters."""
        return _with_query(self._events_url("changelist"), filters)

    def correlation_url(self, correlation_id: str) -> str | None:
        """The tree of what happened because of one request."""
        return _with_query(self._events_url("correlation"), {"id": correlation_id}) if correlation_id else None

    def operators_url(self, **filters: str) -> str | None:
        """The log of what operators did."""
        may = may_view_acts(self.request.user)
        return _with_query(self._reverse(_APP, "storedevent", "operators"), filters) if may else None

    def events(self, text: str, **filters: str) -> SafeString | str:
        """A text that leads to the list of events with these filters."""
        return linked(text, self.events_url(**filters)) if text else NOTHING

    # Aggregates

    def stream(
        self, event: StoredEvent, names: Mapping[tuple[str, str], str], *, in_brief: bool = False
    ) -> SafeString | str:
        """The stream of an event by its name, with a link to its aggregate. ``names`` are those of the page's streams.

        In brief the key is on hover where there is a name.
        """
        name = names.get((event.stream_type, event.stream_key))
        if name is None:
            key = brief(event.stream_key) if in_brief else event.stream_key
        elif in_brief:
            key = format_html('<span title="{}">{}</span>', event.stream_key, name)
        else:
            key = format_html("{}, {}", event.stream_key, name)
        text = format_html("{} {}", breakable(event.stream_type), key)
        return linked(text, self.aggregate_url(event.stream_type, event.stream_key) if event.version else None)

    def aggregate_url(self, stream_type: str, stream_key: str, page: str = "change") -> str | None:
        """A page of the aggregate with this stream: ``change``, ``history``, …"""
        model = self._models.get(stream_type)
        if model is None or not self._may_view(model):
            return None
        return self._reverse(model._meta.app_label, str(model._meta.model_name), page, quote(stream_key))

    # Subscriptions

    def subscription_url(self, name: str) -> str | None:
        """The page of one subscription."""
        may = may_view_subscriptions(self.request.user)
        return self._reverse(_APP, "subscription", "change", quote(name)) if may else None

    def subscriptions_url(self, **filters: str) -> str | None:
        """The list of subscriptions."""
        may = may_view_subscriptions(self.request.user)
        return _with_query(self._reverse(_APP, "subscription", "changelist"), filters) if may else None

    def parked_url(self, **filters: str) -> str | None:
        """The list of parked events with these filters."""
        may = may_view_parked(self.request.user)
        return _with_query(self._reverse(_APP, "parkedevent", "changelist"), filters) if may else None

    def parked_event_url(self, pk: int) -> str | None:
        """The page of one parked event."""
        return self._reverse(_APP, "parkedevent", "change", pk) if may_view_parked(self.request.user) else None

    def _events_url(self, page: str, *arguments: Any) -> str | None:
        may = may_view_events(self.request.user)
        return self._reverse(_APP, "storedevent", page, *arguments) if may else None

    def _may_view(self, model: type[Model]) -> bool:
        if model not in self._allowed:
            admins: Mapping[type[Model], Any] = self.site._registry
            shown = admins.get(model)
            self._allowed[model] = shown is not None and shown.has_view_or_change_permission(self.request)
        return self._allowed[model]

    def _reverse(self, app: str, model: str, page: str, *arguments: Any) -> str | None:
        try:
            return reverse(f"admin:{app}_{model}_{page}", args=arguments, current_app=self.site.name)
        except NoReverseMatch:  # not registered in this site
            return None


def linked(text: str, url: str | None) -> SafeString | str:
    """A text that leads somewhere, if there is an address."""
    return text if url is None else format_html('<a href="{}">{}</a>', url, text)


def _with_query(url: str | None, query: Mapping[str, str]) -> str | None:
    return f"{url}?{urlencode(query)}" if url and query else url
