"""Commands of an event-sourced model over HTTP: who may run them, on what, in which version, and what is answered."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, OperationalError, transaction
from django.http import Http404
from django.urls import NoReverseMatch
from django.utils.translation import gettext as _
from rest_framework import serializers, status
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response

from eventsourcing_app.access.events import is_text
from eventsourcing_app.aggregates.manager import Runner
from eventsourcing_app.api.answers import outcome_serializer
from eventsourcing_app.api.conditional import Expected, etag_of
from eventsourcing_app.api.idempotency import REPLAYED, Reply, Replying, key_of
from eventsourcing_app.api.problems import Busy, StateRefused
from eventsourcing_app.api.reading import StateViews, tell_positions
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.conf import conf
from eventsourcing_app.context import context
from eventsourcing_app.exceptions import CommandRejected
from eventsourcing_app.log.errors import is_too_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rest_framework.request import Request

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.receipts import Receipt
    from eventsourcing_app.api.described import Operation

logger = logging.getLogger(__name__)

Rule: TypeAlias = "Callable[[Request, EventSourcedModel | None], bool]"
"""Whether a request may run a command on an aggregate; on none, if the command creates one."""


class CommandViews(StateViews):
    """The acting half of ``EventSourcedViewSet``."""

    if_match_required: ClassVar[bool] = False
    """Whether a command on an object needs ``If-Match`` (428 without it)."""
    idempotency_key_required: ClassVar[bool] = False
    """Whether a command needs an ``Idempotency-Key`` (400 without it)."""
    command_permissions: ClassVar[Mapping[str, str | Rule]] = {}
    """By the name of a command, the permission that it needs, or a function of request and object that decides."""
    command_serializers: ClassVar[Mapping[str, type[serializers.Serializer[Any]]]] = {}
    """By the name of a command, what reads its arguments, instead of what is made of its signature."""
    command_throttle_scopes: ClassVar[Mapping[str, str]] = {}
    """By the name of a command, the scope that DRF's ``ScopedRateThrottle`` counts it in; else ``throttle_scope``."""

    _locking = False
    """Whether objects that are looked for are locked."""
    _acted_on: EventSourcedModel | None = None
    """The object that the command was run on, by this request itself."""
    _found_version: int | None = None
    """The version that it had before."""
    _offered: ClassVar[dict[str, tuple[Command, type[serializers.Serializer[Any]]]]] = {}

    # Hooks

    def permission_for(self, command: Command) -> str | Rule:
        """Return the permission that a command needs, or a function that decides: see ``command_permissions``."""
        if command.name in self.command_permissions:
            return self.command_permissions[command.name]
        options = self.model._meta
        own = f"{command.name}_{options.model_name}"
        if own in (codename for codename, *_names in options.permissions):
            return f"{options.app_label}.{own}"
        return f"{options.app_label}.{'add' if command.creates else 'change'}_{options.model_name}"

    def arguments_for(self, command: Command, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments to run a command with, from those that were given and checked."""
        return given

    # What guards a command

    def command_rule(self) -> Rule | None:
        """Return the function that decides who may run this request's command, if it is one that decides."""
        command = self._command()
        needed = None if command is None else self.permission_for(command)
        return needed if callable(needed) else None

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        command, rule = self._command(), self.command_rule()
        if command is not None and command.creates and rule is not None and not rule(request, None):
            self.permission_denied(request)

    def check_object_permissions(self, request: Request, obj: Any) -> None:
        super().check_object_permissions(request, obj)
        rule = self.command_rule()
        if rule is not None and not rule(request, obj):
            self.permission_denied(request)

    def check_throttles(self, request: Request) -> None:
        command = self._command()
        if command is not None and command.name in self.command_throttle_scopes:
            self.throttle_scope = self.command_throttle_scopes[command.name]
        super().check_throttles(request)

    # Running

    def run(self, request: Request, command: Command) -> Response:
        """Run a command and answer with what it did."""
        arguments = self.checked_arguments(command, request.data)
        key = key_of(request, required=self.idempotency_key_required)
        expected = Expected(request, required=self.if_match_required and not command.creates)
        replying: Replying[Receipt] = Replying(partial(self.told, command))
        try:
            # One transaction, so that state and events are those of this command, whoever comes next.
            with context(), refusals_answered(), transaction.atomic(using=conf.DATABASE):
                receipt = self._perform(command, arguments, key, replying)
                if not receipt.replayed and not command.creates:
                    expected.check(receipt.version - receipt.count)
                reply = replying.reply_to(receipt)
        except CommandRejected:
            # To whoever expected another state, that is the answer: the refusal is about this one.
            if self._found_version is not None:
                expected.check(self._found_version)
            raise
        return Response(reply.body, status=reply.status, headers=self._headers(command, receipt))

    def _perform(
        self, command: Command, arguments: dict[str, Any], key: str | None, replying: Replying[Receipt]
    ) -> Receipt:
        runner: Runner[Any] = Runner(
            self.model.objects, key, keeping=replying.keeping, lock=self._locked, savepoint=False
        )
        function = getattr(self.model, command.name)
        if command.creates:
            return runner.perform_new(function, **arguments)
        if key is None:
            return runner.perform(None, function, **arguments)  # what is locked is what the address says
        # The key comes first: a request that is under way shall be refused at once, and not wait for its lock.
        return runner.perform(self._target(), function, **arguments)

    def _locked(self, _pk: Any) -> Any:
        """Lock the object of this request, as far as its user may act on it: decided about the state that is locked."""
        self._locking = True
        try:
            found = self.get_object()
        finally:
            self._locking = False
        self._acted_on, self._found_version = found, found.version
        return found

    def filter_queryset(self, queryset: Any) -> Any:
        found = super().filter_queryset(queryset)
        if not self._locking:
            return found
        query = found.query
        if query.distinct or query.group_by is not None or query.combinator or query.is_sliced:
            # No database locks rows of these; the rows that they come from it does.
            found = self.model._default_manager.using(conf.DATABASE).filter(pk__in=found.order_by().values("pk"))
        return found.select_for_update(no_key=True, of=("self",))

    def checked_arguments(self, command: Command, data: Any) -> dict[str, Any]:
        """Return what a command is to be run with. Raises ``ValidationError``."""
        serializer = self.get_serializer(data=data)
        serializer.is_valid(raise_exception=True)
        return self.arguments_for(command, dict(serializer.validated_data))

    def told(self, command: Command, receipt: Receipt) -> Reply:
        """Return the reply that tells of what a command did."""
        code = status.HTTP_201_CREATED if command.creates else status.HTTP_200_OK
        return Reply(code, self._outcome(receipt))

    def visible_object(self, pk: Any) -> Any:
        """Return the object with a primary key, as far as this request may act on it. Raises ``Http404``."""
        if not is_text(str(pk)):
            raise Http404
        found = get_object_or_404(self.filter_queryset(self.get_queryset()), pk=pk)
        self.check_object_permissions(self.request, found)
        return found

    def _target(self) -> Any:
        """Return the key of the object; also of one whose row has gone, which the same request may have removed."""
        try:
            return self.get_object().pk
        except Http404:
            pk = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
            gone = self.model.remove_row_at_end and self.lookup_field == "pk" and is_text(str(pk))
            if self.command_rule() is not None:
                raise  # there is nothing left that it could decide about
            try:
                if not gone or self.model._base_manager.filter(pk=pk).exists():
                    raise
            except (TypeError, ValueError, ValidationError) as error:  # no such key
                raise Http404 from error
            return pk

    def _outcome(self, receipt: Receipt) -> dict[str, Any]:
        versions = (receipt.version - receipt.count + 1, receipt.version)
        written = self.model.objects.history(receipt.pk).filter(version__range=versions)
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

    def _state_after(self, receipt: Receipt) -> EventSourcedModel:
        if self._acted_on is not None:
            return self._acted_on
        state = self.model.objects.using(conf.DATABASE).filter(pk=receipt.pk).first()
        if state is None or state.version != receipt.version:  # it has ended and left no row, or was changed since
            return self.model.objects.at(receipt.pk, version=receipt.version)
        return state

    def _headers(self, command: Command, receipt: Receipt) -> dict[str, str]:
        headers = {"ETag": etag_of(receipt.version)}
        if receipt.replayed:
            headers |= REPLAYED
        if command.creates:
            try:
                headers["Location"] = self.reverse_action("detail", args=[receipt.pk])
            except NoReverseMatch:  # routed without a name, or a key with a slash in it
                return headers
        return headers

    # The schema

    def operation(self) -> Operation:
        described = super().operation()
        if (command := self._command()) is None:
            return described
        state: Any = self.state_class
        problems, headers = described.problems | {409, 422, 503}, (*described.headers, "Idempotency-Key")
        answer_headers = (*described.answer_headers, "ETag", "Idempotency-Replayed")
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

    # Which command

    @classmethod
    def offered_command(cls, name: str) -> tuple[str, Command] | None:
        """Return a command that is offered here, after the name of the view's method for it."""
        found = ((method, command) for method, (command, _serializer) in cls._offered.items() if command.name == name)
        return next(found, None)

    @classmethod
    def offered(cls) -> list[tuple[Command, type[serializers.Serializer[Any]]]]:
        """Return the commands that are offered here, each with the serializer of its arguments."""
        return list(cls._offered.values())

    def _method(self) -> str | None:
        # While OPTIONS and the browsable API look at what POST would take, `action` is not yet that of POST.
        request_method = (self.request.method or "").lower()
        name: str | None = getattr(self, "action_map", {}).get(request_method, self.action)
        return name

    def _command(self) -> Command | None:
        offered = self._offered.get(self._method() or "")
        return None if offered is None else offered[0]


@contextmanager
def refusals_answered() -> Iterator[None]:
    """Turn what the database refuses into an answer: constraints are the last word on which states are allowed."""
    try:
        yield
    except (IntegrityError, DataError, OverflowError) as error:
        logger.warning("A command was refused by the database: %s", error)
        raise StateRefused(_("The state that this would lead to is not allowed.")) from error
    except OperationalError as error:
        if not is_too_busy(error):
            raise
        logger.info("A command was given up for the sake of others: %s", error)
        raise Busy from error
