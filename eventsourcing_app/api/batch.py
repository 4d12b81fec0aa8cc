"""Several commands in one request: all of them are run, in their order, or none."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from eventsourcing_app.access.streams import models_by_stream_type
from eventsourcing_app.aggregates.flow import flow
from eventsourcing_app.aggregates.receipts import FlowReceipt, Receipt
from eventsourcing_app.api.answers import results_serializer
from eventsourcing_app.api.asking import viewset_for
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.commands import StrictSerializer
from eventsourcing_app.api.conditional import PreconditionFailed
from eventsourcing_app.api.fields import ExactCharField, ExactIntegerField
from eventsourcing_app.api.idempotency import HEADER, REPLAYED, Reply, Replying, key_of
from eventsourcing_app.api.problems import DoneWithError
from eventsourcing_app.api.refusals import refusals_answered
from eventsourcing_app.context import context
from eventsourcing_app.exceptions import CommandRejected
from eventsourcing_app.log.watch import Written, watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_framework.request import Request

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.manager import EventSourcedManager
    from eventsourcing_app.api.aggregates import EventSourcedViewSet
    from eventsourcing_app.api.described import Operation


class BatchTooLarge(APIException):
    """The batch has more commands than one request may have."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "batch_too_large"


class AsSentField(serializers.Field[Any, Any, Any, Any]):
    """What was sent, to be read by whoever knows what it is: ``JSONField`` would refuse a number with a fraction."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class CallSerializer(StrictSerializer):
    """One command of a batch."""

    stream_type = ExactCharField(help_text="The kind of aggregate.")
    stream_key = ExactCharField(required=False, help_text="Which one; left out for a command that creates one.")
    command = ExactCharField(help_text="The name of the command.")
    arguments = AsSentField(required=False, help_text="Its arguments, as an object.")
    version = ExactIntegerField(required=False, help_text="The version that the client has seen, as If-Match.")


class BatchSerializer(StrictSerializer):
    """A batch of commands."""

    commands = serializers.ListField(child=AsSentField(), allow_empty=False)


class CallsField(AsSentField):
    """Commands of these viewsets, each with its own arguments; they are checked one by one."""

    def __init__(self, *, viewsets: Sequence[type[EventSourcedViewSet]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.viewsets = viewsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One command of a batch, checked."""

    stream_type: str
    pk: Any
    """``None`` for a command that creates an aggregate."""
    command: str
    arguments: dict[str, Any]
    version: int | None


class _Item(NamedTuple):
    """A command of a batch, and the viewset that it would have been posted to."""

    view: EventSourcedViewSet
    command: Command
    call: Call

    def act(self) -> tuple[Receipt, Reply]:
        """Run it on the object as the commands before it have left it, as far as the user may."""
        call = self.call
        try:
            receipt, reply = self.view.act(self.command, call.pk, call.arguments)
        except CommandRejected:
            if self.view.found_version is not None:
                _require_version(call, self.view.found_version)
            raise
        if call.pk is not None:
            _require_version(call, receipt.version - receipt.count)
        return receipt, reply


@dataclass(slots=True)
class _Run:
    """How far a batch has come."""

    items: Sequence[_Item]
    at: int | None = None
    """The number of the command that is being run."""
    results: list[dict[str, Any]] = field(default_factory=list)
    """What is told of those that were."""


_current: ContextVar[_Run] = ContextVar("eventsourcing_app.batch")


@flow("eventsourcing_app.batch")
def run_batch(calls: list[Call]) -> list[Receipt]:
    """Run commands on several aggregates, all of them or none."""
    run, models, receipts = _current.get(), models_by_stream_type(), []
    run.results = []  # of an attempt that has lost a race, nothing counts
    for stream_type in sorted({call.stream_type for call in calls}):
        # All locks at first, in one order for all, so that two batches never wait for each other.
        manager: EventSourcedManager[Any] = models[stream_type].objects
        keys = [call.pk for call in calls if call.stream_type == stream_type and call.pk is not None]
        manager._lock(manager.get_queryset().values_list("pk"), keys)
    for number, item in enumerate(run.items):
        run.at = number
        receipt, reply = item.act()
        receipts.append(receipt)
        run.results.append({"status": reply.status, **reply.body})
    run.at = None
    return receipts


def _require_version(call: Call, actual: int) -> None:
    if call.version is not None and call.version != actual:
        raise PreconditionFailed(str(call.version), actual)


class BatchViewSet(ApiViewSet):
    """Commands of these viewsets, several in one request::

        class BatchViewSet(api.BatchViewSet):
            viewsets = (AccountViewSet,)

    ``POST /`` with ``{"commands": [{"stream_type": …, "stream_key": …, "command": …, "arguments": {…}}, …]}`` runs them
    in their order, in one transaction, and answers with ``results``, one for each: what the command by itself would
    have been answered with, and its ``status``. If one fails, nothing has happened: the problem is that one's, with its
    number as ``item`` and what became of each in ``results``. Each needs what it would need by itself. With an
    ``Idempotency-Key`` the whole can be repeated safely; ``version`` of a command is what ``If-Match`` is elsewhere.
    """

    viewsets: ClassVar[Sequence[type[EventSourcedViewSet]]] = ()
    """The viewsets whose commands are offered."""
    largest: ClassVar[int] = 100
    """How many commands one request may have (413 beyond)."""
    idempotency_key_required: ClassVar[bool] = False
    """Whether a request needs an ``Idempotency-Key`` (400 without it)."""
    permission_classes = (IsAuthenticated,)
    pagination_class = None
    serializer_class = BatchSerializer
    http_method_names = ("post", "head", "options")

    _at: int | None = None
    _size = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        types = [viewset.model.stream_type for viewset in cls.viewsets]
        if len(set(types)) != len(types):
            raise ImproperlyConfigured(f"{cls.__name__}.viewsets: name one viewset for each model.")

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Run several commands, all of them or none."""
        key = key_of(request, required=self.idempotency_key_required)
        run = _Run(self._items(request, key))
        token = _current.set(run)
        replying: Replying[FlowReceipt[list[Receipt]]] = Replying(lambda _receipt: _told(run), request.user)
        written: list[Written] = []
        try:
            with context(), refusals_answered(written), watching(written.append):
                receipt = run_batch.run(key, ([item.call for item in run.items],), {}, keeping=replying.keeping)
        except DoneWithError:  # which was logged; what was done is to be told
            return Response(_told(run).body)
        except Exception:
            self._at = run.at
            raise
        finally:
            _current.reset(token)
        reply = replying.reply_to(receipt)
        return Response(reply.body, status=reply.status, headers=REPLAYED if receipt.replayed else {})

    def operation(self) -> Operation:
        described = super().operation()
        states = tuple(viewset().get_state_serializer_class() for viewset in self.viewsets)
        return replace(
            described,
            answer=results_serializer(states),
            summary="Run several commands",
            body=self._described_body(),
            problems=described.problems | {404, 409, 412, 422, 503},
            headers=(*described.headers, HEADER),
            answer_headers=(*described.answer_headers, *REPLAYED),
        )

    def _described_body(self) -> type[serializers.Serializer[Any]]:
        names = "".join(viewset.model.__name__ for viewset in self.viewsets)
        commands = serializers.ListField(
            child=CallsField(viewsets=self.viewsets), min_length=1, max_length=self.largest
        )
        return type(
            f"{names}BatchSerializer", (StrictSerializer,), {"__doc__": BatchSerializer.__doc__, "commands": commands}
        )

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        if self._at is not None and isinstance(response.data, dict):
            failed = {"status": response.status_code, "code": response.data["code"]}
            undone, left = {"status": 424, "code": "rolled_back"}, {"status": 424, "code": "not_run"}
            results = [undone] * self._at + [failed] + [left] * (self._size - self._at - 1)
            response.data |= {"item": self._at, "results": results}
        return response

    # Reading the request

    def _items(self, request: Request, key: str | None) -> list[_Item]:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data["commands"]
        self._size = len(given)
        if self._size > self.largest:
            raise BatchTooLarge(_("A batch has at most %d commands.") % self.largest)
        items, errors = list[_Item](), dict[str, Any]()
        for number, each in enumerate(given):
            try:
                items.append(self._item(number, each, key))
            except ValidationError as error:
                errors[str(number)] = error.detail
        if errors:
            raise ValidationError({"commands": errors})
        self._at = None
        return items

    def _item(self, number: int, given: Any, key: str | None) -> _Item:
        serializer = CallSerializer(data=given, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        call = serializer.validated_data
        viewset = next((each for each in self.viewsets if each.model.stream_type == call["stream_type"]), None)
        if viewset is None:
            raise _refused("stream_type", _("It is none of those that are offered here."))
        found = viewset.offered_command(call["command"])
        if found is None:
            raise _refused("command", _("There is no such command."))
        method, command = found
        if command.creates == ("stream_key" in call):
            raise _refused("stream_key", _("It belongs to commands on what exists, and only to those."))
        view = viewset_for(viewset, self, method)
        self._at = number  # what is refused from here on, is refused to this one
        view.check_permissions(self.request)
        view.check_throttles(self.request)
        pk = None if command.creates else view.key_of_object(call["stream_key"], repeatable=key is not None)
        self._at = None
        try:
            arguments = view.checked_arguments(command, call.get("arguments", {}))
        except ValidationError as error:
            raise ValidationError({"arguments": error.detail}) from error
        if view.if_match_required and pk is not None and "version" not in call:
            raise _refused("version", _("This command needs the version that you have seen."), "required")
        return _Item(
            view,
            command,
            Call(
                stream_type=viewset.model.stream_type,
                pk=pk,
                command=command.name,
                arguments=arguments,
                version=call.get("version"),
            ),
        )


def _told(run: _Run) -> Reply:
    positions = [result["position"] for result in run.results if result["events"]]
    return Reply(status.HTTP_200_OK, {"results": run.results, "position": max(positions, default=None)})


def _refused(name: str, why: str, code: str = "invalid") -> ValidationError:
    return ValidationError({name: [ErrorDetail(why, code=code)]})
