"""Filters of the list of events: choices come from what the code declares, never from a scan of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.events import filtered, of_any_stream_type
from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.events.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.contrib.admin.views.main import ChangeList
    from django.http import HttpRequest

    from eventsourcing_app.log.records import StoredEventQuerySet


def kept_parameters(changelist: ChangeList, *own: str) -> list[tuple[str, str]]:
    """Return what the form of a filter sends along, so that the other filters stay as they are."""
    given = changelist.filter_params.items()
    return [(name, value) for name, values in given if name not in own for value in values]


class ExactFilter(admin.ListFilter):
    """One column, for equality, by a choice of values."""

    name: ClassVar[str]

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        values = params.pop(self.name, None)
        self.value: str | None = None
        if values is not None:
            if len(values) > 1:
                raise BadRequest(f"'{self.name}' was given more than once.")
            self.value = values[0]
            self.used_parameters[self.name] = self.value
        self.offered = list(self.offers())
        if self.value is not None and self.value not in self.offered:
            self.offered.append(self.value)

    def offers(self) -> Iterable[str]:
        """Values to choose from."""
        return ()

    def has_output(self) -> bool:
        return bool(self.offered)

    def expected_parameters(self) -> list[str | None]:
        return [self.name]

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        yield {
            "selected": self.value is None,
            "query_string": changelist.get_query_string(remove=[self.name]),
            "display": _("All"),
        }
        for value in self.offered:
            yield {
                "selected": value == self.value,
                "query_string": changelist.get_query_string({self.name: value}),
                "display": value or "—",
            }

    def queryset(self, request: HttpRequest, queryset: StoredEventQuerySet) -> StoredEventQuerySet:  # type: ignore[override]
        if self.value is None:
            return queryset
        try:
            return filtered(queryset, self.name, [self.value])
        except ValueError as error:
            raise BadRequest(str(error)) from error


class TextFilter(ExactFilter):
    """One column, for equality with what is typed into a field."""

    template = "admin/eventsourcing_app/filter_text.html"
    kept: Sequence[tuple[str, str]] = ()

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        self.kept = kept_parameters(changelist, self.name)
        if self.value is not None:
            yield from super().choices(changelist)


class TypeFilter(ExactFilter):
    """The declared types of events."""

    name, title = "type", _("type")

    def offers(self) -> Iterable[str]:
        return sorted({declaration.name for declaration in registry.all()})


class StreamTypeFilter(ExactFilter):
    """The installed event-sourced models."""

    name, title = "stream_type", _("stream type")

    def offers(self) -> Iterable[str]:
        return sorted({model.stream_type for model in models_by_stream_type().values()})


class StreamKeyFilter(TextFilter):
    """One stream, together with its type; without it, the streams of every type that have this key."""

    name, title = "stream_key", _("stream key")

    def queryset(self, request: HttpRequest, queryset: StoredEventQuerySet) -> StoredEventQuerySet:  # type: ignore[override]
        kept = super().queryset(request, queryset)
        return kept if self.value is None or StreamTypeFilter.name in request.GET else of_any_stream_type(kept)


class ActorFilter(TextFilter):
    """What one actor did."""

    name, title = "actor", _("actor")


class CorrelationFilter(TextFilter):
    """What happened because of one request."""

    name, title = "correlation_id", _("correlation id")


class CausationFilter(TextFilter):
    """What one event caused."""

    name, title = "causation_id", _("causation id")
