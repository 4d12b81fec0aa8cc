"""Who may run which command of an event-sourced model, and on which object: decided about the state that is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from django.core.exceptions import ValidationError
from django.http import Http404
from rest_framework.generics import get_object_or_404

from eventsourcing_app.access.commands import permission_of
from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.locking import locking
from eventsourcing_app.api.reading import StateViews

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rest_framework import serializers
    from rest_framework.request import Request

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel

Rule: TypeAlias = "Callable[[Request, EventSourcedModel | None], bool]"
"""Whether a request may run a command on an aggregate; on none, if the command creates one."""


class GuardedCommands(StateViews):
    """The commands that a view offers, and what guards them."""

    command_permissions: ClassVar[Mapping[str, str | Rule]] = {}
    """By the name of a command, the permission that it needs, or a function of request and object that decides."""
    command_throttle_scopes: ClassVar[Mapping[str, str]] = {}
    """By the name of a command, the scope that DRF's ``ScopedRateThrottle`` counts it in; else ``throttle_scope``."""

    _offered: ClassVar[dict[str, tuple[Command, type[serializers.Serializer[Any]]]]] = {}
    _locking = False
    """Whether the object that is looked for is still to be locked."""
    _rewritten = False
    """Whether it is looked for by another query than that of the view."""
    _acted_on: EventSourcedModel | None = None
    """The object that the command was run on, by this request itself."""
    found_version: int | None = None
    """The version that it had before."""

    def permission_for(self, command: Command) -> str | Rule:
        """Return the permission that a command needs, or a function that decides: see ``command_permissions``."""
        if command.name in self.command_permissions:
            return self.command_permissions[command.name]
        return permission_of(self.model, command)

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

    # Which object

    def visible_object(self, pk: Any) -> Any:
        """Return the object with a primary key, as far as this request may act on it. Raises ``Http404``."""
        if not is_text(str(pk)):
            raise Http404
        found = get_object_or_404(self.filter_queryset(self.get_queryset()), pk=pk)
        self.check_object_permissions(self.request, found)
        return found

    def locked_object(self, pk: Any) -> Any:
        """Lock the object, as far as the user of this request may act on it: decided about the state that is locked.

        Without ``pk`` it is that of the address.
        """
        self._locking, self._rewritten = True, False
        try:
            found = self.get_object() if pk is None else self.visible_object(pk)
        finally:
            was_locked, self._locking = not self._locking, False
        if not was_locked:  # a get_object() of the user's own went another way
            found = self.model.objects._lock_one(found.pk)
            self.check_object_permissions(self.request, found)
        elif self._rewritten:  # while it waited for the lock, the object may have gone out of what is shown
            self.visible_object(found.pk)
        self._acted_on, self.found_version = found, found.version
        return found

    def filter_queryset(self, queryset: Any) -> Any:
        found = super().filter_queryset(queryset)
        if not self._locking:
            return found
        self._locking = False
        locked, self._rewritten = locking(found)
        return locked

    def key_of_object(self, pk: Any, *, repeatable: bool) -> Any:
        """Return the key of a visible object, by its text; ``repeatable``: see ``_key_of_gone``. Raises ``Http404``."""
        try:
            return self.visible_object(pk).pk
        except Http404:
            if not repeatable:
                raise
            return self._key_of_gone(pk)

    def target(self) -> Any:
        """Return the key of the object, by the address of a request that may be a repetition. Raises ``Http404``."""
        try:
            return self.get_object().pk
        except Http404:
            if self.lookup_field != "pk":
                raise
            return self._key_of_gone(self.kwargs[self.lookup_url_kwarg or self.lookup_field])

    def _key_of_gone(self, pk: Any) -> Any:
        """Return the key of an object whose row has gone, which the same request may have removed."""
        gone = self.model.remove_row_at_end and is_text(str(pk))
        if not gone or self.command_rule() is not None:  # there is nothing left that a rule could decide about
            raise Http404
        try:
            if self.model._base_manager.filter(pk=pk).exists():
                raise Http404
            return self.model._meta.pk.to_python(pk)
        except (TypeError, ValueError, ValidationError) as error:  # no such key
            raise Http404 from error

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
