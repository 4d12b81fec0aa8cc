"""The list of parked events: the groups that they are in, then the events, those that were parked last first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.urls import reverse
from django.utils.http import urlencode

from eventsourcing_app.access.masking import may_view_payload
from eventsourcing_app.access.subscriptions import may_operate
from eventsourcing_app.admin.keyset import AFTER, BEFORE, KeysetChangeList
from eventsourcing_app.admin.links import Links, linked
from eventsourcing_app.admin.times import both, due
from eventsourcing_app.admin.values import breakable
from eventsourcing_app.subscriptions.parked_groups import ParkedGroup, parked_groups
from eventsourcing_app.subscriptions.records import ParkedEvent

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

GROUPS = 100
"""How many groups are shown at most."""


class GroupLine(NamedTuple):
    """One group, as the list shows it."""

    group: ParkedGroup
    subscription: SafeString | str
    list_url: str | None
    retry_url: str | None
    skip_url: str | None
    first: SafeString | None
    last: SafeString | None
    retry_at: SafeString | None


class ParkedList(KeysetChangeList):
    """The first page begins with the groups of what the filters leave; on others they would only be in the way."""

    groups: list[GroupLine]
    has_more_groups = False
    groups_by_error = False

    def get_results(self, request: HttpRequest) -> None:
        self.queryset = self.queryset.defer("error")  # its line is shown, not all of it
        super().get_results(request)
        # An event stands under its row, and no row of the page is left out: so all that can be ticked is here.
        self.show_admin_actions = True
        self.groups = []
        if AFTER in request.GET or BEFORE in request.GET:
            return
        self.groups_by_error = may_view_payload(request.user)
        found = parked_groups(self.queryset, by_error=self.groups_by_error, most=GROUPS + 1)
        self.has_more_groups = len(found) > GROUPS
        site, state = self.model_admin.admin_site, request.GET.get("state")
        self.groups = [_line(group, request, site, self.groups_by_error, state) for group in found[:GROUPS]]


def _line(group: ParkedGroup, request: HttpRequest, site: AdminSite, by_error: bool, state: str | None) -> GroupLine:
    links = Links(site, request)
    narrow: dict[str, str] = {"subscription": group.subscription}
    if group.waits_behind:
        narrow["state"] = ParkedEvent.State.BEHIND
    else:
        narrow |= {"error": group.error} if by_error else {}
        narrow |= {"state": state} if state else {}
    acts = may_operate(request.user) and not group.waits_behind
    return GroupLine(
        group=group,
        subscription=linked(breakable(group.subscription), links.subscription_url(group.subscription)),
        list_url=links.parked_url(**narrow),
        retry_url=act_url(site, "retry", **narrow) if acts else None,
        skip_url=act_url(site, "skip", **narrow) if acts else None,
        first=both(group.first) if group.first else None,
        last=both(group.last) if group.last else None,
        retry_at=due(group.retry_at) if group.retry_at else None,
    )


def act_url(site: AdminSite, act: str, **chosen: Any) -> str:
    """The page on which an act on parked events is confirmed."""
    url = reverse("admin:eventsourcing_app_parkedevent_act", args=[act], current_app=site.name)
    return f"{url}?{urlencode(chosen)}" if chosen else url
