"""Running commands of an event-sourced model over HTTP: in which version, once for each key, and what is answered."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.db import transaction
from django.db.models.signals import post_save
from django.urls import NoReverseMatch
from rest_framework import serializers, status
from rest_framework.response import Response

from eventsourcing_app.access.visibility import narrowed_positions
from eventsourcing_app.aggregates.manager import Runner
from eventsourcing_app.api.answers import outcome_serializer
from eventsourcing_app.api.conditional import Expected, etag_of
from eventsourcing_app.api.guarding import GuardedCommands
from eventsourcing_app.api.idempotency import HEADER, REPLAYED, Reply, Replying, key_of
from eventsourcing_app.api.problems import DoneWithError
from eventsourcing_app.api.reading import tell_positions
from eventsourcing_app.api.refusals import refusals_answered
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.conf import conf
from eventsourcing_app.context import context
from eventsourcing_app.exceptions import CommandRejected
from eventsourcing_app.log.watch import watching
from eventsourcing_app.log.written import events_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rest_framework.request import Request

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.receipts import Receipt
    from eventsourcing_app.api.described import Operation
    from eventsourcing_app.log.records import StoredEvent
    from eventsourcing_app.log.watch import Written


class CommandViews(GuardedCommands):
    """The acting half of ``EventSourcedViewSet``."""

    if_match_required: ClassVar[bool] = False
    """Whether a command on an object needs ``If-Match`` (428 without it)."""
    idempotency_key_required: ClassVar[bool] = False
    """Whether a command needs an ``Idempotency-Key`` (400 without it)."""
    command_serializers: ClassVar[Mapping[str, type[serializers.Serializer[Any]]]] = {}
    """By the name of a command, what reads its arguments, instead of what is made of its signature."""

    _written: list[Written]
    """What it has appended."""

    # Hooks

    def arguments_for(self, command: Command, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments to run a command with, from those that were given and checked."""
        return given

    # Running

    def run(self, request: Request, command: Command) -> Response:
        """Run a command and answer with what it did."""
        arguments = self.checked_arguments(command, request.data)
        key = key_of(request, required=self.idempotency_key_required)
        expected = Expected(request, required=self.if_match_required and not command.creates)
        replying: Replying[Receipt] = Replying(partial(self.told, command), request.user)
        receipt: Receipt | None = None
        try:
            # One transaction, so that state and events are those of this command, whoever comes next.
            with context(), self._noting(), transaction.atomic(using=conf.DATABASE):
                receipt = self._perform(command, arguments, key, replying)
                if not receipt.replayed and not command.creates:
                    expected.check(receipt.version - receipt.count)
                reply = replying.reply_to(receipt)
        except CommandRejected:
            # To whoever expected another state, that is the answer: the refusal is about this one.
            if self.found_version is not None:
                expected.check(self.found_version)
            raise
        except DoneWithError:  # which was logged; what was done is to be told
            if receipt is None:
                raise
        return Response(reply.body, status=reply.status, headers=self._headers(command, receipt))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note what is appended, and answer what the database refuses."""
        self._written = []
        with refusals_answered(self._written), watching(self._written.append):
            yield

    def _perform(
        self, command: Command, arguments: dict[str, Any], key: str | None, replying: Replying[Receipt]
    ) -> Receipt:
        runner: Runner[Any] = Runner(
            self.model.objects, key, keeping=replying.keeping, lock=self.locked_object, savepoint=False
        )
        # The key comes first: a request that is under way shall be refused at once, and not wait for its lock.
        pk = None if command.creates or key is None else self.target()
        return self._run_by(runner, command, pk, arguments)

    def act(self, command: Command, pk: Any, arguments: dict[str, Any]) -> tuple[Receipt, Reply]:
        """Run a command within the transaction of the caller, on the object as it is then; and tell of it."""
        self._written, self._acted_on, self.found_version = [], None, None
        runner: Runner[Any] = Runner(self.model.objects, lock=self.locked_object)
        with watching(self._written.append):
            receipt = self._run_by(runner, command, pk, arguments)
        return receipt, self.told(command, receipt)

    def _run_by(self, runner: Runner[Any], command: Command, pk: Any, arguments: dict[str, Any]) -> Receipt:
        function = getattr(self.model, command.name)
        if command.creates:
            return runner.perform_new(function, **arguments)
        return runner.perform(pk, function, **arguments)

    def checked_arguments(self, command: Command, data: Any) -> dict[str, Any]:
        """Return what a command is to be run with. Raises ``ValidationError``."""
        serializer = self.get_serializer(data=data)
        serializer.is_valid(raise_exception=True)
        return self.arguments_for(command, dict(serializer.validated_data))

    def told(self, command: Command, receipt: Receipt) -> Reply:
        """Return the reply that tells of what a command did."""
        created = command.creates and receipt.pk is not None
        code = status.HTTP_201_CREATED if created else status.HTTP_200_OK
        return Reply(code, self._outcome(receipt))

    def _outcome(self, receipt: Receipt) -> dict[str, Any]:
        if receipt.pk is None:  # a creating command that found nothing to do
            return {"events": [], "state": None, "version": 0, "position": None}
        written = list(self._events_of(receipt))
        visible = narrowed_positions(self.request.user, {event.position for event in written})
        written = [event for event in written if event.position in visible]
        state = self._state_after(receipt)
        if receipt.count:
            state.position = receipt.position  # of the last event, which brought it there
        else:
            tell_positions([state])
        return {
            "events": StoredEventSerializer(written, many=True, context=self.get_serializer_context()).data,
            "state": self.state_of(state).data,
            "version": receipt.version,
            "position": receipt.position,
        }

    def _events_of(self, receipt: Receipt) -> Iterable[StoredEvent]:
        versions = range(receipt.version - receipt.count + 1, receipt.version + 1)
        if self._acted_on is not None:
            stream = (self._acted_on.stream_type, self._acted_on.stream_key)
            told = [each for each in events_of(self._written) if (each.stream_type, each.stream_key) == stream]
            if [each.version for each in told] == list(versions):
                return told
        return self.model.objects.history(receipt.pk).filter(version__in=versions)

    def _state_after(self, receipt: Receipt) -> EventSourcedModel:
        if self._acted_on is not None and self._tells_all(self._acted_on):
            return self._acted_on
        rows = self.model.objects.using(conf.DATABASE)
        shown = self.get_queryset().filter(pk=receipt.pk).first() or rows.filter(pk=receipt.pk).first()
        if shown is None or shown.version != receipt.version:  # it has ended and left no row, or was changed since
            return self.model.objects.at(receipt.pk, version=receipt.version)
        return cast("EventSourcedModel", shown)

    def _tells_all(self, aggregate: EventSourcedModel) -> bool:
        """Whether the instance that was saved is all that a view of it may show: nothing computed, nothing followed."""
        queryset: Any = self.get_queryset()
        computed = queryset.query.annotations or queryset.query.select_related or queryset._prefetch_related_lookups
        return not computed and not post_save.has_listeners(type(aggregate))

    def _headers(self, command: Command, receipt: Receipt) -> dict[str, str]:
        headers = {} if receipt.pk is None else {"ETag": etag_of(receipt.version)}
        if receipt.replayed:
            headers |= REPLAYED
        if command.creates and receipt.pk is not None and (place := self._place_of(receipt.pk)) is not None:
            headers["Location"] = place
        return headers

    def _place_of(self, pk: Any) -> str | None:
        """Return the address of an object; ``None`` without one: a route without a name, a key with a slash, no row."""
        key = pk
        if self.lookup_field != "pk":
            rows = self.model._base_manager.using(conf.DATABASE).filter(pk=pk)
            key = rows.values_list(self.lookup_field, flat=True).first()
        try:
            return None if key is None else self.reverse_action("detail", args=[key])
        except NoReverseMatch:
            return None

    # The schema

    def operation(self) -> Operation:
        described = super().operation()
        if (command := self._command()) is None:
            return described
        state: Any = self.get_state_serializer_class()
        problems, headers = described.problems | {409, 422, 503}, (*described.headers, HEADER)
        answer_headers = (*described.answer_headers, "ETag", *REPLAYED)
        if command.creates:
            answer_headers += ("Location",)
        else:
            problems |= {412}
            headers += ("If-Match",)
            if self.if_match_required:
                problems |= {428}
        return replace(
            described,
            answer=outcome_serializer(state),
            status=status.HTTP_201_CREATED if command.creates else status.HTTP_200_OK,
            problems=problems,
            headers=headers,
            answer_headers=answer_headers,
            links=self._links("$response.body#/state/"),
        )

    def operation_name(self, action: str) -> str:
        offered = self._offered.get(action)
        return super().operation_name(action if offered is None else offered[0].name)
