"""Reading an event-sourced model over HTTP: what is, what was, what changed, and by which events."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db import DataError
from django.db.models import Q
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.response import Response

from eventsourcing_app.access.masking import without_masked
from eventsourcing_app.access.past import changes_by_version, may_view_past
from eventsourcing_app.access.visibility import is_whole, visible_trail
from eventsourcing_app.api.answers import DiffSerializer, TrailEntrySerializer, past_serializer
from eventsourcing_app.api.base import ReadViewSet
from eventsourcing_app.api.changes import shown_changes
from eventsourcing_app.api.conditional import etag_of, is_known
from eventsourcing_app.api.filtering import (
    DESCRIBED_SEARCH,
    SEARCH,
    StateFilter,
    StateSearch,
    check_search,
    described_filters,
    filter_parameters,
    filterset_of,
)
from eventsourcing_app.api.ordering import ORDER, check_ordering, described_order
from eventsourcing_app.api.pagination import VersionPagination
from eventsourcing_app.api.past import (
    DESCRIPTIONS,
    DIFF_PARAMETERS,
    STATE_PARAMETERS,
    is_asked_for,
    past_diff,
    past_state,
)
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.api.serializers import StoredEventSerializer, state_serializer
from eventsourcing_app.conf import conf
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.api.described import Described, Operation

logger = logging.getLogger(__name__)


class StateViews(ReadViewSet):
    """The reading half of ``EventSourcedViewSet``."""

    model: ClassVar[type[EventSourcedModel]]
    parameter_descriptions = DESCRIPTIONS
    filter_backends = (StateFilter, StateSearch)
    filterset_fields: ClassVar[Sequence[str] | Mapping[str, Sequence[str]]] = ()
    """Columns that the list can be filtered by, for equality; or lookups by column. Needs django-filter."""
    filterset_class: ClassVar[Any] = None
    """A ``FilterSet`` of django-filter, instead."""
    search_fields: Sequence[str] = ()
    """Columns in which ``?search=`` looks, with the prefixes of DRF's ``SearchFilter``."""
    ordering_fields: ClassVar[Sequence[str]] = ()
    """Columns that ``?order=`` may name. Who may order by a column can find out its values."""

    filterset: ClassVar[Any] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "model"):
            cls._check_lists()
        # It says what the list shows, and nothing of past states, trails and answers: these would show everything.
        if "get_serializer_class" in vars(cls) and "get_state_serializer_class" not in vars(cls) and not _is_ours(cls):
            raise ImproperlyConfigured(
                f"{cls.__name__}.get_serializer_class(): override get_state_serializer_class() instead, which every "
                "view of a state asks; for an action of your own, @action(…, serializer_class=…)."
            )

    @classmethod
    def _check_lists(cls) -> None:
        cls.filterset = filterset_of(cls.__name__, cls.model, cls.filterset_fields, cls.filterset_class)
        check_search(cls.__name__, cls.model, cls.search_fields)
        check_ordering(cls.__name__, cls.model, cls.ordering_fields)
        pages: Any = getattr(cls.pagination_class, "known_parameters", frozenset)
        if cls.ordering_fields and pages is frozenset:
            raise ImproperlyConfigured(f"{cls.__name__}.ordering_fields: only a KeysetPagination can order its pages.")
        if taken := sorted({SEARCH, ORDER, *pages()} & set(filter_parameters(cls.filterset))):
            raise ImproperlyConfigured(f"{cls.__name__}: filters cannot be called {', '.join(taken)}: these are taken.")

    def paginate_queryset(self, queryset: Any) -> Any:
        page = self._page_of(queryset)
        if self.action == "list" and page is not None:
            tell_positions(page)
        return page

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The state of one object: of now, or as it was after ``?version=`` or at ``?when=``."""
        shown = self.get_object()
        is_past = is_asked_for(request.query_params)
        if is_past:
            shown = past_state(shown, request.query_params)
            self._require_whole(shown, shown.version)
        etag = etag_of(shown.version)
        if is_known(request, etag):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": etag})
        tell_positions([shown])
        data = self.state_of(shown).data
        if is_past:
            data = {**data, "is_final": shown.past_is_final}
        return Response(data, headers={"ETag": etag})

    @action(detail=True, methods=["get"])
    def events(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The stored events of one object, oldest first, each with the fields that it changed."""
        aggregate = self.get_object()
        trail = without_masked(visible_trail(request.user, aggregate), request.user)
        page = self.paginator.paginate_queryset(trail, request, view=self)
        shown: Any = StoredEventSerializer(page, many=True, context=self.get_serializer_context()).data
        changes = self._changes(aggregate, page)
        entries = [{**entry, "changes": changes.get(entry["version"])} for entry in shown]
        answer: Response = self.paginator.get_paginated_response(entries)
        return answer

    @action(detail=True, methods=["get"])
    def diff(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What differs between two versions or moments, ``?since=`` (left out: before it existed) and ``?until=``."""
        aggregate = self.get_object()
        found = past_diff(aggregate, request.query_params)
        self._require_whole(aggregate, found.until)
        changes = shown_changes(self.state_of(aggregate), found.changes)
        return Response({"since": found.since, "until": found.until, "is_final": found.is_final, "changes": changes})

    def get_state_serializer_class(self) -> type[BaseSerializer[Any]]:
        """Return the class that shows a state, wherever one is shown; what it leaves out, no change shows either."""
        return self.serializer_class or state_serializer(self.model)

    def state_of(self, aggregate: EventSourcedModel) -> BaseSerializer[Any]:
        """Return the serializer that shows a state."""
        return self.get_state_serializer_class()(aggregate, context=self.get_serializer_context())

    @property
    def paginator(self) -> Any:
        if self.action == "events":
            if not isinstance(getattr(self, "_paginator", None), VersionPagination):
                self._paginator = VersionPagination()
            return self._paginator
        return super().paginator

    def parameters_of(self, action: str) -> Collection[str]:
        """Return the query parameters that an action understands, besides those of pages."""
        if action == "list":
            return {*super().parameters_of(action), *self._asked()}
        return {"retrieve": STATE_PARAMETERS, "diff": DIFF_PARAMETERS}.get(action, super().parameters_of(action))

    def described_parameters(self, action: str) -> Mapping[str, Described]:
        """Return what the schema says of the query parameters of an action."""
        known = super().described_parameters(action)
        if action != "list":
            return known
        asked = {ORDER: described_order(self.ordering_fields), SEARCH: DESCRIBED_SEARCH}
        return {**described_filters(self.filterset), **asked}

    def _asked(self) -> Sequence[str]:
        """The parameters by which the list can be narrowed and ordered."""
        search = [SEARCH] if self.search_fields else []
        return [*filter_parameters(self.filterset), *search, *([ORDER] if self.ordering_fields else [])]

    def _page_of(self, queryset: Any) -> Any:
        try:
            return super().paginate_queryset(queryset)
        except (DataError, ArithmeticError, ValueError) as error:
            # What no filter has noticed, the database or its driver does: a year that no calendar has.
            given = [name for name in self._asked() if name in self.request.query_params]
            if not given:
                raise
            logger.warning("A list of %s could not be read by %s: %s", self.model._meta.label, given, error)
            raise InvalidParameter(given[0], _("It has a value that it cannot have.")) from error

    def operation(self) -> Operation:
        described = super().operation()
        if self.action == "retrieve":
            state: Any = self.get_state_serializer_class()
            return replace(
                described,
                answer=past_serializer(state),
                problems=described.problems | {304},
                headers=(*described.headers, "If-None-Match"),
                answer_headers=(*described.answer_headers, "ETag"),
                links=self._links("$response.body#/"),
            )
        if self.action == "events":
            return replace(described, answer=TrailEntrySerializer, is_paged=True)
        if self.action == "diff":
            return replace(described, answer=DiffSerializer)
        if self.action == "list" and (key := self._links("$response.body#/results/0/").get("retrieve")):
            return replace(described, links={"retrieve": key})
        return described

    def _links(self, to_state: str) -> dict[str, str]:
        """Every action on an object, given where in an answer its state is."""
        fields = getattr(self.get_state_serializer_class()(), "fields", {})
        key = self.model._meta.pk.name
        if self.lookup_field not in ("pk", key) or key not in fields:
            return {}
        actions: list[Any] = self.get_extra_actions()
        extra = [name for each in actions if each.detail for name in each.mapping.values()]
        return dict.fromkeys(["retrieve", *extra], to_state + key)

    def _require_whole(self, aggregate: EventSourcedModel, version: int) -> None:
        """Of a history that is not there for the user as a whole, there is no past state either."""
        if not is_whole(self.request.user, aggregate.history().filter(version__lte=version)):
            raise Http404

    def _changes(self, aggregate: EventSourcedModel, page: Sequence[StoredEvent]) -> dict[int, dict[str, Any]]:
        """Return, by version, what each event of a page changed, as far as it may be told; see ``access.past``."""
        versions = [event.version for event in page if event.version is not None]
        # What an event found before it, all the earlier ones have made.
        stream = type(aggregate), aggregate.stream_key
        if not versions or not may_view_past(self.request.user, *stream, until=max(versions)):
            return {}
        found = changes_by_version(*stream, since=min(versions) - 1, until=max(versions))
        state = self.state_of(aggregate)
        return {version: shown_changes(state, changes) for version, changes in found.changes.items()}


def _is_ours(view: type) -> bool:
    return view.__module__.startswith("eventsourcing_app.api.")


def tell_positions(aggregates: Sequence[EventSourcedModel]) -> None:
    """Set ``position`` of each: that of the event which brought it to its version. One query for all of them."""
    if not aggregates:
        return
    events = StoredEvent.objects.using(conf.DATABASE).filter(stream_type__in=names_of(aggregates[0].stream_type))
    wanted = Q()
    for each in aggregates:
        wanted |= Q(stream_key=each.stream_key, version=each.version)
    found = dict(events.filter(wanted).values_list("stream_key", "position"))
    for each in aggregates:
        each.position = found.get(each.stream_key)
