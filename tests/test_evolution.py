"""Old events stay readable: through aliases and upcasters, and only through a complete chain of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from eventsourcing_app.events.canonical import loads
from eventsourcing_app.events.codec import encode
from eventsourcing_app.events.declare import declaration_of, event
from eventsourcing_app.events.evolution import gaps, read, upcast
from eventsourcing_app.events.registry import registry
from eventsourcing_app.exceptions import EventUnreadable, NewerEventVersion, UnknownEventType

SHARED: dict[str, Any] = {"amount": "1.50", "tags": ["kept"]}


def to_text(data: dict[str, Any]) -> dict[str, Any]:
    data["amount"] = f"{data.pop('cents') / 100:.2f}"
    return data


def with_currency(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "EUR"}


def fail(data: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("cents")


def change_what_it_got(data: dict[str, Any]) -> dict[str, Any]:
    data["tags"].append("changed")
    return data


@event("evolution.paid", version=3, aliases=["evolution.payed"], upcasters={1: to_text, 2: with_currency})
class Paid:
    amount: Decimal
    currency: str


@event("evolution.gap", version=4, upcasters={2: with_currency})
class Gap:
    currency: str


@event(
    "evolution.wrong",
    version=5,
    upcasters={1: fail, 2: lambda data: None, 3: lambda data: {"amount": Decimal(1)}, 4: lambda data: {"amount": 1}},  # type: ignore[dict-item,return-value]
)
class Wrong:
    amount: Decimal


@event("evolution.shared", version=3, upcasters={1: lambda data: SHARED, 2: change_what_it_got})
class Shared:
    amount: Decimal
    tags: list[str]


@pytest.mark.parametrize("name", ["evolution.paid", "evolution.payed"])
@pytest.mark.parametrize(
    ("version", "text"),
    [(1, '{"cents":150}'), (2, '{"amount":"1.50"}'), (3, '{"amount":"1.50","currency":"EUR"}')],
)
def test_every_version_under_every_name_is_read_as_the_current_one(name: str, version: int, text: str) -> None:
    assert read(name, version, text) == Paid(amount=Decimal("1.50"), currency="EUR")


def test_the_current_version_is_read_back_as_it_was_written() -> None:
    made = Paid(amount=Decimal("2.00"), currency="EUR")
    assert read("evolution.paid", 3, encode(made)) == made


def test_an_unknown_type_is_unreadable() -> None:
    with pytest.raises(UnknownEventType):
        read("evolution.never", 1, "{}")


def test_a_name_that_two_classes_claim_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ambiguous", frozenset({"evolution.paid"}))
    with pytest.raises(EventUnreadable, match="claimed by"):
        read("evolution.paid", 3, "{}")


def test_a_newer_version_is_refused_as_newer() -> None:
    with pytest.raises(NewerEventVersion, match="version 4"):
        read("evolution.paid", 4, "{}")
    with pytest.raises(NewerEventVersion):
        upcast(declaration_of(Paid), 4, {})


@pytest.mark.parametrize(
    ("name", "version", "text", "why"),
    [
        ("evolution.paid", 0, "{}", "versions start at 1"),
        ("evolution.paid", 1, "[]", "not an object"),
        ("evolution.paid", 1, "{", "evolution.paid version 1"),
        ("evolution.paid", 2, '{"amount":1}', r"stored in version 2.* at amount"),
        ("evolution.gap", 1, "{}", "no upcaster leads from version 1"),
        ("evolution.gap", 2, "{}", "no upcaster leads from version 3"),
        ("evolution.wrong", 2, "{}", "must be a dict, not NoneType"),
        ("evolution.wrong", 3, "{}", r"amount: Decimal is not a JSON value"),
        ("evolution.wrong", 4, "{}", r"at amount: Expected `str`, got `int`"),
    ],
)
def test_what_cannot_be_brought_up_to_date_is_unreadable(name: str, version: int, text: str, why: str) -> None:
    with pytest.raises(EventUnreadable, match=why):
        read(name, version, text)


def test_an_upcaster_that_raises_is_named_with_its_cause() -> None:
    with pytest.raises(EventUnreadable, match="upcaster from version 1 raised KeyError") as caught:
        read("evolution.wrong", 1, "{}")
    assert isinstance(caught.value.__cause__, KeyError)


def test_gaps_name_the_versions_without_an_upcaster() -> None:
    assert gaps(declaration_of(Paid)) == []
    assert gaps(declaration_of(Gap)) == [1, 3]


def test_upcasters_cannot_change_what_others_hold() -> None:
    data: dict[str, object] = {"cents": 150, "nested": {"a": [1]}}
    assert upcast(declaration_of(Paid), 1, data) == {"amount": "1.50", "nested": {"a": [1]}, "currency": "EUR"}
    assert data == {"cents": 150, "nested": {"a": [1]}}
    for _ in range(2):
        assert read("evolution.shared", 1, "{}") == Shared(amount=Decimal("1.50"), tags=["kept", "changed"])
    assert SHARED == {"amount": "1.50", "tags": ["kept"]}


def test_plain_data_of_the_current_version_stays_as_it_is() -> None:
    assert upcast(declaration_of(Paid), 3, {"amount": "1"}) == loads('{"amount":"1"}')
