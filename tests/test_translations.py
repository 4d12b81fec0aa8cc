"""Every text for people can be translated, and is in German: nothing forgotten, nothing stale, nothing half English."""

from __future__ import annotations

import ast
import gettext
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

import eventsourcing_app
from demo_bank.models import Account
from eventsourcing_app import CommandRejected, context
from eventsourcing_app.admin.durations import duration
from eventsourcing_app.admin.times import relative
from eventsourcing_app.admin.values import value_of_field
from eventsourcing_app.log import clock
from eventsourcing_app.models import ParkedEvent, StoredEvent, Subscription
from eventsourcing_app.subscriptions import pause
from eventsourcing_app.subscriptions.drain import drain
from tests.api_operators import NAME, failing
from tests.conftest import missing
from tests.reactions_sample.scene import wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(eventsourcing_app.__file__).parent
CATALOG = Path("locale", "de", "LC_MESSAGES", "django.po")
PLACEHOLDERS = re.compile(r"%(?:\(\w+\))?[sdr]|\{\w*\}")
WORDS = re.compile(r"[^\W\d_]{2,}")

Catalog = dict[str | tuple[str, int], str]


@pytest.fixture(autouse=True)
def own_language() -> Iterator[None]:
    """A request leaves its language behind in the thread; the next one takes its own, the next test must not."""
    yield
    translation.deactivate()


@pytest.fixture
def tools() -> None:
    for name in ("xgettext", "msgmerge", "msgfmt"):
        if shutil.which(name) is None:
            missing(f"No {name}: install GNU gettext (apt install gettext, brew install gettext).")


def messages(catalog: Path, target: Path) -> Catalog:
    """What is translated in a catalog; what is not, or fuzzy, is not there. Formats are checked."""
    subprocess.run(["msgfmt", "--check", "-o", target, catalog], check=True, stdin=subprocess.DEVNULL)
    with target.open("rb") as compiled:
        found: Catalog = dict(gettext.GNUTranslations(compiled)._catalog)  # type: ignore[attr-defined]
    found.pop("")
    return found


def test_every_text_of_the_sources_is_translated_into_german_and_no_other(tools: None, tmp_path: Path) -> None:
    copy = tmp_path / "eventsourcing_app"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "static"))
    kept = messages(PACKAGE / CATALOG, tmp_path / "kept.mo")
    (copy / CATALOG).unlink()
    gather = [sys.executable, "-m", "django", "makemessages", "--locale", "de", "--no-obsolete"]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(gather, cwd=copy, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    # A catalog without translations: each is its own.
    gathered = tmp_path / "gathered.po"
    subprocess.run(["msgen", "-o", gathered, copy / CATALOG], check=True, stdin=subprocess.DEVNULL)
    wanted = messages(gathered, tmp_path / "wanted.mo")
    assert set(kept) == set(wanted), "run `make messages`, and translate what is new"
    for key, german in kept.items():
        assert german.strip(), key
        assert Counter(PLACEHOLDERS.findall(german)) == Counter(PLACEHOLDERS.findall(wanted[key])), key


def test_the_compiled_catalog_is_what_the_catalog_says(tools: None, tmp_path: Path) -> None:
    compiled = (PACKAGE / CATALOG).with_suffix(".mo")
    with compiled.open("rb") as file:
        shipped = dict(gettext.GNUTranslations(file)._catalog)  # type: ignore[attr-defined]
    shipped.pop("")
    assert shipped == messages(PACKAGE / CATALOG, tmp_path / "django.mo"), "run `make messages`"


def test_texts_are_marked_by_the_names_that_gettext_looks_for() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation":
                assert {alias.asname for alias in node.names} <= {None, "_"}, f"{path}: another name is not gathered"


NAMES = re.compile(r"\w+Error: .*|\S*\w[._]\w\S*|\S*_\b|\w+: |\S*\d\S*")
"""Names in code, those in front of what an event says, keys and hashes, and errors."""
OF_THE_DEMO = {"Number", "Number:", "Open", "Imported sequence", "Imported sequence:", "Send transfer", "US dollar"}
"""Words of the demo's own models, which speak English, that mean something to us as well."""
NOT_OF_US = {"Reason", "Subscription"}
"""Names of fields of events, as labels."""
NOT_YET = {"Run", "Search accounts"}
"""What Django 6.1 has in its admin, and not in German."""
COMMANDS = [name for name, member in vars(Account).items() if callable(member) and not name.startswith("_")]
PARTS = ("title", "main")
"""What of a page is not the same on all pages: the menu beside it names other apps as well."""


class Texts(HTMLParser):
    """The texts of a page that people see or hear."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.language: str | None = None
        self._within = self._silent = 0
        self._text = ""
        self.feed(html)
        self._flush()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self._flush()
        given = dict(attrs)
        if tag == "html":
            self.language = given.get("lang")
        self._within += tag in PARTS
        self._silent += tag in ("script", "style", "pre")
        if not self._within:
            return
        told = [name for name in given if name in ("title", "aria-label", "placeholder")]
        if tag == "input" and given.get("type") == "submit":
            told.append("value")
        told += [name for name in given if tag == "div" and given.get("id") == "es-live" and name.startswith("data-")]
        self.found += [" ".join(text.split()) for name in told if (text := given[name])]

    def handle_endtag(self, tag: str) -> None:
        self._flush()
        self._within -= tag in PARTS
        self._silent -= tag in ("script", "style", "pre")

    def handle_data(self, data: str) -> None:
        if self._within and not self._silent:
            self._text += data

    def _flush(self) -> None:
        if text := " ".join(self._text.split()):
            self.found.append(text)
        self._text = ""


@pytest.fixture
def languages() -> dict[str, str]:
    """What is English, with its German."""
    with (PACKAGE / CATALOG).with_suffix(".mo").open("rb") as file:
        catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return {str(key[0] if isinstance(key, tuple) else key): german for key, german in catalog.items() if key}


@pytest.fixture
def scene(own_subscriptions: None, db: None) -> list[str]:
    """Something of everything; the addresses of all screens that show it."""
    Subscription.objects.all().delete()  # the demo's
    user = User.objects.create_superuser("root", first_name="Ada", last_name="Byron")
    failing({2}, max_attempts=1)
    failing({3}, name="t.halting", on_failure="halt", max_attempts=1)
    with context(actor=f"user:{user.pk}", correlation_id="c-1"):
        account = Account.objects.perform_new(Account.open, owner="Ada", number="DE01").pk
        cause = Account.objects.perform(account, Account.deposit, amount=Decimal("1234.50"), reference="R-7")
        with context(causation_id=StoredEvent.objects.get(position=cause.position).event_id):
            Account.objects.perform(account, Account.withdraw, amount=Decimal(200))
        wallet(adds=2)
        drain(inside_transaction=True)
        pause(NAME, reason="X-7")
    log, parked = "/admin/eventsourcing_app/", ParkedEvent.objects.order_by("pk")[0]
    events, subscriptions, one = f"{log}storedevent/", f"{log}subscription/", f"/admin/demo_bank/account/{account}/"
    positions = StoredEvent.objects.order_by("position").values_list("position", flat=True)
    return [
        log, events, f"{events}?live=1", f"{events}?q=nothing", f"{events}correlation/?id=c-1",
        f"{events}operators/", f"{events}operators/?subscription=none",
        *(f"{events}{each}/change/" for each in positions),
        subscriptions, *(f"{subscriptions}{name}/change/" for name in (NAME, "t.halting")),
        *(f"{subscriptions}{NAME}/act/{act}/" for act in ("resume", "retry", "reset", "rate", "catch-up")),
        f"{subscriptions}t.halting/act/skip/", f"{log}parkedevent/", f"{log}parkedevent/?state=failed",
        f"{log}parkedevent/{parked.pk}/change/", f"{log}parkedevent/act/retry/?id={parked.pk}",
        f"{log}parkedevent/act/skip/?subscription={NAME}", "/admin/demo_bank/account/", f"{one}change/",
        f"{one}history/", f"{one}past/", f"{one}past/?version=2&compare=1",
        f"{one}past/?version=99", f"{one}command/withdraw/",
    ]  # fmt: skip


def test_no_screen_has_english_left_in_german(scene: list[str], languages: dict[str, str]) -> None:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    english = {word for text in languages for word in words(text)}
    german = {word for text in languages.values() for word in words(text)}
    docstrings = {" ".join((getattr(Account, name).__doc__ or "").replace("`", "").split()) for name in COMMANDS}
    left: dict[str, list[str]] = {}
    for address in scene:
        pages = [Texts(body(client, address, language)) for language in ("en", "de")]
        assert [page.language for page in pages] == ["en", "de"], address
        for text in set(pages[0].found) & set(pages[1].found):
            if text in OF_THE_DEMO | NOT_OF_US | NOT_YET | docstrings:
                continue
            translated = languages.get(text, text) != text
            if translated or (english & words(NAMES.sub("", text)) - german):
                left.setdefault(text, []).append(address)
    assert not left, "\n".join(f"{text!r} on {places[0]}" for text, places in left.items())


def words(text: str) -> set[str]:
    return set(WORDS.findall(PLACEHOLDERS.sub("", text).lower()))


def body(client: Client, address: str, language: str) -> str:
    response = client.get(address, follow=True, headers={"accept-language": language})
    page = response.content.decode()
    assert response.status_code == 200 or "es-page" in page, (address, response.status_code, response.headers)
    return page


def test_numbers_plurals_and_spans_of_time_are_german_in_german() -> None:
    now = clock.now()
    with translation.override("de"):
        assert value_of_field(Account, "balance", Decimal("1234567.50")) == "1.234.567,50"
        assert [duration(timedelta(seconds=seconds)) for seconds in (1.5, 3700)] == ["1,5 s", "1 h 1 min"]
        days = [relative(now - timedelta(days=days, minutes=1)) for days in (1, 3)]
        assert [re.sub(r"<[^>]*>", "", each).replace("\u00a0", " ") for each in days] == ["vor 1 Tag", "vor 3 Tagen"]
        soon = relative(now + timedelta(hours=2, minutes=30))
        assert re.sub(r"<[^>]*>", "", soon).replace("\u00a0", " ") == "in 2 Stunden"
        events = [translation.ngettext("%(number)d event", "%(number)d events", number) for number in (0, 1, 2)]
        assert events == ["%(number)d Ereignisse", "%(number)d Ereignis", "%(number)d Ereignisse"]


@pytest.mark.django_db
def test_refusals_of_the_app_are_german_in_german() -> None:
    account = Account.objects.perform_new(Account.open, owner="Ada").pk
    with translation.override("de"), pytest.raises(CommandRejected, match="gibt es hier schon"):
        Account.objects.get(pk=account).open(owner="Ada")
    with pytest.raises(CommandRejected, match=r"^This account exists already\.$"):
        Account.objects.get(pk=account).open(owner="Ada")


@pytest.mark.django_db
def test_the_api_answers_in_the_language_that_is_asked_for() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    details = [
        client.get("/api/v1/events/", {"nonsense": "x"}, headers={"accept-language": language}).json()["detail"]
        for language in ("en", "de")
    ]
    assert details == ["There is no parameter 'nonsense' here.", "Den Parameter 'nonsense' gibt es hier nicht."]
