"""What a view says of its operations to whoever reads the schema: plain data, which needs no library.

``DescribedView.operation()`` gives an ``Operation``; ``openapi.ApiSchema`` writes it down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from eventsourcing_app.access.events import LARGEST_POSITION
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
    """The serializer of the answer, or of each row of a page; ``None``: no body in JSON."""
    status: int = 200
    summary: str = ""
    """A few words; left out, they are made of the command or the action."""
    body: type[BaseSerializer[Any]] | None = None
    """The serializer that describes the request's body, if it is another than that which reads it."""
    example: object = None
    """A body to show."""
    answers: Mapping[int, type[BaseSerializer[Any]]] = field(default_factory=dict)
    """Other answers in JSON, which are no problems, by their status."""
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


class DescribedView:
    """A view that says itself what it understands and answers."""

    basename: str
    query_parameters: ClassVar[Collection[str]] = ()
    """Query parameters of the lists, besides those of the pages."""
    repeatable_parameters: ClassVar[Collection[str]] = ()
    """Those of them that may come several times."""
    parameter_descriptions: ClassVar[Mapping[str, Described]] = {}
    """What the schema says of a query parameter; one that is not here is text."""

    def operation(self) -> Operation:
        """Return what the schema says of the current action."""
        raise NotImplementedError

    def operation_name(self, action: str) -> str:
        """Return the stable name of an action in the schema, its ``operationId``: ``account_deposit``."""
        return f"{self.basename}_{action}"

    def parameters_of(self, action: str) -> Collection[str]:
        """Return the query parameters that an action understands, besides those of pages."""
        return self.query_parameters if action == "list" else ()

    def described_parameters(self, action: str) -> Mapping[str, Described]:
        """Return what the schema says of the query parameters of an action."""
        return self.parameter_descriptions


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
    "If-None-Match": Described(description="The ETag of what you have: 304 if that is still it.", example='"3"'),
    "Last-Event-ID": Described(
        description="The position that you have come to: the stream goes on after it. Wins over `after_position`.",
        schema={"type": "string", "pattern": "^[0-9]*$"},
        example="0",
    ),
}
ANSWER_HEADERS: Final[Mapping[str, Described]] = {
    CORRELATION: Described(description="What the events of the request are stored with."),
    "ETag": Described(
        description="The version of the object; of what has none, a hash of all that is shown.",
        schema={"type": "string", "pattern": '^"[0-9a-f]+"$'},
        example='"3"',
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
    "Cache-Control": Described(description="Who may keep the answer, and for how long."),
    "Content-Disposition": Described(description="Of an export: the name for its file."),
    "Log-Position": Described(
        description="Of an export: up to which position it goes. The next one goes on with it as `after_position`.",
        schema={"type": "integer", "format": "int64", "minimum": 0, "maximum": LARGEST_POSITION},
    ),
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
        "repeated": "It may be given once only.",
        "parse_error": "The body is not valid JSON.",
        "event_refused": "The event cannot be stored.",
        "version_ahead": "It has not come to this version yet.",
        "position_ahead": "The log has not come to this position.",
        "idempotency_key_required": "Send an Idempotency-Key: a text of your choice that no other request has.",
        "idempotency_key_invalid": f"An Idempotency-Key has 1 to {MAX_KEY} printable characters.",
    },
    401: {
        "not_authenticated": "Authentication credentials were not provided.",
        "authentication_failed": "Invalid token.",
    },
    403: {"permission_denied": "You do not have permission to perform this action."},
    404: {"not_found": "Not found."},
    405: {"method_not_allowed": 'Method "PUT" not allowed.'},
    406: {"not_acceptable": "Could not satisfy the request Accept header."},
    409: {
        "conflict": "Somebody else changed it at the same time. Read it again and decide again.",
        "idempotency_key_in_flight": "The first request with this Idempotency-Key is still running.",
        "not_caught_up": "What you wait for has not been reached in time. Ask again.",
        "operation_refused": "bank.alerts is paused: only one that is active can be paused.",
    },
    411: {"length_required": "Say how long the body is: Content-Length."},
    412: {"precondition_failed": "It has changed since the version that If-Match names."},
    413: {
        "body_too_large": "The body is too large.",
        "batch_too_large": "A batch has at most 100 commands.",
    },
    415: {
        "unsupported_media_type": "Unsupported media type in request.",
        "content_encoding_not_supported": "Send the body as it is, not compressed.",
    },
    422: {
        "rejected": "The command was refused: the code is that of the refusal.",
        "state_refused": "The state that this would lead to is not allowed.",
        "idempotency_key_reused": "This Idempotency-Key has answered another request.",
    },
    428: {"precondition_required": "Send If-Match with the ETag of the state that you have seen."},
    429: {
        "throttled": "Request was throttled.",
        "too_many_streams": "You have as many streams open as one user may have.",
    },
    500: {
        "internal_error": "Something went wrong here. Tell us the correlation id.",
        "done_with_error": "It is done and stored, but what followed has failed. Do not send it again.",
    },
    503: {
        "not_adopted": "It has no history yet, and accepts no command until it has one.",
        "busy": "Others were at work on the same. Nothing was done: send it again.",
        "read_timeout": "It took too long to read. Ask for less, or later.",
        "streams_exhausted": "As many streams as this server allows are open. Come back later.",
        "database_unavailable": "The database does not answer.",
    },
}
"""By status: codes of problems, each with what it says."""
FACTS_OF_PROBLEMS: Final[Mapping[str, Mapping[str, object]]] = {
    "invalid": {"errors": [{"pointer": "/amount", "detail": "A valid number is required.", "code": "invalid"}]},
    "unknown": {"errors": [{"parameter": "amont", "detail": "There is no such parameter.", "code": "unknown"}]},
    "conflict": {"expected": 3, "actual": 4},
    "not_caught_up": {"position": 1042, "waiting": ["bank.daily_totals"]},
    "precondition_failed": {"expected": '"3"', "actual": 4},
}
