"""Event-sourced models over HTTP: their state, their commands and their trails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404
from rest_framework.decorators import action
from rest_framework.permissions import SAFE_METHODS

from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.masking import VIEW_PAYLOAD
from eventsourcing_app.access.visibility import VIEW_EVENTS
from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.api.commands import serializer_for
from eventsourcing_app.api.pagination import KeysetPagination
from eventsourcing_app.api.past import is_asked_for
from eventsourcing_app.api.permissions import CommandPermission
from eventsourcing_app.api.running import CommandViews
from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from django.db.models import QuerySet
    from rest_framework import serializers
    from rest_framework.request import Request
    from rest_framework.response import Response

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel

_TAKEN = {"events": "the trail", "diff": "the differences"}
_OF_THE_PAST = frozenset(_TAKEN)
_DECIDES = frozenset({"model", "commands", "command_serializers"})
"""The attributes that decide what a class offers."""


class EventSourcedViewSet(CommandViews):
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
    states of the past and differences also ``eventsourcing_app.view_storedevent``, and for all that is told by what
    events say, ``eventsourcing_app.view_payload``. Decide otherwise about a command in ``command_permissions``, and
    override ``get_queryset`` to show a user some objects only: what is not in it does not exist (404), for commands and
    trail as well.
    """

    model: ClassVar[type[EventSourcedModel]]
    commands: ClassVar[Collection[str] | None] = None
    """Names of the commands to offer; all of them by default."""
    examples: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Bodies to show in the schema, by the names of their commands."""
    permission_classes = (CommandPermission,)
    pagination_class: Any = KeysetPagination
    http_method_names: Sequence[str] = ("get", "post", "head", "options")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "model"):
            return
        cls._check_commands()
        if not vars(cls).keys().isdisjoint(_DECIDES):
            cls._offer_commands()

    @classmethod
    def _check_commands(cls) -> None:
        declared = commands_of(cls.model)
        for attribute in ("commands", "command_permissions", "command_serializers", "command_throttle_scopes"):
            if unknown := sorted(set(getattr(cls, attribute) or ()) - set(declared)):
                raise ImproperlyConfigured(
                    f"{cls.__name__}.{attribute}: {cls.model.__name__} has no {', '.join(unknown)}."
                )

    @classmethod
    def _offer_commands(cls) -> None:
        if cls.queryset is None or cls.queryset.model is not cls.model:  # a parent may show some of them only
            cls.queryset = cls.model._default_manager.all()
        declared = commands_of(cls.model)
        names = declared if cls.commands is None else cls.commands
        methods = {_method_of(declared[name]) for name in names}
        for method in cls._offered.keys() - vars(cls).keys():
            if method not in methods or _is_made(getattr(cls, method, None)):
                setattr(cls, method, _NotOffered())  # what a parent offers, this class may leave out
        cls._offered = {}
        for name in names:
            method = _method_of(declared[name])
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
            serializer = cls.command_serializers.get(name) or serializer_for(cls.model, declared[name])
            cls._offered[method] = declared[name], serializer
            own: Any = getattr(cls, method, None)
            if own is None:
                setattr(cls, method, _view_of(method, declared[name]))
            elif not declared[name].creates and not hasattr(own, "mapping"):
                setattr(cls, method, _routed(own, declared[name]))

    # Hooks

    def get_queryset(self) -> QuerySet[Any]:
        """Return the objects that this user may see and act on."""
        return super().get_queryset().using(conf.DATABASE)

    def required_permissions(self) -> list[str]:
        """Return the permissions that this request needs."""
        options = self.model._meta
        required = [f"{options.app_label}.view_{options.model_name}"]
        if self.action and self.request.method not in SAFE_METHODS and self._command() is None:  # a user's own
            required.append(f"{options.app_label}.change_{options.model_name}")
        return required + self._needed()

    def check_permissions(self, request: Request) -> None:
        """Ask the ``permission_classes``; and, whichever these are, for what commands and the past need."""
        super().check_permissions(request)
        if not all(request.user.has_perm(permission) for permission in self._needed()):
            self.permission_denied(request)

    def _needed(self) -> list[str]:
        if (command := self._command()) is not None:
            needed = self.permission_for(command)
            return [needed] if isinstance(needed, str) else []
        if self.action in _OF_THE_PAST or is_asked_for(self.request.query_params):
            # The trail is masked; of what is folded from payloads nothing would be left.
            return [VIEW_EVENTS] if self.action == "events" else [VIEW_EVENTS, VIEW_PAYLOAD]
        return []

    # Reading

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        method = self._method()
        if method in self._offered:
            return self._offered[method][1]
        if self.action == "events":
            return StoredEventSerializer
        return self.get_state_serializer_class()

    def get_object(self) -> Any:
        if not is_text(str(self.kwargs[self.lookup_url_kwarg or self.lookup_field])):
            raise Http404
        return super().get_object()


def _method_of(command: Command) -> str:
    return "create" if command.creates else f"command_{command.name}"


class _NotOffered:
    """Hides what a parent has: to routers, and to whoever looks, there is no such method."""

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError


def _is_made(view: object) -> bool:
    """Whether a method was made here; a user's own stays."""
    return getattr(view, "__qualname__", "").startswith(f"{EventSourcedViewSet.__name__}.")


def _view_of(method: str, command: Command) -> Any:
    def view(self: EventSourcedViewSet, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.run(request, command)

    view.__name__ = method
    view.__qualname__ = f"{EventSourcedViewSet.__name__}.{method}"
    view.__doc__ = command.description
    return view if command.creates else _routed(view, command)


def _routed(view: Any, command: Command) -> Any:
    """Tell routers of the address of a command."""
    title = command.name.replace("_", " ").capitalize()
    return action(detail=True, methods=["post"], url_path=command.name, url_name=command.name, name=title)(view)
