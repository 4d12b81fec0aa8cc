"""How many streams one process serves at a time, together and for each user."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from collections.abc import Hashable


class NoPlaceLeft(APIException):
    """The process serves as many streams as it may."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("As many streams as this server allows are open. Come back later.")
    default_code = "streams_exhausted"
    wait = 10


class TooManyStreams(APIException):
    """The user has as many streams as one may have."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_detail = _("You have as many streams open as one user may have. Close one, or come back later.")
    default_code = "too_many_streams"
    wait = 10


class Place:
    """The right to one stream. It is given back by ``leave()``, or when nobody holds it any more."""

    def __init__(self, places: Places, user: Hashable) -> None:
        # A client may be gone before its response has begun; then nobody is left who could call leave().
        self.leave = weakref.finalize(self, places.give_back, user)
        self.leave.atexit = False


class Places:
    """Counts the streams of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a forgotten place may be collected while another one is taken
        self._taken: Counter[Hashable] = Counter()

    def take(self, user: Hashable) -> Place:
        """Take a place for a user. Raises ``NoPlaceLeft`` or ``TooManyStreams``."""
        with self._lock:
            if self._taken[user] >= conf.STREAMS_PER_USER:
                raise TooManyStreams
            if self._taken.total() >= conf.STREAMS:
                raise NoPlaceLeft
            self._taken[user] += 1
        return Place(self, user)

    def give_back(self, user: Hashable) -> None:
        """Count one stream less."""
        with self._lock:
            self._taken[user] -= 1
            if not self._taken[user]:
                del self._taken[user]

    @property
    def taken(self) -> int:
        """How many streams are open now."""
        with self._lock:
            return self._taken.total()


places = Places()
