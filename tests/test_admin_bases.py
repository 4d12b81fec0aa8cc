"""The mixins of the admin take nothing away: what an admin has of its own, or of a base class of others, it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path

from eventsourcing_app.admin import AuditTrailMixin, CommandsMixin, EventSourcedAdmin, ReadOnlyAdmin
from eventsourcing_app.checks.admin import check_admin
from tests.admin_client import text_of
from tests.samples.factories import counter_of, issue_passport, open_wallet
from tests.samples.models import Counter, Customer, Passport, Wallet

if TYPE_CHECKING:
    from django.http import HttpRequest

TEMPLATES = {
    # Where Django looks for the pages of a model, of an app, and of all.
    "admin/samples/counter/change_form.html": "{% extends 'admin/change_form.html' %}"
    "{% block object-tools-items %}Print {{ block.super }}{% endblock %}"
    "{% block form_top %}By convention.{% endblock %}",
    "admin/samples/change_list.html": "{% extends 'admin/change_list.html' %}"
    "{% block object-tools-items %}{{ block.super }}Import by convention{% endblock %}",
    # Those of others, and of one's own.
    "third/form.html": "{% extends 'admin/change_form.html' %}{% block form_top %}Third form.{% endblock %}"
    "{% block object-tools-items %}Third tool {{ block.super }}{% endblock %}",
    "third/list.html": "{% extends 'admin/change_list.html' %}"
    "{% block object-tools-items %}{{ block.super }}Third import{% endblock %}",
    "admin/samples/passport/change_form.html": "{% extends 'admin/eventsourcing_app/aggregate_change_form.html' %}"
    "{% block aggregate-links %}{{ block.super }}Own link{% endblock %}",
}


class ThirdPartyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """A base class of somebody else, with templates of its own."""

    change_form_template = "third/form.html"
    change_list_template = "third/list.html"


class ThirdPartyMixin:
    """Likewise, not yet an admin."""

    change_form_template = "third/form.html"


class WalletAdmin(EventSourcedAdmin[Wallet], ThirdPartyAdmin):
    pass


class WalletCommands(CommandsMixin[Wallet], ReadOnlyAdmin[Wallet], ThirdPartyAdmin):
    pass


class WalletTrail(AuditTrailMixin[Wallet], ThirdPartyMixin, CommandsMixin[Wallet], ReadOnlyAdmin[Wallet]):
    pass


class PassportAdmin(EventSourcedAdmin[Passport]):
    """Names a template of its own that stands where Django looks."""

    change_form_template = "admin/samples/passport/change_form.html"


site = admin.AdminSite()
site.register(Counter, EventSourcedAdmin)
site.register(Wallet, WalletAdmin)
site.register(Passport, PassportAdmin)
commands = admin.AdminSite(name="commands")
commands.register(Wallet, WalletCommands)
trail = admin.AdminSite(name="trail")
trail.register(Wallet, WalletTrail)
urlpatterns = [path("admin/", site.urls), path("commands/", commands.urls), path("trail/", trail.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture
def root(settings: Any) -> Client:
    """A superuser, in a project with these templates."""
    (engine,) = settings.TEMPLATES
    loaders = [("django.template.loaders.locmem.Loader", TEMPLATES), "django.template.loaders.app_directories.Loader"]
    options = {**engine["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**engine, "APP_DIRS": False, "OPTIONS": options}]
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_templates_at_the_places_where_django_looks_are_extended(root: Client) -> None:
    counter = counter_of(3)
    page = text_of(root.get(f"/admin/samples/counter/{counter.pk}/change/"))
    for part in ("By convention.", "Print", "Time travel", "What happened last", "es-commands"):
        assert part in page
    page = text_of(root.get("/admin/samples/counter/"))
    assert "Import by convention" in page
    assert "/admin/samples/counter/command/" in page


@pytest.mark.parametrize("name", ["admin", "commands"])
def test_templates_of_the_class_behind_are_extended(root: Client, name: str) -> None:
    wallet = open_wallet("Ada", 5)
    page = text_of(root.get(f"/{name}/samples/wallet/{wallet.pk}/change/"))
    for part in ("Third form.", "Third tool", "es-commands"):
        assert part in page
    assert ("Time travel" in page) == (name == "admin")
    page = text_of(root.get(f"/{name}/samples/wallet/"))
    assert "Third import" in page  # rather than that of the convention: so it is without the mixins
    assert "by convention" not in page
    assert f"/{name}/samples/wallet/command/" in page


def test_templates_of_a_class_between_two_of_the_mixins_are_extended(root: Client) -> None:
    page = text_of(root.get(f"/trail/samples/wallet/{open_wallet('Ada', 5).pk}/change/"))
    for part in ("Third form.", "Third tool", "Time travel", "es-commands"):
        assert part in page


def test_a_template_of_ones_own_may_stand_where_django_looks(root: Client) -> None:
    passport = issue_passport()
    page = text_of(root.get(f"/admin/samples/passport/{passport.pk}/change/"))
    assert "Own link" in page
    assert page.count("What happened last") == 1


# Used wrongly


class Late(ThirdPartyAdmin, AuditTrailMixin[Wallet]):
    """The mixin cannot be heard: its base stands before it."""


class LateCommands(AuditTrailMixin[Counter], ReadOnlyAdmin[Counter], CommandsMixin[Counter]):
    pass


def test_a_mixin_behind_an_admin_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    late = admin.AdminSite(name="late")
    monkeypatch.setattr("django.contrib.admin.sites.all_sites", {site, commands, trail, late})
    assert [message for message in check_admin() if message.id == "eventsourcing_app.E065"] == []
    late.register(Wallet, Late)
    late.register(Counter, LateCommands)
    found = [message for message in check_admin() if message.id == "eventsourcing_app.E065"]
    assert [message.obj for message in found] == [Late, LateCommands]
    for message, mixin in zip(found, ("AuditTrailMixin", "CommandsMixin"), strict=True):
        assert mixin in message.msg
        assert "class " in str(message.hint)


def test_a_trail_of_which_nobody_says_whose_it_is_is_warned_of() -> None:
    class Silent(AuditTrailMixin[Customer], ThirdPartyAdmin):
        pass

    class Told(Silent):
        def audited(self, request: HttpRequest, obj: Customer) -> Passport | None:
            return obj.passport

    (warning,) = Silent(Customer, site).check()
    assert warning.id == "eventsourcing_app.W066"
    assert "audited" in str(warning.hint)
    assert Told(Customer, site).check() == []
    assert EventSourcedAdmin(Wallet, site).check() == []
