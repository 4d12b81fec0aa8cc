"""A form has a field for each argument of a command, reads what the command takes, and leaves defaults alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
from django import forms
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models
from django.http import QueryDict
from django.utils.translation import override

from demo_bank.models import Account
from eventsourcing_app import command
from eventsourcing_app.admin import EventSourcedAdmin
from eventsourcing_app.admin.command_fields import LinesField, MemberField, MomentField, TextField
from eventsourcing_app.admin.command_forms import CommandForm, form_for, misfit
from eventsourcing_app.admin.docstrings import explained_arguments, paragraphs_of
from eventsourcing_app.aggregates.declare import command_of
from tests.samples.models import Contract, Wallet


class Colour(Enum):
    RED = "r"
    BLUE = "b"


DEFAULT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@command
def everything(
    self: Wallet,
    text: str,
    owner: str,
    number: int,
    yes: bool,
    amount: Decimal,
    balance: Decimal,
    day: date,
    moment: datetime,
    ident: UUID,
    colour: Colour,
    side: Literal["left", "right", 1, "1"],
    words: list[str],
    days: list[date],
    flags: list[bool],
    maybe: str | None,
    maybe_number: int | None,
    maybe_yes: bool | None,
    maybe_colour: Colour | None,
    maybe_words: list[str] | None,
) -> None:
    """Take one of each."""


@command
def defaults(
    self: Wallet,
    text: str = "",
    owner: str = "Ada",
    number: int = 3,
    yes: bool = True,
    amount: Decimal = Decimal("1.50"),
    moment: datetime = DEFAULT,
    colour: Colour = Colour.BLUE,
    words: list[str] = ["a", "b"],  # noqa: B006 - never changed
    maybe: int | None = 7,
) -> None:
    """Take what was not said."""


GIVEN = {
    "text": "  some  ",
    "owner": "Ada",
    "number": "-3",
    "yes": "on",
    "amount": "1.125",
    "balance": "5",
    "day": "2026-02-03",
    "moment": "2026-02-03T04:05:06",
    "ident": "0199c0de-7a11-7000-8000-000000000001",
    "colour": "b",
    "side": "'1'",
    "words": "one\r\n\r\n two \r\n",
    "days": "2026-02-03\n2026-02-04",
    "flags": "True\nFalse",
    "maybe": "",
    "maybe_number": "",
    "maybe_yes": "unknown",
    "maybe_colour": "",
    "maybe_words": "",
}


def form_of(function: Any) -> type[CommandForm]:
    return form_for(Wallet, command_of(function))


def sent(form: type[CommandForm], **changes: str) -> dict[str, str]:
    """What a browser sends of a form as it began, but for some changes."""
    found, empty = {}, form()
    for name in empty.fields:
        value = empty[name].value()
        shown = "on" if value is True else empty[name].field.widget.format_value(value)
        found[name] = shown[0] if isinstance(shown, list) else shown
    return {name: value for name, value in found.items() if value not in (None, False)} | changes


def read(form: type[CommandForm], data: dict[str, str]) -> dict[str, Any]:
    query = QueryDict(mutable=True)
    query.update(data)
    filled = form(query)
    assert filled.is_valid(), filled.errors
    return filled.arguments()


def errors_of(form: type[CommandForm], data: dict[str, str]) -> set[str]:
    return set(form(data).errors)


def test_every_kind_of_argument_is_read_as_its_type() -> None:
    assert read(form_of(everything), GIVEN) == {
        "text": "some",
        "owner": "Ada",
        "number": -3,
        "yes": True,
        "amount": Decimal("1.125"),
        "balance": Decimal("5.00"),
        "day": date(2026, 2, 3),
        "moment": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        "ident": UUID("0199c0de-7a11-7000-8000-000000000001"),
        "colour": Colour.BLUE,
        "side": "1",
        "words": ["one", "two"],
        "days": [date(2026, 2, 3), date(2026, 2, 4)],
        "flags": [True, False],
        "maybe": None,
        "maybe_number": None,
        "maybe_yes": None,
        "maybe_colour": None,
        "maybe_words": None,
    }
    assert str(read(form_of(everything), GIVEN)["balance"]) == "5.00"
    assert read(form_of(everything), {**GIVEN, "side": "1", "yes": ""})["side"] == 1


def test_times_are_utc_whatever_the_time_zone_of_the_project(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    for text in ("2026-02-03T04:05", "2026-02-03T04:05Z", "2026-02-03T13:05+09:00"):
        assert read(form_of(everything), {**GIVEN, "moment": text})["moment"] == datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    assert "The time is in UTC." in form_of(everything)()["moment"].help_text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("text", ""),
        ("text", "a\x00b"),
        ("text", "half \ud800"),
        ("owner", "x" * 41),
        ("number", "1.5"),
        ("number", str(2**53)),
        ("number", "9" * 5000),
        ("number", ""),
        ("amount", "1_000"),
        ("amount", "NaN"),
        ("amount", "Infinity"),
        ("amount", "1e99999999"),
        ("amount", "1e-99999999"),
        ("amount", "9" * 39),
        ("amount", "٣"),
        ("balance", "1.005"),
        ("balance", "1" + "0" * 12),
        ("day", "03.02.2026"),
        ("day", "2026-02-30"),
        ("moment", "tomorrow"),
        ("moment", "2026-02-30T00:00"),
        ("moment", "0001-01-01T00:00+12:00"),
        ("ident", "1"),
        ("colour", "RED"),
        ("colour", ""),
        ("side", "2"),
        ("days", "2026-02-03\nsoon"),
        ("flags", "perhaps"),
        ("words", "x\n" * 1001),
        ("words", "half \ud800"),
        ("maybe_number", "x"),
        ("maybe_colour", "x"),
    ],
)
def test_what_an_argument_cannot_be_is_an_error_of_its_field(name: str, text: str) -> None:
    assert errors_of(form_of(everything), {**GIVEN, name: text}) == {name}


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("America/New_York", "0001-01-01T00:00:00"),
        ("Europe/Berlin", "9999-12-31T23:59:59"),
        ("Asia/Tokyo", "9999-12-31T23:59:59"),
        ("Asia/Tokyo", "9999-12-31T15:00:00Z"),
    ],
)
def test_a_moment_that_has_no_local_time_is_an_error_of_its_field(zone: str, text: str, settings: Any) -> None:
    settings.TIME_ZONE = zone
    with pytest.raises(ValidationError) as refused:
        MomentField().clean(text)
    assert refused.value.code == "invalid"
    settings.TIME_ZONE = "UTC"
    assert MomentField().clean(text).isoformat() == text.removesuffix("Z") + "+00:00"


def test_an_error_in_a_list_names_its_line() -> None:
    form = form_of(everything)({**GIVEN, "days": "2026-02-03\n\nsoon"})
    assert form.errors["days"] == ["Line 3: Enter a valid date."]


def test_a_line_ends_where_a_form_ends_it() -> None:
    field = LinesField(item=TextField(), nullable=False, required=False)
    assert field.clean("a\u2028b\x85c\x0bd\x1ce\r\nf\rg\nh") == ["a\u2028b\x85c\x0bd\x1ce", "f", "g", "h"]


class Size(models.TextChoices):
    UNKNOWN = "", "unknown"
    LARGE = "l", "large"


@pytest.mark.parametrize("members", [tuple(Size), ("", "l"), ("", "''"), (" ", "")])
def test_a_member_whose_value_is_empty_can_be_chosen(members: tuple[Any, ...]) -> None:
    field = MemberField(members=members, begin_empty=True, nullable=False, required=True)
    assert [field.clean(field.text_of(member)) for member in members] == list(members)
    lines = LinesField(item=field, nullable=False, required=True)
    assert lines.clean("\n".join(field.text_of(member) for member in members)) == list(members)
    choices: Any = field.choices
    values = [value for value, _label in choices]
    assert len(set(values)) == len(values) == 3
    assert all(str(label).strip() for _value, label in choices)
    with pytest.raises(ValidationError):
        field.clean("")


def test_what_is_left_as_it_began_is_left_to_its_default() -> None:
    form = form_of(defaults)
    assert read(form, sent(form)) == {}
    assert read(form, sent(form, number="4", owner="Bob")) == {"number": 4, "owner": "Bob"}
    assert read(form, sent(form, maybe="")) == {"maybe": None}
    assert read(form, sent(form, words="")) == {"words": []}
    assert read(form, sent(form, colour="r")) == {"colour": Colour.RED}
    assert read(form, sent(form, moment="2026-01-02T03:04:06"))["moment"].second == 6
    assert read(form, {name: text for name, text in sent(form).items() if name != "yes"}) == {"yes": False}
    for name in ("owner", "number", "amount"):
        assert errors_of(form, sent(form, **{name: ""})) == {name}


def test_fields_of_the_model_give_their_labels_limits_and_choices() -> None:
    form = form_for(Account, command_of(Account.open))()
    assert str(form["overdraft_limit"].label) == "Overdraft limit"
    assert 'maxlength="120"' in str(form["owner"])
    amount = str(form["overdraft_limit"])
    for part in ('step="0.01"', 'inputmode="decimal"', 'type="number"'):
        assert part in amount
    assert '<option value="EUR" selected>euro</option>' in str(form["currency"])
    assert '<option value="">' not in str(form["currency"])
    assert '<option value="" selected>' in str(form_for(Account, command_of(Account.deposit))()["currency"])
    side = str(form_for(Account, command_of(Account.post_entry))()["direction"])
    assert '<option value="credit">Credit</option>' in side


@command
def told(self: Wallet, amount: Decimal, reason: str, other: int = 0) -> None:
    """Tell <what> it is about.

    It goes on ``here``.

    Args:
        amount: How much <b>it</b> is,
            at most.
        reason (str): Why.

    Raises:
        CommandRejected: never.
    """


@command
def told_otherwise(self: Wallet, amount: Decimal, reason: str) -> None:
    """Tell.

    :param amount: How much.
    :param str reason: Why,
        in a word.
    """


def test_the_docstring_explains_command_and_arguments() -> None:
    assert paragraphs_of(command_of(told).function) == ["Tell <what> it is about.", "It goes on here."]
    assert explained_arguments(command_of(told).function) == {
        "amount": "How much <b>it</b> is, at most.",
        "reason": "Why.",
    }
    assert paragraphs_of(command_of(told_otherwise).function) == ["Tell."]
    assert explained_arguments(command_of(told_otherwise).function) == {
        "amount": "How much.",
        "reason": "Why, in a word.",
    }
    assert form_of(told)()["amount"].help_text == "How much &lt;b&gt;it&lt;/b&gt; is, at most."


def test_texts_of_a_form_are_in_the_language_of_who_asks() -> None:
    texts = []
    for language in ("de", "en", "de"):
        with override(language):
            texts.append(str(form_of(everything)()["words"].help_text))
    assert texts == ["Ein Wert je Zeile.", "One a line.", "Ein Wert je Zeile."]


def test_arguments_may_have_any_names() -> None:
    @command
    def named(self: Wallet, data: str, errors: str, fields: str, optional: str, media: str, version: int) -> None: ...

    given = dict.fromkeys(("data", "errors", "fields", "optional", "media"), "x")
    assert read(form_of(named), {**given, "version": "1"}) == {**given, "version": 1}


def test_what_no_form_can_be_made_of_is_named_with_its_argument() -> None:
    @command
    def nested(self: Wallet, grid: list[list[int]]) -> None: ...

    @command
    def mapped(self: Wallet, what: dict[str, int]) -> None: ...

    for function, name in ((nested, "grid"), (mapped, "what")):
        with pytest.raises(ImproperlyConfigured, match=name):
            form_of(function)


def test_checks_name_commands_that_there_are_not_and_those_without_a_form() -> None:
    class Odd(EventSourcedAdmin[Contract]):
        commands = ("sign", "fly")
        command_permissions = {"swim": "samples.add_contract"}

    found = Odd(Contract, admin.AdminSite()).check()
    assert [message.id for message in found] == [*["eventsourcing_app.E062"] * 2, "eventsourcing_app.W063"]
    assert [name for name, message in zip(("fly", "swim", "terms"), found, strict=True) if name in message.msg] == [
        "fly",
        "swim",
        "terms",
    ]


class Misspelt(forms.Form):
    amuont = forms.DecimalField()


class Amount(forms.Form):
    amount = forms.DecimalField()


class CleansItself(Misspelt):
    def clean(self) -> dict[str, Any]:
        return {"amount": self.cleaned_data["amuont"]}


class MakesItsFields(forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"] = forms.DecimalField()


def test_checks_name_arguments_that_a_form_lacks_and_fields_that_are_none() -> None:
    class Odd(EventSourcedAdmin[Wallet]):
        command_forms = {"add": Misspelt, "take": Amount, "tidy": Amount, "label": CleansItself}

    found = Odd(Wallet, admin.AdminSite()).check()
    assert [message.id for message in found] == ["eventsourcing_app.E064"] * 2
    for text in ("Misspelt", "Wallet.add", "'amount'", "'amuont'"):
        assert text in found[0].msg
    assert "Wallet.tidy" in found[1].msg
    Odd.commands = ("take", "label")  # of what is not offered, no form is shown
    assert Odd(Wallet, admin.AdminSite()).check() == []


def test_no_check_finds_fault_with_a_form_whose_own_code_may_make_it_fit() -> None:
    class Fitting(EventSourcedAdmin[Wallet]):
        command_forms = {"add": MakesItsFields, "take": CleansItself}

    class ReadsOtherwise(EventSourcedAdmin[Wallet]):
        command_forms = {"add": Misspelt}

        def arguments_for(self, request: Any, command: Any, cleaned: dict[str, Any]) -> dict[str, Any]:
            return {"amount": cleaned["amuont"]} if command.name == "add" else cleaned

    class Chooses(EventSourcedAdmin[Wallet]):
        command_forms = {"add": Misspelt}

        def get_command_form(self, request: Any, command: Any, obj: Any = None) -> type[forms.Form]:
            return Amount if command.name == "add" else super().get_command_form(request, command, obj)

    for page in (Fitting, ReadsOtherwise, Chooses):
        assert page(Wallet, admin.AdminSite()).check() == []


def test_a_command_with_any_arguments_takes_any_fields() -> None:
    @command  # type: ignore[arg-type]  # mypy takes self for one of the names
    def taking_any(self: Wallet, amount: Decimal, **more: Any) -> None: ...

    assert misfit(Misspelt, command_of(taking_any)) == "it lacks the argument 'amount'"
    assert misfit(Amount, command_of(taking_any)) is None
