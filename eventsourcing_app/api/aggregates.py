"""Event-sourced models over HTTP: their state, their commands and their trails."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DataError, IntegrityError, transaction
from django.http import Http404
from django.urls import NoReverseMatch
from django.utils.translation import gettext as _
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.response import Response

from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.visibility import VIEW_EVENTS
from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.api.answers import outcome_serializer
from eventsourcing_app.api.commands import serializer_for
from eventsourcing_app.api.conditional import Expected, etag_of
from eventsourcing_app.api.pagination import KeysetPagination
from eventsourcing_app.api.past import is_asked_for
from eventsourcing_app.api.permissions import CommandPermission
from eventsourcing_app.api.problems import StateRefused
from eventsourcing_app.api.reading import StateViews, tell_positions
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.conf import conf
from eventsourcing_app.context import context
from eventsourcing_app.exceptions import CommandRejected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.receipts import Receipt
    from eventsourcing_app.api.described import Operation

logger = logging.getLogger(__name__)

_TAKEN = {"events": "the trail", "diff": "the differences"}
_OF_THE_PAST = frozenset(_TAKEN)


class EventSourcedViewSet(StateViews):
    """The state of an event-sourced model, its commands and its trail::

        class AccountViewSet(EventSourcedViewSet):
            model = Account

    - ``GET /`` and ``GET /{id}/``: the state, with its ``version``, which is the ``ETag`` as well, and its
      ``position``. ``?version=`` or ``?when=``: the state as it was. ``If-None-Match`` answers 304.
    - ``POST /``: the creating command. ``POST /{id}/{command}/``: each other command. The body holds the command's
      arguments, checked against its signature; the answer holds the events written, the new state, its ``version`` and
      the ``position`` in the log. With an ``Idempotency-Key`` a request can be repeated safely; with ``If-Match`` it is
      refused (412) if the object has another version than the client has seen.
    - ``GET /{id}/events/``: the trail, oldest first, each event with the fields that it changed.
    - ``GET /{id}/diff/?since=3&until=7``: the fields that differ between two versions, or moments.

    Permissions are Django's: ``view_<model>`` for everything; for a command also ``<command>_<model>`` if the model
    declares it in ``Meta.permissions``, otherwise ``add_<model>`` (creating) or ``change_<model>``; for the trail,
    states of the past and differences also ``eventsourcing_app.view_storedevent``. Override ``permission_for`` to
    decide otherwise, and ``get_queryset`` to show a user some objects only: what is not in it does not exist (404), for
    commands and trail as well.
    """

    model: ClassVar[type[EventSourcedModel]]
    commands: ClassVar[Collection[str] | None] = None
    """Names of the commands to offer; all of them by default."""
    if_match_required: ClassVar[bool] = False
    """Whether a command on an object needs ``If-Match`` (428 without it)."""
    examples: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Bodies to show in the schema, by the names of their commands."""
    permission_classes = (CommandPermission,)
    pagination_class: Any = KeysetPagination
    http_method_names = ("get", "post", "head", "options")

    _offered: ClassVar[dict[str, tuple[Command, type[serializers.Serializer[Any]]]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "model" in vars(cls) or ("commands" in vars(cls) and hasattr(cls, "model")):
            cls._offer_commands()

    @classmethod
    def _offer_commands(cls) -> None:
        if "queryset" not in vars(cls):
            cls.queryset = cls.model._default_manager.all()
        declared = commands_of(cls.model)
        names = declared if cls.commands is None else cls.commands
        if unknown := sorted(set(names) - set(declared)):
            raise ImproperlyConfigured(f"{cls.__name__}.commands: {cls.model.__name__} has no {', '.join(unknown)}.")
        cls._offered = {}
        for name in names:
            method = "create" if declared[name].creates else f"command_{name}"
            if method in cls._offered:
                raise ImproperlyConfigured(
                    f"{cls.__name__}: {cls.model.__name__} has several creating commands, and POST runs one. Name the "
                    "commands to offer, with one of them, in `commands`."
                )
            if name in _TAKEN:
                raise ImproperlyConfigured(
                    f"{cls.__name__}: the address of the command {name!r} is that of {_TAKEN[name]}. Rename the "
                    "command, or leave it out of `commands`."
                )
            cls._offered[method] = declared[name], serializer_for(cls.model, declared[name])
            if method not in vars(cls):
                setattr(cls, method, _view_of(method, declared[name]))

    # Hooks

    def get_queryset(self) -> QuerySet[Any]:
        """Return the objects that this user may see and act on."""
        return super().get_queryset().using(conf.DATABASE)

    def permission_for(self, command: Command) -> str:
        """Return the permission that a command needs."""
        options = self.model._meta
        own = f"{command.name}_{options.model_name}"
        if own in (codename for codename, *_names in options.permissions):
            return f"{options.app_label}.{own}"
        return f"{options.app_label}.{'add' if command.creates else 'change'}_{options.model_name}"

    def required_permissions(self) -> list[str]:
        """Return the permissions that this request needs."""
        options = self.model._meta
        required = [f"{options.app_label}.view_{options.model_name}"]
        if (command := self._command()) is not None:
            required.append(self.permission_for(command))
        elif self.action in _OF_THE_PAST or is_asked_for(self.request.query_params):
            required.append(VIEW_EVENTS)
        return required

    # Reading

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        method = self._method()
        if method in self._offered:
            return self._offered[method][1]
        if self.action == "events":
            return StoredEventSerializer
        return self.state_class

    def get_object(self) -> Any:
        if not is_text(str(self.kwargs[self.lookup_url_kwarg or self.lookup_field])):
            raise Http404
        return super().get_object()

    # Commands

    def run(self, request: Request, command: Command) -> Response:
        """Run a command and answer with what it did."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        key = request.headers.get("Idempotency-Key")
        manager = self.model.objects
        runner: Any = manager if key is None else manager.once(key)
        function = getattr(self.model, command.name)
        expected = Expected(request, required=self.if_match_required and not command.creates)
        # One transaction, so that state and events are those of this command, whoever comes next.
        with context(), _state_accepted(self.model), transaction.atomic(using=conf.DATABASE):
            if command.creates:
                receipt = runner.perform_new(function, **serializer.validated_data)
            else:
                pk = self._target(repeatable=key is not None)
                try:
                    receipt = runner.perform(pk, function, **serializer.validated_data)
                except CommandRejected:
                    # To whoever expected another state, that is the answer: the refusal is about this one.
                    expected.check(self.model.objects.get(pk=pk).version)
                    raise
                if not receipt.replayed:
                    expected.check(receipt.version - receipt.count)
            body = self._outcome(receipt)
        code = status.HTTP_201_CREATED if command.creates else status.HTTP_200_OK
        return Response(body, status=code, headers=self._headers(command, receipt))

    def _target(self, *, repeatable: bool) -> Any:
        """Return the key of the object; also of one whose row has gone, which the same request may have removed."""
        try:
            return self.get_object().pk
        except Http404:
            pk = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
            gone = self.model.remove_row_at_end and self.lookup_field == "pk" and is_text(str(pk))
            try:
                if not repeatable or not gone or self.model._base_manager.filter(pk=pk).exists():
                    raise
            except (TypeError, ValueError, ValidationError) as error:  # no such key
                raise Http404 from error
            return pk

    def _outcome(self, receipt: Receipt) -> dict[str, Any]:
        versions = (receipt.version - receipt.count + 1, receipt.version)
        written = self.model.objects.history(receipt.pk).filter(version__range=versions)
        rows = self.model.objects.using(conf.DATABASE)
        state = None if receipt.replayed else rows.filter(pk=receipt.pk).first()
        if state is None:  # a repetition, or an end that leaves no row
            state = self.model.objects.at(receipt.pk, version=receipt.version)
        if receipt.count:
            state.position = receipt.position  # of the last event, which brought it there
        else:
            tell_positions([state])
        return {
            "events": StoredEventSerializer(written, many=True).data,
            "state": self.state_of(state).data,
            "version": receipt.version,
            "position": receipt.position,
        }

    def _headers(self, command: Command, receipt: Receipt) -> dict[str, str]:
        headers = {"ETag": etag_of(receipt.version)}
        if receipt.replayed:
            headers["Idempotency-Replayed"] = "true"
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
        problems, headers = described.problems | {409, 422}, (*described.headers, "Idempotency-Key")
        answer_headers = (*described.answer_headers, "ETag", "Idempotency-Replayed")
        if command.creates:
            answer_headers += ("Location",)
        else:
            problems |= {412, 503}
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

    def _method(self) -> str | None:
        # While OPTIONS and the browsable API look at what POST would take, `action` is not yet that of POST.
        request_method = (self.request.method or "").lower()
        name: str | None = getattr(self, "action_map", {}).get(request_method, self.action)
        return name

    def _command(self) -> Command | None:
        offered = self._offered.get(self._method() or "")
        return None if offered is None else offered[0]


def _view_of(method: str, command: Command) -> Any:
    def view(self: EventSourcedViewSet, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.run(request, command)

    view.__name__ = method
    view.__qualname__ = f"{EventSourcedViewSet.__name__}.{method}"
    view.__doc__ = command.description
    if command.creates:
        return view
    title = command.name.replace("_", " ").capitalize()
    return action(detail=True, methods=["post"], url_path=command.name, url_name=command.name, name=title)(view)


@contextmanager
def _state_accepted(model: type[EventSourcedModel]) -> Iterator[None]:
    """Turn the database's refusal of a state into an answer: constraints are the last word on what is allowed."""
    try:
        yield
    except (IntegrityError, DataError, OverflowError) as error:
        logger.warning("A command on %s was refused by the database: %s", model._meta.label, error)
        raise StateRefused(_("The state that this would lead to is not allowed.")) from error
