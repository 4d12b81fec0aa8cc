"""What operators can do to parked events in the admin: its words, and what of the library it calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from eventsourcing_app.subscriptions.operate_parked import retry_parked, skip_parked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedAct:
    """One act: ``run`` does it to all of the given positions of subscriptions, or to none."""

    name: str
    label: _StrPromise
    """On a button for one event."""
    title: _StrPromise
    what: _StrPromise
    is_grave: bool
    """Whether it cannot be taken back."""
    takes_behind: bool
    """Whether it can be done to events that wait behind others."""
    run: Callable[[Mapping[str, Collection[int]], str], None]
    button: Callable[[int], str]
    done: Callable[[int], str]


def _retry(chosen: Mapping[str, Collection[int]], reason: str) -> None:
    retry_parked(chosen, reason=reason)


def _skip(chosen: Mapping[str, Collection[int]], reason: str) -> None:
    skip_parked(chosen, reason=reason)


def _button_of_retry(number: int) -> str:
    return ngettext("Retry %(number)d event", "Retry %(number)d events", number) % {"number": number}


def _button_of_skip(number: int) -> str:
    return ngettext("Skip %(number)d event", "Skip %(number)d events", number) % {"number": number}


def _done_of_retry(number: int) -> str:
    return ngettext("%(number)d event is tried again.", "%(number)d events are tried again.", number) % {
        "number": number
    }


def _done_of_skip(number: int) -> str:
    return ngettext("%(number)d event was skipped.", "%(number)d events were skipped.", number) % {"number": number}


RETRY: Final = ParkedAct(
    name="retry",
    label=_("Retry"),
    title=_("Retry parked events"),
    what=_(
        "They are tried again at once, with all their attempts, dead ones too. Those of their streams that wait behind "
        "follow when they succeed."
    ),
    is_grave=False,
    takes_behind=False,
    run=_retry,
    button=_button_of_retry,
    done=_done_of_retry,
)
SKIP: Final = ParkedAct(
    name="skip",
    label=_("Skip"),
    title=_("Skip parked events"),
    what=_(
        "The subscription will never handle these events. They stay in the log, and other subscriptions are not "
        "concerned; those of their streams that wait behind go on without them."
    ),
    is_grave=True,
    takes_behind=True,
    run=_skip,
    button=_button_of_skip,
    done=_done_of_skip,
)
PARKED_ACTS: Final[Mapping[str, ParkedAct]] = {act.name: act for act in (RETRY, SKIP)}
