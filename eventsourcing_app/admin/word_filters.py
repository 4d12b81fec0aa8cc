"""Filters by a word of a fixed list, such as a status; another word is answered with 400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import BadRequest
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.admin.filters import ExactFilter
from eventsourcing_app.subscriptions.parked_groups import of_error
from eventsourcing_app.subscriptions.records import ParkedEvent, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet, TextChoices
    from django.http import HttpRequest


class WordFilter(ExactFilter):
    """A column with choices, for equality."""

    words: ClassVar[type[TextChoices]]

    def offers(self) -> Iterable[str]:
        return list(self.words.values)

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        labels: dict[str, str] = {word.value: str(word.label) for word in self.words}
        for choice in super().choices(changelist):
            yield {**choice, "display": labels.get(str(choice["display"]), choice["display"])}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # type: ignore[override]
        if self.value is None:
            return queryset
        if self.value not in self.words.values:
            raise BadRequest(f"{self.name} is one of {', '.join(self.words.values)}.")
        return queryset.filter(**{self.name: self.value})


class StatusFilter(WordFilter):
    """Subscriptions by their status."""

    name, title, words = "status", _("status"), Subscription.Status


class KindFilter(WordFilter):
    """Subscriptions by what they are."""

    name, title, words = "kind", _("kind"), Subscription.Kind


class StateFilter(WordFilter):
    """Parked events by why they are parked."""

    name, title, words = "state", _("state"), ParkedEvent.State


class SubscriptionFilter(ExactFilter):
    """Parked events of one subscription: the groups above the list lead to it."""

    name, title = "subscription", _("subscription")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # type: ignore[override]
        return queryset if self.value is None else queryset.filter(segment__subscription=self.value)


class ErrorFilter(ExactFilter):
    """Parked events of one kind of error; only for those who may see what errors quote."""

    name, title = "error", _("error")

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        for choice in super().choices(changelist):
            yield {**choice, "display": _("not tried yet") if choice["display"] == "—" else choice["display"]}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # type: ignore[override]
        return queryset if self.value is None else of_error(queryset, self.value)
