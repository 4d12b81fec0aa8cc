"""Requests that are safe to repeat: with an ``Idempotency-Key``, the first answer is stored with what was done.

After the IETF draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header-07), except that
the key is taken as it stands: with quotes around it, it is another one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer

from eventsourcing_app.access.masking import PAYLOAD, may_view_payload
from eventsourcing_app.access.visibility import narrowed_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rest_framework.request import Request

    from eventsourcing_app.access.visibility import Viewer
    from eventsourcing_app.aggregates.once import Answers, Kept

A = TypeVar("A")

HEADER = "Idempotency-Key"
REPLAYED: Mapping[str, str] = {"Idempotency-Replayed": "true"}
"""The header of an answer to a repetition."""


class KeyRequired(APIException):
    """The view takes no request that could not be repeated safely."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = _("Send an Idempotency-Key: a text of your choice that no other request has.")
    default_code = "idempotency_key_required"


def key_of(request: Request, *, required: bool) -> str | None:
    """Return the key that a request came with. Raises ``KeyRequired``."""
    key = request.headers.get(HEADER)
    if key is None and required:
        raise KeyRequired
    return key


class Reply(NamedTuple):
    """What a request is answered with."""

    status: int
    body: Any


class Replying(Generic[A]):
    """Tells what was done, and keeps the reply with it, so that a repetition is told the same.

    The reply is made inside the transaction of what was done, and stored in it: whoever sees the one sees the other.
    Of events, a repetition is told no more than the user may see by then.
    """

    _answers: Answers[A]

    def __init__(self, tell: Callable[[A], Reply], user: Viewer) -> None:
        self._tell, self._user = tell, user
        self._told: Reply | None = None

    def keeping(self, answers: Answers[A]) -> Answers[A]:
        """Keep a reply beside each of these answers."""
        self._answers = answers
        return self

    def reply_to(self, answer: A) -> Reply:
        """Return the reply: the one that was kept, or else that of now."""
        return self._tell(answer) if self._told is None else self._told

    def dump(self, answer: A) -> Kept:
        """See ``Answers``."""
        self._told = self._tell(answer)
        text = JSONRenderer().render(self._told.body).decode()
        return self._answers.dump(answer)._replace(response_status=self._told.status, response_body=text)

    def load(self, kept: Kept) -> A:
        """See ``Answers``. A key that was used in Python has no reply beside its answer yet."""
        if kept.response_status is not None:
            self._told = Reply(kept.response_status, as_seen_now(json.loads(kept.response_body), self._user))
        return self._answers.load(kept)


def as_seen_now(body: Any, user: Viewer) -> Any:
    """Return a stored body without what the user may no longer see of events. What was masked in it remains masked."""
    parts = [body, *body.get("results", ())]  # a batch has the answer of each command
    told = [event for part in parts for event in part.get("events", ())]
    if not may_view_payload(user):
        for event in told:
            event |= {**dict.fromkeys(PAYLOAD), "masked": True}
    visible = narrowed_positions(user, {event["position"] for event in told})
    for part in parts:
        if "events" in part:
            part["events"] = [event for event in part["events"] if event["position"] in visible]
    return body
