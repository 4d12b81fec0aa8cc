"""How values look on a page: times in UTC, JSON indented, links to what they name. Everything is escaped."""

from __future__ import annotations

import json
import re
from datetime import UTC
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.access.visibility import may_view_events

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from django.contrib.admin import AdminSite
    from django.db.models import Model
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from eventsourcing_app.log.records import StoredEvent

NOTHING = "—"
_SUMMARY = 120
_BRIEF = 20


def utc(moment: datetime, *, exact: bool = False) -> SafeString:
    """A time in UTC: to the second, or to the microsecond."""
    moment = moment.astimezone(UTC)
    shown = moment.strftime("%Y-%m-%d %H:%M:%S.%f UTC" if exact else "%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}">{}</time>', moment.isoformat().replace("+00:00", "Z"), shown)


def brief(text: str) -> SafeString | str:
    """The end of a long identifier, where those made close to each other differ; the whole of it on hover."""
    return text if len(text) <= _BRIEF else format_html('<span title="{}">…{}</span>', text, text[-8:])


def breakable(name: str) -> SafeString:
    """A wire name that a narrow column may break between its words."""
    words = re.split(r"(?<=[._])", name)
    return format_html_join(mark_safe("<wbr>"), "{}", ((word,) for word in words))


def pretty(value: Any) -> SafeString:
    """JSON on lines of its own, keys in the order in which they are stored."""
    return format_html('<pre class="es-json">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


def trace(error: str) -> SafeString | str:
    """An error as it was recorded."""
    return format_html('<pre class="es-error">{}</pre>', error) if error else NOTHING


def masked() -> SafeString:
    """What stands in the place of something that the user may not see."""
    return format_html('<span class="es-masked">{}</span>', _("masked"))


def summary(data: Any) -> str:
    """One line of an event's data."""
    if not isinstance(data, dict):
        return _short(data)
    return _cut(" · ".join(f"{name}: {_short(value)}" for name, value in data.items()))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _cut(" ".join(text.split()))


def _cut(text: str) -> str:
    return text if len(text) <= _SUMMARY else f"{text[: _SUMMARY - 1]}…"


class Links:
    """Links to pages of one admin site, as far as they exist there and the user of this request may see them."""

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        self._site, self._request = site, request
        self._models = models_by_stream_type()
        self._allowed: dict[type[Model], bool] = {}

    def stream(self, event: StoredEvent, *, in_brief: bool = False) -> SafeString | str:
        """The aggregate of an event."""
        key = brief(event.stream_key) if in_brief else event.stream_key
        text = format_html("{} {}", breakable(event.stream_type), key)
        model = self._models.get(event.stream_type)
        if event.version is None or model is None or not self._may_view(model):
            return text
        url = self._url(model, "change", event.stream_key)
        return text if url is None else format_html('<a href="{}">{}</a>', url, text)

    def events(self, text: str, **filters: str) -> SafeString | str:
        """The list of events with these filters."""
        url = self.events_url(**filters) if text else None
        return text or NOTHING if url is None else format_html('<a href="{}?{}">{}</a>', *url, text)

    def events_url(self, **filters: str) -> tuple[str, str] | None:
        """Address and query of the list of events with these filters."""
        if not may_view_events(self._request.user):
            return None
        try:
            url = reverse("admin:eventsourcing_app_storedevent_changelist", current_app=self._site.name)
        except NoReverseMatch:
            return None
        return url, urlencode(filters)

    def event_url(self, position: int) -> str | None:
        """The page of one event."""
        if not may_view_events(self._request.user):
            return None
        try:
            name = "admin:eventsourcing_app_storedevent_change"
            return reverse(name, args=[position], current_app=self._site.name)
        except NoReverseMatch:
            return None

    def _may_view(self, model: type[Model]) -> bool:
        if model not in self._allowed:
            admins: Mapping[type[Model], Any] = self._site._registry
            shown = admins.get(model)
            self._allowed[model] = shown is not None and shown.has_view_or_change_permission(self._request)
        return self._allowed[model]

    def _url(self, model: type[Model], page: str, key: str) -> str | None:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
        try:
            return reverse(name, args=[quote(key)], current_app=self._site.name)
        except NoReverseMatch:
            return None
