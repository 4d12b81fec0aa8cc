"""Conditional requests (RFC 9110, section 13): the version of an aggregate is its entity tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.http import parse_etags
from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException

if TYPE_CHECKING:
    from rest_framework.request import Request


class PreconditionFailed(APIException):
    """``If-Match`` named another version than the aggregate has."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = _("It has changed since the version that If-Match names. Read it again and decide again.")
    default_code = "precondition_failed"

    def __init__(self, expected: str, actual: int) -> None:
        super().__init__()
        self.facts = {"expected": expected, "actual": actual}


class PreconditionRequired(APIException):
    """The view wants to be told which version the client has seen."""

    status_code = status.HTTP_428_PRECONDITION_REQUIRED
    default_detail = _("Send If-Match with the ETag of the state that you have seen.")
    default_code = "precondition_required"


def etag_of(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has this representation already, by ``If-None-Match``: then the answer is 304."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or etag in {each.removeprefix("W/") for each in known}


class Expected:
    """What a command expects of the version that it finds, by ``If-Match``; nothing if the header is missing."""

    def __init__(self, request: Request, *, required: bool) -> None:
        self._header = request.headers.get("If-Match")
        if self._header is None and required:
            raise PreconditionRequired
        # A weak tag says that two states are alike, which is not enough for If-Match.
        self._tags = None if self._header is None else set(parse_etags(self._header))

    def check(self, version: int) -> None:
        """Raise ``PreconditionFailed`` if it is another one. What was done meanwhile must be rolled back then."""
        if self._tags is not None and "*" not in self._tags and etag_of(version) not in self._tags:
            raise PreconditionFailed(self._header or "", version)
