"""Actors by name: who ``user:7`` is, for viewers who may see users in this site, asked once for a whole page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from eventsourcing_app.admin.keys import key_in
from eventsourcing_app.admin.links import linked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from eventsourcing_app.admin.links import Links

_PREFIX = "user:"


class Person(NamedTuple):
    """A user that the viewer may see."""

    name: str
    url: str | None


def people(site: AdminSite, request: HttpRequest, actors: Iterable[str]) -> Mapping[str, Person]:
    """Return, by actor, those who are users that the viewer may see. One query at most."""
    model = get_user_model()
    shown: Any = site._registry.get(model)
    if shown is None or not shown.has_view_or_change_permission(request):
        return {}
    keys = {}
    for actor in set(actors):
        if (key := _key_of(actor)) is not None:
            keys[key] = actor
    if not keys:
        return {}
    users = shown.get_queryset(request).filter(pk__in=list(keys))
    return {
        keys[user.pk]: Person(_name_of(user), _url_of(site, user))
        for user in users
        if user.pk in keys and shown.has_view_or_change_permission(request, user)
    }


def told(actor: str, links: Links, known: Mapping[str, Person]) -> SafeString | str:
    """Return an actor, leading to what it did, with the name of the user that it is."""
    text = links.events(actor, actor=actor)
    person = known.get(actor)
    return text if person is None else format_html("{} ({})", text, linked(person.name, person.url))


def _key_of(actor: str) -> Any:
    """Return the primary key of the user that an actor names, if it can be one."""
    return key_in(actor.removeprefix(_PREFIX), get_user_model()._meta.pk) if actor.startswith(_PREFIX) else None


def _name_of(user: Any) -> str:
    full = user.get_full_name() if hasattr(user, "get_full_name") else ""
    return str(full or user)


def _url_of(site: AdminSite, user: Any) -> str | None:
    options = user._meta
    name = f"admin:{options.app_label}_{options.model_name}_change"
    try:
        return reverse(name, args=[quote(user.pk)], current_app=site.name)
    except NoReverseMatch:
        return None
