"""What is asked of the past: a state by ``?version=`` or ``?when=``, a difference by ``?since=`` and ``?until=``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import serializers

from eventsourcing_app.access.events import LARGEST_POSITION, position_from
from eventsourcing_app.api.described import Described
from eventsourcing_app.api.fields import UTCField
from eventsourcing_app.api.problems import InvalidParameter
from eventsourcing_app.exceptions import NoSuchVersion

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.changes import Diff

STATE_PARAMETERS = ("version", "when")
DIFF_PARAMETERS = ("since", "until")

_VERSION = {"type": "integer", "format": "int64", "minimum": 0, "maximum": LARGEST_POSITION}
MOMENT = {"type": "string", "format": "date-time"}
"""The schema of a moment."""
_PLACE = {"anyOf": [_VERSION, MOMENT]}
DESCRIPTIONS: Final[Mapping[str, Described]] = {
    "version": Described(description="The state at this version.", schema=_VERSION, example=7),
    "when": Described(
        description="The state at this moment, with its offset from UTC.",
        schema=MOMENT,
        example="2026-11-01T00:00:00Z",
    ),
    "since": Described(
        description="From this version or moment; left out: from before it existed.", schema=_PLACE, example=3
    ),
    "until": Described(description="To this version or moment; left out: to now.", schema=_PLACE, example=7),
}
"""What the schema says of them."""


def is_asked_for(parameters: Mapping[str, str]) -> bool:
    """Whether a state of the past is asked for."""
    return any(name in parameters for name in STATE_PARAMETERS)


def past_state(present: EventSourcedModel, parameters: Mapping[str, str]) -> Any:
    """Return the state that is asked for. Raises ``Http404`` before it existed, ``InvalidParameter``."""
    if all(name in parameters for name in STATE_PARAMETERS):
        raise InvalidParameter("when", _("Give 'version' or 'when', not both."))
    model = type(present)
    try:
        if "version" in parameters:
            return model.objects.at(present.pk, version=_version("version", parameters["version"]))
        return model.objects.at(present.pk, when=moment_of("when", parameters["when"]))
    except model.DoesNotExist as error:
        raise Http404 from error
    except NoSuchVersion as error:
        raise _ahead("version") from error


def past_diff(present: EventSourcedModel, parameters: Mapping[str, str]) -> Diff:
    """Return the difference that is asked for: from ``since``, before it existed if left out, until now if left out."""
    since = _place("since", parameters["since"]) if "since" in parameters else 0
    until = _place("until", parameters["until"]) if "until" in parameters else None
    try:
        return type(present).objects.diff(present.pk, since=since, until=until)
    except type(present).DoesNotExist as error:
        raise Http404 from error
    except NoSuchVersion as error:
        raise _ahead("until" if "until" in parameters else "since") from error
    except ValueError as error:
        raise InvalidParameter("since", _("It comes after 'until'.")) from error


def _place(name: str, text: str) -> int | datetime:
    version = position_from(text)
    return moment_of(name, text) if version is None else version


def _version(name: str, text: str) -> int:
    version = position_from(text)
    if version is None:
        raise InvalidParameter(name, _("It must be the number of a version."))
    return version


def moment_of(name: str, text: str) -> datetime:
    """Read a time with its offset from UTC. Raises ``InvalidParameter`` for anything else."""
    try:
        moment = UTCField().run_validation(text)
    except serializers.ValidationError as error:
        (detail, *_more) = error.detail
        raise InvalidParameter(name, str(detail)) from error
    assert isinstance(moment, datetime)
    return moment


def _ahead(name: str) -> InvalidParameter:
    return InvalidParameter(name, _("It has not come to this version yet."), "version_ahead")
