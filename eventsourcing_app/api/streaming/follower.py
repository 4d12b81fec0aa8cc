"""One client of a stream: what it asks for, what it may see, and whether it still may. Uses the database."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.auth import SESSION_KEY, get_user, get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.utils.functional import SimpleLazyObject
from rest_framework.exceptions import APIException

from eventsourcing_app.access.follow import Window, question_of, read_on
from eventsourcing_app.api.streaming.form import message

if TYPE_CHECKING:
    from collections.abc import Hashable

    from django.http import HttpRequest

    from eventsourcing_app.api.base import ApiViewSet
    from eventsourcing_app.log.records import StoredEventQuerySet

CHUNK_BYTES = 256 * 1024
"""About so much is sent to a client at a time, and kept for it while it is slow."""
_NEGOTIATED = ("accepted_renderer", "accepted_media_type", "version", "versioning_scheme")


class Chunk(NamedTuple):
    """Messages to send, if any, and how far they take the client."""

    text: bytes
    reached: int


class Follower:
    """Reads for one client, as the view that it has asked."""

    def __init__(self, view: ApiViewSet) -> None:
        self._view: Any = view
        self._look()

    def read(self, after: int, until: int) -> Window:
        """Read the next events that the client has asked for, up to a settled position."""
        return read_on(self._events, after=after, until=until)

    def render(self, window: Window) -> Chunk:
        """Return the first messages of a window: as many as fit into a chunk, but one at least."""
        parts, size = [], 0
        for event in window.events:
            parts.append(message(event.position, self._view.get_serializer(event).data))
            size += len(parts[-1])
            if size >= CHUNK_BYTES and event is not window.events[-1]:
                return Chunk(b"".join(parts), event.position)
        return Chunk(b"".join(parts), window.reached)

    def is_still_allowed(self) -> bool:
        """Authenticate the client anew and ask for its permissions, as if it had come just now."""
        view = self._view
        before = view.request
        request = view.initialize_request(_anew(before._request), *view.args, **view.kwargs)
        for name in _NEGOTIATED:
            setattr(request, name, getattr(before, name, None))
        view.request = request
        try:
            view.perform_authentication(request)
            view.check_permissions(request)
        except (APIException, PermissionDenied):
            return False
        self._look()
        return True

    def _look(self) -> None:
        view = self._view
        self._events: StoredEventQuerySet = view.filter_queryset(view.get_queryset())
        self.question = question_of(self._events)
        self.viewer = _viewer(view.request.user, view.request.auth)


def _viewer(user: Any, auth: object) -> Hashable:
    """Whoever is shown the same: one user by one kind of authentication. A token may be worth less than its user."""
    viewer = (user.pk, auth)
    try:
        hash(viewer)
    except TypeError:
        return object()
    return viewer


def _anew(request: HttpRequest) -> Any:
    """Return the request as it would come in now: session and user are what they have become."""
    fresh: Any = copy(request)
    for cached in ("_cached_user", "_acached_user"):
        vars(fresh).pop(cached, None)
    session = getattr(request, "session", None)
    if session is not None and SESSION_KEY in session:
        fresh.session = type(session)(session.session_key)
        fresh.user = SimpleLazyObject(lambda: get_user(fresh))
    elif (user := getattr(request, "user", None)) is not None:
        fresh.user = SimpleLazyObject(lambda: _reloaded(user))
    return fresh


def _reloaded(user: Any) -> Any:
    found = get_user_model()._default_manager.filter(pk=user.pk).first() if user.pk is not None else None
    return AnonymousUser() if found is None else found
