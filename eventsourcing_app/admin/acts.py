"""What operators can do to a subscription in the admin: its words, its form, and what of ``operate`` it calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.access.events import LARGEST_POSITION, is_text
from eventsourcing_app.access.subscriptions import MAX_BURST, MAX_REASON
from eventsourcing_app.subscriptions import operate
from eventsourcing_app.subscriptions.rates import Rate
from eventsourcing_app.subscriptions.records import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from django.utils.functional import _StrPromise

    from eventsourcing_app.subscriptions.overview import Overview


class ReasonForm(forms.Form):
    """Why an operator acts."""

    required_css_class = "required"

    reason = forms.CharField(
        label=_("Reason"),
        max_length=MAX_REASON,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        help_text=_("It is kept in the log with what is done, and who did it."),
        error_messages={"required": _("Say why: it is kept in the log.")},
    )

    def clean_reason(self) -> str:
        """Refuse half a character, which no database takes."""
        reason: str = self.cleaned_data["reason"]
        if not is_text(reason):
            raise ValidationError(gettext("It contains a character that cannot be stored."))
        return reason


class ActForm(ReasonForm):
    """The form of an act on one subscription, made with what that is now.

    ``hidden`` are positions of events that there are not for the operator.
    """

    def __init__(self, data: Any = None, *, overview: Overview, hidden: Collection[int] = ()) -> None:
        super().__init__(data)
        self.overview = overview


class SkipForm(ActForm):
    """Which of the events to give up that segments have stopped at."""

    field_order = ("position", "reason")

    def __init__(self, data: Any = None, *, overview: Overview, hidden: Collection[int] = ()) -> None:
        super().__init__(data, overview=overview, hidden=hidden)
        choices = [(position, f"#{position}") for position in overview.stopped_at if position not in hidden]
        field = forms.TypedChoiceField(label=_("Event"), choices=choices, coerce=int)
        field.error_messages["invalid_choice"] = _(
            "It has not stopped at this event, or there is none that you may see."
        )
        self.fields["position"] = field


class ResetForm(ActForm):
    """Where to move a subscription."""

    field_order = ("to", "position", "reason")
    to = forms.ChoiceField(
        label=_("Move it to"),
        widget=forms.RadioSelect,
        choices=(
            ("now", _("now: what is in the log by now is passed over")),
            ("beginning", _("the beginning: every event is handled again")),
            ("position", _("a position: what comes after it is handled, perhaps again")),
        ),
    )
    position = forms.IntegerField(label=_("Position"), required=False, min_value=0, max_value=LARGEST_POSITION)

    def __init__(self, data: Any = None, *, overview: Overview, hidden: Collection[int] = ()) -> None:
        super().__init__(data, overview=overview, hidden=hidden)
        if overview.row.kind == Subscription.Kind.PROJECTION:  # it is never moved back
            to: Any = self.fields["to"]
            to.choices = [choice for choice in to.choices if choice[0] != "beginning"]

    def clean(self) -> None:
        """Ask for the position if it is to move to one."""
        given = self.cleaned_data
        if given.get("to") == "position" and "position" in given and given["position"] is None:
            self.add_error("position", gettext("Say to which position."))


class RateForm(ActForm):
    """How many events it may handle in a time, and at once."""

    field_order = ("rate", "burst", "reason")
    rate = forms.CharField(
        label=_("Rate"), required=False, max_length=40, help_text=_("50/s, 100/m or 1000/h; empty: as many as come.")
    )
    burst = forms.IntegerField(
        label=_("Burst"),
        required=False,
        min_value=1,
        max_value=MAX_BURST,
        help_text=_("How many at once; empty: what comes in a second."),
    )

    def __init__(self, data: Any = None, *, overview: Overview, hidden: Collection[int] = ()) -> None:
        super().__init__(data, overview=overview, hidden=hidden)
        self.fields["rate"].initial = overview.row.rate
        self.fields["burst"].initial = overview.row.burst

    def clean_rate(self) -> str:
        """Refuse what is no rate."""
        rate: str = self.cleaned_data["rate"]
        if rate:
            try:
                Rate.parse(rate)
            except ImproperlyConfigured as error:
                raise ValidationError(gettext("Write 50/s, 100/m or 1000/h, above 0.")) from error
        return rate

    def clean(self) -> None:
        """Refuse a burst of no rate."""
        if self.cleaned_data.get("burst") is not None and self.cleaned_data.get("rate") == "":
            self.add_error("burst", gettext("Without a rate there is no burst."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act: ``run`` does it with what the form says, and returns what to tell the operator then."""

    name: str
    label: _StrPromise
    """On its button."""
    title: _StrPromise
    """Of its page, with the name of the subscription."""
    what: _StrPromise
    """What will happen."""
    form: type[ActForm]
    run: Callable[[str, Mapping[str, Any]], str]
    is_grave: bool = False
    """Whether it cannot be taken back: events are handled again, or never."""


def _pause(name: str, given: Mapping[str, Any]) -> str:
    operate.pause(name, reason=given["reason"])
    return gettext("Paused: %(name)s.") % {"name": name}


def _resume(name: str, given: Mapping[str, Any]) -> str:
    operate.resume(name, reason=given["reason"])
    return gettext("Resumed: %(name)s.") % {"name": name}


def _retry(name: str, given: Mapping[str, Any]) -> str:
    number = operate.retry(name, reason=given["reason"])
    told = ngettext(
        "Tried again for %(name)s: %(number)d event.", "Tried again for %(name)s: %(number)d events.", number
    )
    return told % {"name": name, "number": number}


def _skip(name: str, given: Mapping[str, Any]) -> str:
    operate.skip(name, given["position"], reason=given["reason"])
    return gettext("Skipped for %(name)s: #%(position)d.") % {"name": name, "position": given["position"]}


def _catch_up(name: str, given: Mapping[str, Any]) -> str:
    position = operate.catch_up(name, reason=given["reason"])
    return gettext("Served first, up to #%(position)d: %(name)s.") % {"name": name, "position": position}


def _set_rate(name: str, given: Mapping[str, Any]) -> str:
    operate.set_rate(name, given["rate"], given["burst"], reason=given["reason"])
    if given["rate"]:
        return gettext("Rate of %(name)s from now on: %(rate)s.") % {"name": name, "rate": given["rate"]}
    return gettext("Rate of %(name)s from now on: unlimited.") % {"name": name}


def _reset(name: str, given: Mapping[str, Any]) -> str:
    operate.reset(name, given["position"] if given["to"] == "position" else given["to"], reason=given["reason"])
    return gettext("Moved: %(name)s.") % {"name": name}


_ALL: Final = (
    Act(
        name="pause",
        label=_("Pause"),
        title=_("Pause %(name)s"),
        what=_(
            "It handles nothing more after the batches that are under way, until it is resumed. Its lag grows; no "
            "event is lost."
        ),
        form=ActForm,
        run=_pause,
    ),
    Act(
        name="resume",
        label=_("Resume"),
        title=_("Resume %(name)s"),
        what=_("It goes on where it is. If an event has halted it, that one is tried anew."),
        form=ActForm,
        run=_resume,
    ),
    Act(
        name="retry",
        label=_("Retry all that failed"),
        title=_("Retry all that %(name)s failed on"),
        what=_(
            "Every event that failed is tried again at once, with all its attempts, dead ones too; those that wait "
            "behind follow. If an event has halted it, it tries that one again and goes on."
        ),
        form=ActForm,
        run=_retry,
    ),
    Act(
        name="skip",
        label=_("Skip the event"),
        title=_("Skip an event for %(name)s"),
        what=_(
            "The subscription will never handle this event; it goes on with the next one. Other subscriptions are not "
            "concerned, and the event stays in the log."
        ),
        form=SkipForm,
        run=_skip,
        is_grave=True,
    ),
    Act(
        name="catch-up",
        label=_("Catch up"),
        title=_("Let %(name)s catch up"),
        what=_("The workers serve it first, and what waits after a failure is tried at once."),
        form=ActForm,
        run=_catch_up,
    ),
    Act(
        name="rate",
        label=_("Set rate"),
        title=_("Set the rate of %(name)s"),
        what=_(
            "It handles so many events in a time from now on, until the code declares another rate than it does today. "
            "Waits after failures and for the rate until now are over."
        ),
        form=RateForm,
        run=_set_rate,
    ),
    Act(
        name="reset",
        label=_("Reset"),
        title=_("Reset %(name)s"),
        what=_(
            "Its checkpoint is moved. Moved back, it handles events again that it has handled: what its handler does "
            "in the world, it does once more. Moved forward, it never handles the events between. Parked events after "
            "the new place are parked no more; they come again. A projection can be moved forward only: to build it "
            "anew, run manage.py rebuild_projection."
        ),
        form=ResetForm,
        run=_reset,
        is_grave=True,
    ),
)
ACTS: Final[Mapping[str, Act]] = {act.name: act for act in _ALL}
"""The acts by their names, in the order of their buttons."""
