"""The page of one event: what it says, what it changed, who caused it and why, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django import forms
from django.utils.translation import gettext as _

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.access.surroundings import children_of, neighbours_of, parent_of, upcast_of
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.admin.delivery import actors_of, found_deliveries, told_deliveries
from eventsourcing_app.admin.event_state import state_of
from eventsourcing_app.admin.links import Links
from eventsourcing_app.admin.payload import Payload, leaves_of
from eventsourcing_app.admin.people import people, told
from eventsourcing_app.admin.read_only import ReadOnlyAdmin
from eventsourcing_app.admin.stream_names import names_of_streams
from eventsourcing_app.admin.targets import urls_of
from eventsourcing_app.admin.times import relative, utc
from eventsourcing_app.admin.values import breakable, pretty
from eventsourcing_app.log.records import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse

    from eventsourcing_app.access.surroundings import Upcast
    from eventsourcing_app.admin.event_state import EventState
    from eventsourcing_app.admin.payload import PayloadField
    from eventsourcing_app.log.records import StoredEventQuerySet


class Named(NamedTuple):
    """Another event, as far as a page names it."""

    event: StoredEvent
    url: str | None
    type: str
    stream: str


class EventPageMixin(ReadOnlyAdmin[StoredEvent]):
    """The page of one event. Template: ``admin/eventsourcing_app/storedevent/change_form.html``.

    What an event says is shown with the labels of the model's fields of the same names. To say it otherwise, register a
    subclass with ``payload_labels``, or override ``payload_label`` and ``payload_value``.
    """

    payload_labels: ClassVar[Mapping[str, str]] = {}
    """Labels by ``"<wire name>.<field>"``, or by ``"<field>"`` for the events of all types."""

    @property
    def media(self) -> forms.Media:
        script = forms.Script("eventsourcing_app/event.js", type="module")
        return super().media + forms.Media(css={"all": ["eventsourcing_app/event.css"]}, js=[script])  # type: ignore[list-item]  # its stubs know texts only

    def payload_label(self, event: StoredEvent, name: str) -> str | None:
        """Return the label of a field of what an event says; ``None`` for that of the model, or its name in words."""
        label = self.payload_labels.get(f"{event.type}.{name}", self.payload_labels.get(name))
        return None if label is None else str(label)

    def payload_value(self, event: StoredEvent, name: str, value: object) -> str | None:
        """Return how a value of what an event says is shown, escaped unless it is safe; ``None`` for the usual way.

        An empty text shows nothing. ``value`` is that of today's class of the event: a ``Decimal``, a ``date``, …; as
        it is stored, if no code here can read the event.
        """
        return None

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ()  # the template shows it all

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ()

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # It never changes: what there is to know of its history is the event.
        return self.change_view(request, object_id, extra_context=extra_context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        event: StoredEvent = kwargs["obj"]
        links = Links(self.admin_site, request)
        # What the page of an event names of others are not their payloads.
        visible = visible_events(request.user)
        found = found_deliveries(request, event)
        known = people(self.admin_site, request, [event.actor, *actors_of(found)])
        cause, children = parent_of(visible, event), children_of(visible, event)
        around = [event, *children.events, *([] if cause is None else [cause])]
        names = names_of_streams(self.admin_site, request, around)
        context.update(
            title=_("Event %(position)d: %(type)s") % {"position": event.position, "type": event.type},
            subtitle=None,
            event=event,
            event_type=breakable(event.type),
            recorded=utc(event.recorded_at, exact=True),
            recorded_ago=relative(event.recorded_at),
            stream=links.stream(event, names),
            actor=told(event.actor, links, known),
            correlation=links.events(event.correlation_id, correlation_id=event.correlation_id),
            **self._places(links, visible, event),
            cause=None if cause is None else _named(links, names, cause),
            children=[_named(links, names, child) for child in children.events],
            more_children_url=links.events_url(causation_id=str(event.event_id)) if children.has_more else None,
            **self._said(request, links, visible, event),
            deliveries=told_deliveries(request, links, found, known),
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def _places(self, links: Links, visible: StoredEventQuerySet, event: StoredEvent) -> dict[str, Any]:
        """Where one can go on from it."""
        previous, following = neighbours_of(visible, event)
        stream = {"stream_type": event.stream_type, "stream_key": event.stream_key}
        return {
            "previous_url": links.event_url(previous) if previous else None,
            "next_url": links.event_url(following) if following else None,
            "stream_url": links.events_url(**stream),
            "trail_url": links.aggregate_url(**stream, page="history") if event.version else None,
            "correlation_url": links.correlation_url(event.correlation_id),
        }

    def _said(
        self, request: HttpRequest, links: Links, visible: StoredEventQuerySet, event: StoredEvent
    ) -> dict[str, Any]:
        """What it says and what it changed: nothing of it for users who may not see payloads."""
        shown = may_view_payload(request.user)
        if not shown:
            return {"shows_payload": False}
        model = models_by_stream_type().get(event.stream_type)
        is_of_aggregate = model is not None and event.version is not None
        state = state_of(self.admin_site, request, model, event) if model is not None and is_of_aggregate else None
        upcast = upcast_of(event)
        differs = upcast.data is not None and upcast.data != event.data
        return {
            "shows_payload": True,
            "payload": self._fields(links, visible, event, model, upcast, state),
            "data_json": pretty(event.data),
            "upcast_json": pretty(upcast.data) if differs else None,
            "problem": upcast.problem,
            "metadata_json": pretty(event.metadata) if event.metadata else None,
            "hash": bytes(event.hash).hex(),
            "state": state,
        }

    def _fields(
        self,
        links: Links,
        visible: StoredEventQuerySet,
        event: StoredEvent,
        model: type[Model] | None,
        upcast: Upcast,
        state: EventState | None,
    ) -> Sequence[PayloadField]:
        data = event.data if upcast.event is None else upcast.event
        payload = Payload(
            data,
            model=model,
            urls=urls_of(visible, links, event, leaves_of(data)),
            currency="" if state is None else state.currency,
        )
        return payload.fields(
            label=lambda name: self.payload_label(event, name),
            value=lambda name, value: self.payload_value(event, name, value),
        )


def _named(links: Links, names: Mapping[tuple[str, str], str], event: StoredEvent) -> Named:
    stream = links.stream(event, names, in_brief=True)
    return Named(event, links.event_url(event.position), breakable(event.type), stream)
