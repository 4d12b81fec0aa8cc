"""The templates of the admin can be changed block by block, and the reference names all that there is to change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import django.contrib.admin
import pytest
from django.contrib import admin
from django.test import Client
from django.urls import path

import eventsourcing_app
from eventsourcing_app import context
from eventsourcing_app.admin import EventSourcedAdmin, ParkedEventAdmin, StoredEventAdmin, SubscriptionAdmin
from eventsourcing_app.models import ParkedEvent, StoredEvent, Subscription
from tests.admin_client import EVENTS, OVERVIEW, text_of
from tests.admin_operators import PARKED, SUBSCRIPTIONS
from tests.api_operators import NAME, one_parked
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "admin/eventsourcing_app"
TEMPLATES = Path(eventsourcing_app.__file__).parent / "templates" / FOLDER
OF_DJANGO = Path(django.contrib.admin.__file__).parent / "templates" / "admin"
REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "templates.md"

SOURCES = {each.relative_to(TEMPLATES).as_posix(): each.read_text("utf-8") for each in TEMPLATES.rglob("*.html")}
PAGES = sorted(name for name, source in SOURCES.items() if "{% extends" in source)
SECTIONS = dict(re.findall(r"^### `(.+?)`\n(.*?)(?=^#|\Z)", REFERENCE.read_text("utf-8"), re.MULTILINE | re.DOTALL))


def blocks_in(source: str) -> list[str]:
    return re.findall(r"{% block (\S+) %}", source)


def words_in(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# Their blocks


INHERITED = {name for file in OF_DJANGO.rglob("*.html") for name in blocks_in(file.read_text("utf-8"))}


def own_blocks(page: str) -> list[str]:
    """Those that are neither Django's nor those of our frame."""
    of_frame = set() if page == "page.html" else set(blocks_in(SOURCES["page.html"]))
    return [name for name in blocks_in(SOURCES[page]) if name not in INHERITED | of_frame]


def test_what_is_included_has_no_blocks_which_no_page_could_override() -> None:
    assert {
        name: blocks_in(source) for name, source in SOURCES.items() if name not in PAGES and blocks_in(source)
    } == {}


@pytest.mark.parametrize("page", PAGES)
def test_names_of_blocks_are_of_one_style(page: str) -> None:
    assert [name for name in own_blocks(page) if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


def test_every_template_is_in_the_reference() -> None:
    assert sorted(SECTIONS) == PAGES
    parts = REFERENCE.read_text("utf-8").partition("\n## Parts\n")[2]
    assert sorted(re.findall(r"^\| `(.+?)` \|", parts, re.MULTILINE)) == sorted(set(SOURCES) - set(PAGES))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_in_the_reference(page: str) -> None:
    named = re.search(r"^Blocks: (.+?)\n\n", SECTIONS[page] + "\n\n", re.MULTILINE | re.DOTALL)
    assert words_in(named[1] if named else "") == own_blocks(page)


# What they get


site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Subscription, SubscriptionAdmin)
site.register(ParkedEvent, ParkedEventAdmin)
site.register(Wallet, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]


def pages_of(wallet: Wallet, parked: ParkedEvent) -> Iterator[tuple[str, str]]:
    """Each template, and the address at which it gets all that it can get."""
    position, wallets = wallet.history()[0].position, f"/admin/samples/wallet/{wallet.pk}"
    yield "storedevent/change_list.html", f"{EVENTS}?live=1"
    yield "storedevent/change_form.html", f"{EVENTS}{position}/change/"
    yield "correlation.html", f"{EVENTS}correlation/?id=the-one"
    yield "operators.html", f"{EVENTS}operators/"
    yield "aggregate_change_form.html", f"{wallets}/change/"
    yield "aggregate_change_list.html", "/admin/samples/wallet/"
    yield "audit_trail.html", f"{wallets}/history/"
    yield "past.html", f"{wallets}/past/?version=2"
    yield "command_form.html", f"{wallets}/command/add/?_es_key={uuid4()}"
    yield "subscription/change_list.html", SUBSCRIPTIONS
    yield "subscription/change_form.html", f"{SUBSCRIPTIONS}{NAME}/change/"
    yield "subscription/act.html", f"{SUBSCRIPTIONS}{NAME}/act/pause/"
    yield "parkedevent/change_list.html", PARKED
    yield "parkedevent/change_form.html", f"{PARKED}{parked.pk}/change/"
    yield "parkedevent/act.html", f"{PARKED}act/retry/?id={parked.pk}"


ELSEWHERE = {
    "command_form.html": {"problem", "shown_version", "meanwhile"},  # in place of the form, and after a conflict
}


@pytest.mark.urls(__name__)
def test_pages_get_what_the_reference_says(root: Client, own_subscriptions: None) -> None:
    Subscription.objects.all().delete()  # the demo's
    parked = one_parked()
    with context(correlation_id="the-one", branch="Berlin"):
        wallet = open_wallet("Ada", 5, 7)
    told = set()
    for template, address in pages_of(wallet, parked):
        response: Any = root.get(address)
        assert response.status_code == 200, address
        assert f"{FOLDER}/{template}" in [each.name for each in response.templates], address
        given = {key for layer in response.context for data in layer.dicts for key in data}
        rows = re.findall(r"^\| (`.+?) \|", SECTIONS[template], re.MULTILINE)
        named = {name for row in rows for name in words_in(row)}
        assert named - given - ELSEWHERE.get(template, set()) == set(), template
        told.add(template)
    assert set(PAGES) - told == {
        "app_index.html",
        "change_list_object_tools.html",
        "page.html",
        "storedevent/not_exported.html",
        "storedevent/timed_out.html",
    }


@pytest.mark.urls(__name__)
def test_a_template_of_the_same_name_overrides_blocks_of_ours(root: Client, settings: Any) -> None:
    own = {
        f"{FOLDER}/{name}": f"{{% extends '{FOLDER}/{name}' %}}{{% block {block} %}}Mine.{{% endblock %}}"
        for name, block in (
            ("past.html", "past-chart"),
            ("aggregate_change_form.html", "aggregate-links"),
            ("aggregate_change_list.html", "commands-without-form"),
            ("app_index.html", "overview-log"),
        )
    }
    (engine,) = settings.TEMPLATES
    loaders = [("django.template.loaders.locmem.Loader", own), "django.template.loaders.app_directories.Loader"]
    settings.TEMPLATES = [{**engine, "APP_DIRS": False, "OPTIONS": {**engine["OPTIONS"], "loaders": loaders}}]
    wallets = f"/admin/samples/wallet/{open_wallet('Ada', 5).pk}"
    for address in (f"{wallets}/past/", f"{wallets}/change/", "/admin/samples/wallet/", OVERVIEW):
        assert text_of(root.get(address)).count("Mine.") == 1, address
