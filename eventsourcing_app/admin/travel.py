"""Travel in time: which past state is asked for, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.translation import gettext as _

from eventsourcing_app.access.events import position_from
from eventsourcing_app.access.folding import folding
from eventsourcing_app.admin.audited import told_fields, untold_fields
from eventsourcing_app.admin.timeline import events_of, timeline
from eventsourcing_app.admin.times import iso, relative, utc
from eventsourcing_app.admin.values import changed_fields, currency_of, label_of, value_of_field
from eventsourcing_app.aggregates.past.changes import compare
from eventsourcing_app.aggregates.past.history import state_at
from eventsourcing_app.aggregates.values import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest

    from eventsourcing_app.admin.addresses import Addresses
    from eventsourcing_app.admin.audited import Audited
    from eventsourcing_app.admin.links import Links
    from eventsourcing_app.admin.values import ChangedField
    from eventsourcing_app.aggregates.model import EventSourcedModel

PARAMETERS = ("version", "when", "compare")
"""What a question may name in the query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked for: the state at a version, at a moment, or now; compared with another version, or with now."""

    version: int | None = None
    when: datetime | None = None
    compare: int | None = None
    problems: Sequence[str] = field(default=())
    """Why it cannot be answered, in sentences."""

    @property
    def when_text(self) -> str:
        """The moment as a field of a form has it, in UTC."""
        if self.when is None:
            return ""
        text = self.when.astimezone(UTC).replace(tzinfo=None)
        return text.isoformat(timespec="milliseconds" if text.microsecond else "seconds")


class Value(NamedTuple):
    """A field, and what it was."""

    name: str
    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is told of a past state."""

    version: int = 0
    """0 if it did not exist yet, or if no code can tell."""
    recorded_at: datetime | None = None
    is_final: bool = True
    values: Sequence[Value] = ()
    untold: Sequence[str] = ()
    """The labels of columns without history."""
    compared: int = 0
    """The version that it is compared with; 0 with none."""
    changes: Sequence[ChangedField] = ()
    """What is different in the later one of the two."""
    problem: str | None = None
    """Why it cannot be folded."""


def question(parameters: Mapping[str, str], latest: int) -> Question:
    """Read a question about a history that has come to version ``latest``. An empty number is none."""
    problems: list[str] = []
    given = {name: parameters.get(name, "").strip() for name in PARAMETERS}
    version = _version(given["version"], latest, problems) if given["version"] else None
    compared = _version(given["compare"], latest, problems) if given["compare"] else None
    # A form that is sent without the time that it asks for has asked for nothing; of now nobody spoke.
    when = _moment(given["when"], problems) if given["when"] or _is_by_date(parameters) else None
    if given["version"] and given["when"]:
        problems.append(_("Give a version or a time, not both."))
    return Question(version=version, when=when, compare=compared, problems=problems)


def _is_by_date(parameters: Mapping[str, str]) -> bool:
    return "when" in parameters and "version" not in parameters


def view(audited: Audited, asked: Question, latest: int, fields: Sequence[str]) -> View:
    """Fold the state that is asked for, and the one that it is compared with; tell of ``fields`` only."""
    model, key = audited.model, audited.stream_key
    untold = [label_of(model, name) for name in untold_fields(model, fields)]
    version = None if asked.when is not None else asked.version or latest
    state = compared = None
    with folding(model, key) as outcome:
        try:
            state = state_at(model, key, version=version, when=asked.when)
        except model.DoesNotExist:
            return View(is_final=True)
    if state is None:
        return View(version=version or 0, problem=outcome.problem)
    found = View(
        version=state.version,
        recorded_at=state.changed_at,
        is_final=bool(state.past_is_final),
        values=_values(state, fields),
        untold=untold,
    )
    other = asked.compare or latest
    if other == state.version:
        return found
    with folding(model, key) as outcome:
        compared = state_at(model, key, version=other)
    if compared is None:
        return replace(found, problem=outcome.problem)
    before, after = sorted((state, compared), key=lambda each: each.version)
    changes = changed_fields(
        model,
        compare(before, after),
        shown=told_fields(model, fields),
        currencies=(currency_of(vars(before), fields), currency_of(vars(after), fields)),
    )
    return replace(found, compared=other, changes=changes)


def told_of(
    request: HttpRequest,
    audited: Audited,
    asked: Question,
    latest: int,
    fields: Sequence[str],
    links: Links,
    addresses: Addresses,
) -> dict[str, Any]:
    """Return what the template is given that tells of the past state."""
    found = view(audited, asked, latest, fields)
    events = list(events_of(audited, request).filter(version=found.version)) if found.version else []
    made_by = timeline(request, audited, events, fields=None, links=links, addresses=addresses).entries
    first = None if found.version else audited.visible(request.user).only("recorded_at").first()
    to = partial(addresses.past, {} if asked.compare is None else {"compare": asked.compare})
    return {
        "view": found,
        "at": found.version or latest,
        "recorded": "" if found.recorded_at is None else utc(found.recorded_at, exact=True),
        "recorded_iso": "" if found.recorded_at is None else iso(found.recorded_at),
        "ago": "" if found.recorded_at is None else relative(found.recorded_at),
        "as_of": "" if asked.when is None else utc(asked.when, exact=True),
        "began": "" if first is None else utc(first.recorded_at, exact=True),
        "made_by": next(iter(made_by), None),
        "first_url": to(1) if found.version != 1 else None,
        "earlier_url": to(found.version - 1) if found.version > 1 else None,
        "later_url": to(found.version + 1) if 0 < found.version < latest else None,
        "now_url": to(None) if found.version != latest else None,
    }


def _values(state: EventSourcedModel, fields: Sequence[str]) -> list[Value]:
    model, key = type(state), state._meta.pk.name
    told = told_fields(model, fields)
    columns = {column.name: column for column in model._meta.concrete_fields}
    currency = currency_of(vars(state), fields)
    return [
        Value(
            name, label_of(model, name), value_of_field(model, name, value_of(state, columns[name]), currency=currency)
        )
        for name in ([key] if key in fields else []) + told
    ]


def _version(text: str, latest: int, problems: list[str]) -> int | None:
    version = position_from(text)
    if version is None:
        problems.append(_("A version is a whole number, such as 1."))
    elif version == 0:
        problems.append(_("Versions count from 1."))
    elif version > latest:
        problems.append(
            _("It has not come to version %(version)d yet: now it is at version %(latest)d.")
            % {"version": version, "latest": latest}
        )
    else:
        return version
    return None


def _moment(text: str, problems: list[str]) -> datetime | None:
    try:
        if "T" not in text.upper().replace(" ", "T"):  # a day alone could mean its beginning or its end
            raise ValueError
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(_("A time is a date and a time of day, in UTC, such as 2026-01-31T12:00."))
        return None
