"""Commands are the one door through which the admin writes: for those who may, once, on the state that was shown.

Whatever is refused is said on the form, with what was entered, and nothing is done.
"""

from __future__ import annotations

import re
from decimal import Decimal
from html import unescape
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.db.models import Count
from django.test import Client
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.urls import URLResolver, path
from django.urls.resolvers import RegexPattern

from eventsourcing_app import command as declared
from eventsourcing_app import context
from eventsourcing_app.admin import CommandsMixin, EventSourcedAdmin, ReadOnlyAdmin, StoredEventAdmin, command_runs
from eventsourcing_app.exceptions import ConcurrencyError
from eventsourcing_app.models import StoredEvent
from tests import admin_client
from tests.samples.ended import Desk, Lease
from tests.samples.factories import elsewhere, held_elsewhere, list_book, open_wallet
from tests.samples.models import Book, Contract, Counter, Customer, Wallet

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

    from eventsourcing_app.log.records import StoredEventQuerySet


def owns(request: HttpRequest, wallet: Any) -> bool:
    return bool(wallet is not None and wallet.owner == request.user.get_username())


class WholePounds(forms.Form):
    pounds = forms.IntegerField(min_value=1)


class WalletAdmin(EventSourcedAdmin[Wallet]):
    """Leaves commands out, guards some, hides some wallets, and counts what no lock can count."""

    commands = ("open", "add", "take", "label", "close", "tidy", "add_then_fail")
    command_permissions = {"take": owns, "close": "samples.delete_wallet"}

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).exclude(owner="hidden").annotate(many=Count("owner"))


class ContractAdmin(EventSourcedAdmin[Contract]):
    """Of its creating command, no form can be made."""

    list_filter = ("customer",)


class BookAdmin(CommandsMixin[Book], ReadOnlyAdmin[Book]):
    """Another ModelAdmin, with a form of its own."""

    command_forms = {"rename": WholePounds}

    def arguments_for(self, request: HttpRequest, command: Any, cleaned: dict[str, Any]) -> dict[str, Any]:
        return {"title": f"{cleaned['pounds']} £"} if command.name == "rename" else cleaned


site = admin.AdminSite()
site.register(StoredEvent, StoredEventAdmin)
site.register(Wallet, WalletAdmin)
site.register(Book, BookAdmin)
site.register(Contract, ContractAdmin)
site.register(Counter, EventSourcedAdmin)
site.register(Lease, EventSourcedAdmin)
site.register(Desk, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

WALLETS = "/admin/samples/wallet/"
VIEW, CHANGE, ADD = "view_wallet", "change_wallet", "add_wallet"
VIEW_EVENTS, VIEW_PAYLOAD = "view_storedevent", "view_payload"
OWNER = "teller"
SLEEP = "eventsourcing_app.admin.command_runs.time.sleep"


def client_with(*codenames: str, name: str = OWNER, **options: Any) -> Client:
    return admin_client.client_with(*codenames, name=name, **options)


@pytest.fixture
def teller() -> Client:
    return client_with(VIEW, CHANGE, ADD)


@pytest.fixture
def wallet() -> Wallet:
    return open_wallet(OWNER, 50)


def address(wallet: Any, command: str) -> str:
    return f"/admin/samples/{wallet._meta.model_name}/{wallet.pk}/command/{command}/"


def text_of(response: Response) -> str:
    return unescape(response.content.decode())


def begun(client: Client, url: str) -> dict[str, str]:
    """What the form at an address is sent with besides its fields."""
    answer = client.get(url, follow=True)
    assert answer.status_code == 200
    hidden = re.findall(r'<input type="hidden" name="(_es_\w+)" value="([^"]*)">', answer.content.decode())
    return dict(hidden)


def begun_by(page: str) -> set[str]:
    """The names of what a form sends besides its fields."""
    return set(re.findall(r'<input type="hidden" name="(_es_\w+)"', page))


def send(client: Client, url: str, *, follow: Any = False, **given: Any) -> Response:
    """Open the form at an address, and send it."""
    return client.post(url, {**begun(client, url), **given}, follow=follow)


def told(response: Response) -> str:
    """What the page says was done."""
    found = re.search(r'<ul class="messagelist">(.*?)</ul>', text_of(response), re.DOTALL)
    assert found, text_of(response)
    return " ".join(found[1].split())


def balance_of(wallet: Wallet) -> Decimal:
    return Wallet.objects.get(pk=wallet.pk).balance


# Running


def test_a_command_is_run_by_whoever_is_logged_in_and_told_with_its_event(wallet: Wallet) -> None:
    teller = client_with(VIEW, CHANGE, VIEW_EVENTS)
    done = send(teller, address(wallet, "add"), follow=True, amount="2.50", reference="  Gift ")
    assert done.redirect_chain == [(f"{WALLETS}{wallet.pk}/change/", 302)]
    event = StoredEvent.objects.latest("position")
    assert event.data == {"amount": "2.50", "reference": "Gift"}
    assert event.actor == f"user:{User.objects.get().pk}"
    assert event.correlation_id
    link = f'<a href="/admin/eventsourcing_app/storedevent/{event.position}/change/">'
    assert f"Add: done, as {link}version 3 (event {event.position})</a>." in told(done)


def test_without_the_middleware_it_is_known_who_acts(wallet: Wallet, teller: Client, settings: Any) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "eventsourcing_app" not in name]
    send(teller, address(wallet, "add"), amount="1")
    event = StoredEvent.objects.latest("position")
    assert (event.actor, bool(event.correlation_id)) == (f"user:{User.objects.get().pk}", True)


def test_a_creating_command_is_a_button_of_the_list_and_leads_to_what_it_made(teller: Client) -> None:
    page = text_of(teller.get(WALLETS))
    assert f'<a href="{WALLETS}command/open/" title="Open a wallet." class="addlink">Open wallet</a>' in page
    done = send(teller, f"{WALLETS}command/open/", follow=True, owner="Ada")
    made = Wallet.objects.get()
    assert done.redirect_chain == [(f"{WALLETS}{made.pk}/change/", 302)]
    assert "Open wallet: done, as version 1" in told(done)
    assert teller.get(f"{WALLETS}add/").status_code == 403


def test_one_that_finds_nothing_to_do_says_so(wallet: Wallet, teller: Client, root: Client) -> None:
    assert "there was nothing to do" in told(send(teller, address(wallet, "tidy"), follow=True))
    done = send(root, "/admin/samples/counter/command/begin_if/", follow=True)
    assert "there was nothing to do" in told(done)
    assert done.redirect_chain == [("/admin/samples/counter/", 302)]


def test_one_that_removes_the_row_leads_to_the_list(root: Client) -> None:
    lease = Lease.objects.perform_new(Lease.begin, pk="l/1_x")
    url = "/admin/samples/lease/l_2F1_5Fx/command/end/"
    sent = begun(root, url)
    done = root.post(url, sent, follow=True)
    assert done.redirect_chain == [("/admin/samples/lease/", 302)]
    assert "End: done, as" in told(done)
    again = root.post(url, sent, follow=True)
    assert "nothing was done again" in told(again)
    assert root.post(url, {**sent, "_es_key": str(uuid4())}).status_code == 404
    assert Lease.objects.history(lease.pk).count() == 2


@pytest.mark.parametrize("key", ["a/b", "_2F", "command", "x/command/rename", "ü?#&%", '"><script>', "a b", "change"])
def test_keys_with_odd_characters_have_their_forms(root: Client, key: str) -> None:
    book = list_book(key)
    page = text_of(root.get("/admin/samples/book/", follow=True))
    assert page
    change = site._registry[Book]
    url = change.command_url(change._offered()["rename"], book.pk)  # type: ignore[attr-defined]
    done = send(root, url, pounds="3")
    assert Book.objects.get(pk=key).title == "3 £"
    assert root.get(done.headers["Location"]).status_code == 200
    assert change.command_url(change._offered()["list_it"]) == "/admin/samples/book/command/list_it/"  # type: ignore[attr-defined]


@isolate_apps("tests.samples")
@pytest.mark.parametrize("name", ["change", "history", "delete", "past"])
def test_a_creating_command_takes_no_page_from_an_object_with_the_key_command(name: str) -> None:
    def create(self: Book, title: str) -> None: ...

    create.__name__ = name
    options = type("Meta", (), {"proxy": True, "app_label": "samples"})
    body = {"__module__": __name__, "Meta": options, name: declared(creates=True)(create)}
    shelved: Any = type("Shelved", (Book,), body)
    urls = URLResolver(RegexPattern(""), EventSourcedAdmin(shelved, admin.AdminSite()).get_urls())
    assert urls.resolve(f"command/{name}/").url_name == f"samples_shelved_{name}"
    assert urls.resolve("command/list_it/").kwargs == {"name": "list_it"}
    own = urls.reverse("samples_shelved_command", name)
    assert (urls.resolve(own).url_name, urls.resolve(own).kwargs) == ("samples_shelved_command", {"name": name})
    assert urls.reverse("samples_shelved_command", "list_it") == "command/list_it/"


def test_one_that_no_form_can_be_made_of_is_no_button_and_its_page_explains_it(root: Client) -> None:
    url = "/admin/samples/contract/command/sign/"
    page = text_of(root.get("/admin/samples/contract/"))
    assert f'<li><a href="{url}"' not in page
    assert f'<a href="{url}">Sign contract</a>' in page
    explained = root.get(url)
    assert explained.status_code == 200
    assert "Contract.sign(terms: tuple[str, ...]) cannot be read from a request." in text_of(explained)
    assert "<form method" not in text_of(explained).split('id="content"')[1]
    assert root.post(url, {"_es_key": str(uuid4()), "customer_id": "1"}).status_code == 400
    assert Contract.objects.count() == 0


def test_the_filters_of_the_list_are_kept_on_the_way(root: Client) -> None:
    customer = Customer.objects.create(name="Ada")
    contract = Contract.objects.perform_new(Contract.sign, customer_id=customer.pk)
    kept = f"_changelist_filters=customer%3D{customer.pk}"
    url = f"/admin/samples/contract/{contract.pk}/command/announce/"
    assert f'href="{url}?{kept}"' in text_of(root.get(f"/admin/samples/contract/{contract.pk}/change/?{kept}"))
    page = root.get(f"{url}?{kept}").headers["Location"]
    done = root.post(page, begun(root, page))
    assert done.headers["Location"] == f"/admin/samples/contract/{contract.pk}/change/?{kept}"


# Once


def test_a_form_that_is_sent_twice_acts_once_and_says_so(wallet: Wallet, teller: Client) -> None:
    url = address(wallet, "add")
    sent = {**begun(teller, url), "amount": "1"}
    teller.post(url, sent)
    again = teller.post(url, sent, follow=True)
    assert "this form was sent before. It was done then, as version 3" in told(again)
    assert balance_of(wallet) == 51


def test_whoever_goes_back_comes_to_the_same_form(wallet: Wallet, teller: Client) -> None:
    url = address(wallet, "add")
    first = teller.get(url)
    assert first.status_code == 302
    page = first.headers["Location"]
    assert begun(teller, page)["_es_key"] == begun(teller, page)["_es_key"] in page
    assert begun(teller, url)["_es_key"] != begun(teller, url)["_es_key"]


def test_a_form_that_was_used_for_something_else_does_nothing_and_gets_another_key(
    wallet: Wallet, teller: Client
) -> None:
    url = address(wallet, "add")
    sent = begun(teller, url)
    teller.post(url, {**sent, "amount": "1"})
    other = teller.post(url, {**sent, "amount": "2", "_es_version": "3"})
    assert other.status_code == 409
    assert "form_reused" in text_of(other)
    assert sent["_es_key"] not in other.content.decode()
    assert balance_of(wallet) == 51


@pytest.mark.django_db(transaction=True)
@pytest.mark.needs_postgres
def test_the_second_click_waits_for_the_first_and_tells_what_that_did(
    wallet: Wallet, teller: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = address(wallet, "add")
    sent = {**begun(teller, url), "amount": "1"}
    actor = f"user:{User.objects.get().pk}"

    def first() -> None:
        with context(actor=actor):
            Wallet.objects.once(sent["_es_key"]).perform(wallet.pk, Wallet.add, amount=Decimal(1))

    with held_elsewhere(first) as go_on:
        monkeypatch.setattr(SLEEP, lambda _seconds: None)
        refused = teller.post(url, sent)
        assert (refused.status_code, "in_flight" in text_of(refused)) == (409, True)
        monkeypatch.undo()
        monkeypatch.setattr(SLEEP, lambda _seconds: go_on.set())
        monkeypatch.setattr(command_runs, "PATIENCE", (0.1,) * 100_000)
        assert "nothing was done again" in told(teller.post(url, sent, follow=True))
    assert balance_of(wallet) == 51


# On the state that was shown


def test_another_version_than_was_shown_is_left_alone_and_what_changed_is_shown(wallet: Wallet) -> None:
    teller = client_with(VIEW, CHANGE, VIEW_EVENTS, VIEW_PAYLOAD)
    url = address(wallet, "add")
    sent = begun(teller, url)
    with context(actor="user:77"):
        Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(7), reference="<b>Rent</b>")
    stale = teller.post(url, {**sent, "amount": "1.25", "reference": "mine"})
    assert stale.status_code == 409
    assert balance_of(wallet) == 57
    page = stale.content.decode()
    for text in ("shown for version 2; now it is at version 3", "samples.money_added", "user:77", "Nothing was done"):
        assert text in page
    assert "reference: &lt;b&gt;Rent&lt;/b&gt;" in page
    assert "<b>Rent</b>" not in page
    assert "Balance: <del>50.00</del> → <ins>57.00</ins>" in page
    assert 'value="1.25"' in page
    assert 'value="Add all the same, on version 3"' in page
    assert 'name="_es_version" value="3"' in page
    assert f'value="{sent["_es_key"]}"' in page
    done = teller.post(url, {**sent, "_es_version": "3", "amount": "1.25"}, follow=True)
    assert "version 4" in told(done)


@pytest.mark.parametrize(
    ("permissions", "seen", "not_seen"),
    [
        ((), ("shown for version 2; now it is at version 3",), ("money_added", "user:77", "Rent", "<del>")),
        ((VIEW_PAYLOAD,), ("now it is at version 3",), ("money_added", "user:77", "Rent", "<del>")),
        ((VIEW_EVENTS,), ("samples.money_added", "user:77", "masked"), ("Rent", "<del>")),
    ],
)
def test_of_what_changed_nobody_sees_more_than_elsewhere(
    wallet: Wallet, permissions: tuple[str, ...], seen: tuple[str, ...], not_seen: tuple[str, ...]
) -> None:
    teller = client_with(VIEW, CHANGE, *permissions)
    url = address(wallet, "add")
    sent = begun(teller, url)
    with context(actor="user:77"):
        Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(7), reference="Rent")
    page = teller.post(url, {**sent, "amount": "1"}).content.decode()
    assert [text for text in seen if text not in page] == []
    assert [text for text in not_seen if text in page] == []


def without_openings(events: StoredEventQuerySet, user: Any) -> StoredEventQuerySet:
    return events.exclude(type="samples.wallet_opened")


def test_changes_of_a_history_that_is_not_there_as_a_whole_are_not_shown(wallet: Wallet, settings: Any) -> None:
    settings.EVENTSOURCING = {"VISIBLE_EVENTS": f"{__name__}.without_openings"}
    teller = client_with(VIEW, CHANGE, VIEW_EVENTS, VIEW_PAYLOAD)
    url = address(wallet, "add")
    sent = begun(teller, url)
    Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(7), reference="Rent")
    page = teller.post(url, {**sent, "amount": "1"}).content.decode()
    assert "reference: Rent" in page
    assert "<del>" not in page


def test_the_page_of_a_conflict_takes_no_more_queries_for_more_events(wallet: Wallet) -> None:
    teller = client_with(VIEW, CHANGE, VIEW_EVENTS, VIEW_PAYLOAD)
    url = address(wallet, "add")
    sent = {**begun(teller, url), "amount": "1"}
    counts = []
    for number in (1, 1, 30):
        for _each in range(number):
            Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1))
        with CaptureQueriesContext(connection) as queries:
            page = text_of(teller.post(url, sent))
        counts.append(len(queries))
        statements = [entry["sql"] for entry in queries.captured_queries if "storedevent" in entry["sql"]]
        assert not [each for each in statements if re.search(r"COUNT\(|OFFSET|DISTINCT", each)]
    assert counts[1] == counts[2]
    assert any("LIMIT 21" in each for each in statements)
    assert page.count("samples.money_added") == 20
    assert "There are older ones." in page


# Refusals


@pytest.mark.parametrize(
    ("command", "given", "code", "why"),
    [
        ("add", {"amount": "-1"}, "amount_not_positive", "The amount must be positive."),
        ("add_then_fail", {"amount": "1"}, "after_all", "After all, no."),
        ("add", {"amount": "2000000"}, "state_refused", "The state that this would lead to is not allowed."),
    ],
)
def test_a_refusal_is_an_error_of_the_form(
    wallet: Wallet, teller: Client, command: str, given: dict[str, str], code: str, why: str
) -> None:
    refused = send(teller, address(wallet, command), **given)
    page = text_of(refused)
    assert refused.status_code == 422
    assert f'<li>{why} <code class="es-code">{code}</code></li>' in page
    assert f'value="{given["amount"]}"' in page
    assert wallet.history().count() == 2
    assert 'name="_es_version" value="2"' in page


def test_a_refusal_is_decided_again(wallet: Wallet, teller: Client) -> None:
    url = address(wallet, "add")
    sent = begun(teller, url)
    assert teller.post(url, {**sent, "amount": "-1"}).status_code == 422
    assert teller.post(url, {**sent, "amount": "1"}).status_code == 302
    assert balance_of(wallet) == 51


@pytest.mark.parametrize("error", ["dict", "list"])
def test_a_validation_error_is_said_at_the_field_that_it_names(
    wallet: Wallet, teller: Client, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    raised = forms.ValidationError({"amount": ["Odd."], "owner": ["Who?"]} if error == "dict" else "Odd.")

    def refuse(_call: Any) -> None:
        raise raised

    monkeypatch.setattr(command_runs, "_perform", refuse)
    refused = send(teller, address(wallet, "add"), amount="1")
    page = text_of(refused)
    assert refused.status_code == 422
    assert ("Who?" in page) == (error == "dict")
    assert page.count("Odd.") == 1
    assert bool(re.search(r'field-amount".*?Odd\.', page, re.DOTALL)) == (error == "dict")


def test_what_does_not_fit_the_arguments_is_not_run(wallet: Wallet, teller: Client) -> None:
    invalid = send(teller, address(wallet, "add"), amount="a lot", reference="x")
    assert invalid.status_code == 422
    assert "Enter a number." in text_of(invalid)
    assert 'value="a lot"' in text_of(invalid)
    assert wallet.history().count() == 2


def test_arguments_with_the_names_of_what_a_form_is_asked_change_nothing_of_its_page(
    wallet: Wallet, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("errors", "is_multipart", "fields", "media", "non_field_errors")
    named = type("Named", (forms.Form,), {name: forms.CharField() for name in names})
    monkeypatch.setattr(WalletAdmin, "command_forms", {"add": named})
    page = text_of(root.get(address(wallet, "add"), follow=True))
    assert "<title>Add" in re.sub(r">\s+", ">", page)
    assert "multipart/form-data" not in page
    assert [name for name in names if f'name="{name}"' not in page] == []
    refused = text_of(send(root, address(wallet, "add"), errors="x"))
    assert "<title>Error: Add" in re.sub(r">\s+", ">", refused)
    assert "Please correct the errors below." in refused


def test_a_lost_race_says_so(wallet: Wallet, teller: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(_call: Any) -> None:
        raise ConcurrencyError("samples.wallet", "1", expected=2)

    monkeypatch.setattr(command_runs, "_perform", lose)
    lost = send(teller, address(wallet, "add"), amount="1")
    assert (lost.status_code, "Somebody else changed it at the same time" in text_of(lost)) == (409, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.needs_postgres
def test_a_lock_that_is_not_got_in_time_says_so(wallet: Wallet, teller: Client) -> None:
    url = address(wallet, "add")
    sent = {**begun(teller, url), "amount": "1"}
    with held_elsewhere(lambda: Wallet.objects._lock_one(wallet.pk)):
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        try:
            busy = teller.post(url, sent)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
    assert (busy.status_code, "Others were at work on the same" in text_of(busy)) == (503, True)
    assert balance_of(wallet) == 50


@pytest.mark.django_db(transaction=True)
def test_what_is_done_is_told_as_done_whatever_the_commit_sets_off(
    wallet: Wallet, teller: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("no mail today")

    added = Wallet._added

    def add_and_fail(self: Wallet, event: Any) -> None:
        added(self, event)
        transaction.on_commit(fail)

    monkeypatch.setattr(Wallet, "_added", add_and_fail)
    done = send(teller, address(wallet, "add"), follow=True, amount="1")
    assert "it is done and stored, but what followed has failed" in told(done)
    assert balance_of(wallet) == 51


# Who may


def test_each_command_needs_its_permission(wallet: Wallet, root: Client) -> None:
    roles = {
        "nothing": (),
        "viewer": (VIEW,),
        "changer": (VIEW, CHANGE),
        "adder": (VIEW, ADD),
        "closer": (VIEW, "delete_wallet"),
        "blind": ("add_wallet", "delete_wallet"),
        OWNER: (VIEW,),
    }
    may = {
        "add": {"changer", "root"},
        "take": {OWNER},
        "close": {"closer", "root"},
        "open": {"adder", "root"},
    }
    clients = {name: client_with(*codenames, name=name) for name, codenames in roles.items()} | {"root": root}
    before = wallet.history().count()
    for command, able in may.items():
        url = f"{WALLETS}command/open/" if command == "open" else address(wallet, command)
        page = WALLETS if command == "open" else f"{WALLETS}{wallet.pk}/change/"
        for name, client in clients.items():
            expected = name in able
            assert client.get(url).status_code == (302 if expected else 403), (name, command)
            shown = client.get(page)
            assert (url in text_of(shown)) == expected, (name, command)
            if not expected:
                forged = {"_es_version": "2", "_es_key": str(uuid4()), "amount": "1", "owner": "Mallory"}
                assert client.post(url, forged).status_code == 403, (name, command)
    assert wallet.history().count() == before
    assert Wallet.objects.count() == 1


def test_a_command_that_get_commands_leaves_out_can_be_neither_seen_nor_run(
    wallet: Wallet, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decides about the object as it is, when it is locked: ``add`` is left out at 57."""
    left_out = {None: {"open"}, Decimal(50): {"label"}, Decimal(57): {"add"}}

    def get_commands(self: WalletAdmin, request: HttpRequest, obj: Any = None) -> Any:
        names = left_out[None if obj is None else obj.balance]
        return [each for each in EventSourcedAdmin.get_commands(self, request, obj) if each.name not in names]

    add, label, opening = address(wallet, "add"), address(wallet, "label"), f"{WALLETS}command/open/"
    sent = {**begun(root, add), "amount": "1"}
    monkeypatch.setattr(WalletAdmin, "get_commands", get_commands)
    for url in (label, opening):
        forged = {"_es_version": "2", "_es_key": str(uuid4())}
        assert root.get(url).status_code == 403
        for given in ({"labels": "a", "owner": "Mallory"}, {}):  # whatever its form would have said
            assert root.post(url, {**forged, **given}).status_code == 403
    assert root.get(add).status_code == 302
    Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(7))
    assert root.post(add, sent).status_code == 403
    assert root.post(add, {**sent, "_es_version": "3"}).status_code == 403
    assert (Wallet.objects.count(), wallet.history().count()) == (1, 3)


def test_get_commands_gives_no_command_to_whom_it_is_not_permitted(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WalletAdmin, "get_commands", lambda self, _request, _obj=None: [*self._offered().values()])
    forged = {"_es_version": "2", "_es_key": str(uuid4()), "amount": "1"}
    for name in ("add", "take"):
        assert client_with(VIEW, name=name).post(address(wallet, name), forged).status_code == 403
    assert wallet.history().count() == 2


def test_strangers_are_asked_to_log_in_and_forged_requests_are_refused(wallet: Wallet) -> None:
    url = address(wallet, "add")
    forged = {"_es_version": "2", "_es_key": str(uuid4()), "amount": "1"}
    assert Client().post(url, forged).headers["Location"].startswith("/admin/login/")
    checked = client_with(VIEW, CHANGE, enforce_csrf_checks=True)
    assert checked.post(url, forged).status_code == 403
    assert balance_of(wallet) == 50


def test_what_is_not_there_for_a_user_is_404(teller: Client) -> None:
    hidden = open_wallet("hidden", 5)
    forged = {"_es_version": "2", "_es_key": str(uuid4()), "amount": "1"}
    for target in (address(hidden, "add"), f"{WALLETS}{uuid4()}/command/add/", f"{WALLETS}nothing/command/add/"):
        assert teller.get(target).status_code == 404
        assert teller.post(target, forged).status_code == 404
    assert balance_of(hidden) == 5


def test_whoever_may_not_run_a_command_learns_nothing_by_it(wallet: Wallet, teller: Client) -> None:
    url = address(wallet, "add")
    sent = {**begun(teller, url), "amount": "1"}
    teller.post(url, sent)
    User.objects.get().user_permissions.remove(Permission.objects.get(codename=CHANGE))
    for target in (url, address(open_wallet("hidden"), "add"), f"{WALLETS}{uuid4()}/command/add/"):
        assert teller.get(target).status_code == 403
        assert teller.post(target, sent).status_code == 403


def test_what_has_gone_out_of_sight_when_it_is_locked_is_404(
    teller: Client, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {**begun(teller, address(wallet, "add")), "amount": "1"}
    seen = [None, "hidden"]

    def narrowed(self: WalletAdmin, request: HttpRequest) -> Any:
        return EventSourcedAdmin.get_queryset(self, request).exclude(owner=OWNER if seen.pop(0) else "nobody")

    monkeypatch.setattr(WalletAdmin, "get_queryset", narrowed)
    assert teller.post(address(wallet, "add"), sent).status_code == 404
    assert seen == []
    assert balance_of(wallet) == 50


def test_a_command_that_is_not_offered_is_404(wallet: Wallet, root: Client) -> None:
    forged = {"_es_version": "2", "_es_key": str(uuid4())}
    for name in ("forget_to_apply", "open", "save", "nothing", "delete"):
        assert root.get(address(wallet, name)).status_code == 404, name
        assert root.post(address(wallet, name), forged).status_code == 404, name
    assert root.get(f"{WALLETS}command/add/").status_code in (302, 404)


def test_an_aggregate_that_has_ended_is_offered_no_command(root: Client) -> None:
    desk = Desk.objects.perform_new(Desk.begin, pk="d1")
    url = "/admin/samples/desk/d1/command/end/"
    sent = begun(root, url)
    assert root.post(url, sent).status_code == 302
    assert "/command/" not in text_of(root.get("/admin/samples/desk/d1/change/"))
    assert root.get(url).status_code == 404
    assert root.post(url, {**sent, "_es_key": str(uuid4()), "_es_version": "2"}).status_code == 404
    assert "nothing was done again" in told(root.post(url, sent, follow=True))
    assert Desk.objects.history(desk.pk).count() == 2


@pytest.mark.parametrize("given", [{"text": "<what> I typed"}, {"text": "<what> I typed " + "x" * 40}])
def test_what_somebody_else_has_ended_meanwhile_is_a_conflict_that_says_so(given: dict[str, str]) -> None:
    client = client_with("view_desk", "change_desk", VIEW_EVENTS, VIEW_PAYLOAD)
    Desk.objects.perform_new(Desk.begin, text="open", pk="d1")
    desk = Desk.objects.get()
    url = address(desk, "go_on")
    sent = {**begun(client, url), **given}
    with context(actor="user:77"):
        Desk.objects.perform(desk.pk, Desk.end, text="closed")
    refused = client.post(url, sent)
    page = refused.content.decode()
    assert refused.status_code == 409
    for text in ("shown for version 1; now it is at version 2", "It has ended", "samples.ended", "user:77"):
        assert text in page
    assert "&lt;what&gt; I typed" in page
    assert "<del>open</del> → <ins>closed</ins>" in page
    form = page.partition('id="command-form"')[2].partition("</form>")[0]
    assert 'type="submit"' not in form
    assert 'href="/admin/samples/desk/d1/change/"' in form
    assert begun_by(page) == sent.keys() - given.keys()
    assert client.post(url, sent).status_code == 409
    assert Desk.objects.history(desk.pk).count() == 2


def test_whoever_may_not_run_a_command_is_not_told_that_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    Desk.objects.perform_new(Desk.begin, pk="d1")
    Desk.objects.perform("d1", Desk.end)
    desk = Desk.objects.get()
    client, sent = client_with("view_desk"), {"_es_version": "1", "_es_key": str(uuid4()), "text": "x"}
    assert client.post(address(desk, "go_on"), sent).status_code == 403
    allowed = client_with("view_desk", "change_desk", name="other")
    monkeypatch.setattr(EventSourcedAdmin, "command_permissions", {"go_on": lambda _request, found: not found.ended})
    assert allowed.post(address(desk, "go_on"), sent).status_code == 403


@pytest.mark.parametrize("method", ["put", "patch", "delete", "trace"])
def test_no_other_method_does_anything(wallet: Wallet, root: Client, method: str) -> None:
    assert getattr(root, method)(address(wallet, "add")).status_code in (403, 405)
    assert wallet.history().count() == 2


@pytest.mark.parametrize(
    "bad",
    [
        {"_es_key": ""},
        {"_es_key": "x" * 300},
        {"_es_key": "\x00"},
        {"_es_version": ""},
        {"_es_version": "-1"},
        {"_es_version": "9" * 5000},
        {"_es_version": "٣"},
    ],
)
def test_what_no_form_sends_is_400(wallet: Wallet, teller: Client, bad: dict[str, str]) -> None:
    sent = {**begun(teller, address(wallet, "add")), "amount": "1", **bad}
    assert teller.post(address(wallet, "add"), sent).status_code == 400
    if "_es_key" in bad:
        assert teller.get(address(wallet, "add"), bad).status_code == 400
    assert balance_of(wallet) == 50


def test_a_version_that_there_never_was_is_a_conflict(wallet: Wallet, teller: Client) -> None:
    for version in ("0", "1", "3", str(2**63 - 1)):
        sent = {**begun(teller, address(wallet, "add")), "amount": "1", "_es_version": version}
        assert teller.post(address(wallet, "add"), sent).status_code == 409
    assert balance_of(wallet) == 50


@pytest.mark.django_db(transaction=True)
def test_the_rule_is_decided_about_the_state_that_is_locked(teller: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    wallet = open_wallet(OWNER, 50)
    url = address(wallet, "take")
    sent = {**begun(teller, url), "amount": "1"}
    seen: list[int] = []

    def once_only(_request: Any, found: Any) -> bool:
        seen.append(found.version)
        return False

    monkeypatch.setattr(WalletAdmin, "command_permissions", {"take": once_only})
    elsewhere(lambda: Wallet.objects.perform(wallet.pk, Wallet.add, amount=Decimal(1)))
    assert teller.post(url, sent).status_code == 403
    assert seen == [3]
    assert balance_of(wallet) == 51


def test_the_page_of_an_object_takes_as_many_queries_whatever_it_offers(wallet: Wallet, root: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert root.get(f"{WALLETS}{wallet.pk}/change/").status_code == 200
        return len(captured)

    queries()  # the first one learns what is kept for all that follow
    before = queries()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WalletAdmin, "commands", ())
        assert queries() == before


def test_pages_have_no_inline_script_or_style(wallet: Wallet, teller: Client) -> None:
    for url in (address(wallet, "add"), f"{WALLETS}command/open/", address(wallet, "label")):
        page = teller.get(url, follow=True).content.decode()
        assert not re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", page)
        assert "<style" not in page
        assert not re.findall(r'\s(?:style|on\w+)="', page)
        assert "eventsourcing_app/aggregate.css" in page
