"""What a view says of its operations to whoever reads the schema: plain data, which needs no library.

``ApiViewSet.operation()`` gives an ``Operation``; ``openapi.ApiSchema`` writes it down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from eventsourcing_app.aggregates.once import MAX_KEY

if TYPE_CHECKING:
    from rest_framework.serializers import BaseSerializer

JSONSchema = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A query parameter or a header."""

    description: str
    schema: JSONSchema = field(default_factory=lambda: {"type": "string"})
    example: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method of one address answers."""

    answer: type[BaseSerializer[Any]] | None
    """The serializer of the answer, or of each row of a page; ``None``: no body."""
    status: int = 200
    media: Mapping[str, JSONSchema] = field(default_factory=dict)
    """Other forms of the answer than JSON, by media type: ``{"text/csv": {"type": "string"}}``."""
    is_paged: bool = False
    problems: frozenset[int] = frozenset()
    """Every status that a client can be answered instead; 304 is among them."""
    headers: tuple[str, ...] = ()
    """Names of ``REQUEST_HEADERS`` that mean something to it."""
    answer_headers: tuple[str, ...] = ()
    """Names of ``ANSWER_HEADERS`` that a success may have."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Actions on an object of the same view, and where in the answer its key is (a runtime expression of OpenAPI)."""


CORRELATION: Final = "X-Correlation-ID"
REQUEST_HEADERS: Final[Mapping[str, Described]] = {
    CORRELATION: Described(
        description="Stored with every event of the request, and echoed; made afresh if it is missing or harmful.",
        example="checkout-4711",
    ),
    "Idempotency-Key": Described(
        description="Makes the request safe to repeat: a repetition gets the first answer and does nothing.",
        schema={"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
        example="0199c0de-7a11-7000-8000-000000000001",
    ),
    "If-Match": Described(
        description="The ETag of the state that you have seen: 412 if the object has another version by now.",
        example='"3"',
    ),
    "If-None-Match": Described(
        description="The ETag of the state that you have: 304 if that is still it.", example='"3"'
    ),
}
ANSWER_HEADERS: Final[Mapping[str, Described]] = {
    CORRELATION: Described(description="What the events of the request are stored with."),
    "ETag": Described(
        description="The version of the object.", schema={"type": "string", "pattern": '^"[0-9]+"$'}, example='"3"'
    ),
    "Location": Described(
        description="The address of the new object.", schema={"type": "string", "format": "uri-reference"}
    ),
    "Idempotency-Replayed": Described(
        description="The request had been answered before; this is the answer again.",
        schema={"type": "string", "enum": ["true"]},
    ),
    "Retry-After": Described(
        description="Seconds to wait before the request may be sent again.", schema={"type": "integer", "minimum": 0}
    ),
    "WWW-Authenticate": Described(description="How to say who you are."),
}
HEADERS_OF_PROBLEMS: Final[Mapping[int, tuple[str, ...]]] = {
    304: ("ETag",),
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
ALWAYS_THERE: Final = frozenset({"ETag"})
"""Headers that a success has whenever it may have them."""

PROBLEMS: Final[Mapping[int, Mapping[str, str]]] = {
    400: {
        "invalid": "The request is not valid.",
        "unknown": "There is no parameter 'amont' here.",
        "parse_error": "The body is not valid JSON.",
    },
    401: {"not_authenticated": "Authentication credentials were not provided."},
    403: {"permission_denied": "You do not have permission to perform this action."},
    404: {"not_found": "Not found."},
    406: {"not_acceptable": "Could not satisfy the request Accept header."},
    409: {
        "conflict": "Somebody else changed it at the same time. Read it again and decide again.",
        "idempotency_key_in_flight": "The first request with this Idempotency-Key is still running.",
    },
    412: {"precondition_failed": "It has changed since the version that If-Match names."},
    413: {"body_too_large": "The body is too large."},
    415: {"unsupported_media_type": "Unsupported media type in request."},
    422: {
        "rejected": "The command was refused: the code is that of the refusal.",
        "state_refused": "The state that this would lead to is not allowed.",
        "idempotency_key_reused": "This Idempotency-Key has answered another request.",
    },
    428: {"precondition_required": "Send If-Match with the ETag of the state that you have seen."},
    429: {"throttled": "Request was throttled."},
    503: {"not_adopted": "It has no history yet, and accepts no command until it has one."},
}
"""By status: codes of problems, each with what it says."""
FACTS_OF_PROBLEMS: Final[Mapping[str, Mapping[str, object]]] = {
    "invalid": {"errors": [{"pointer": "/amount", "detail": "A valid number is required.", "code": "invalid"}]},
    "unknown": {"errors": [{"parameter": "amont", "detail": "There is no such parameter.", "code": "unknown"}]},
    "conflict": {"expected": 3, "actual": 4},
    "precondition_failed": {"expected": '"3"', "actual": 4},
}
