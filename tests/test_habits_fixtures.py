"""Rows can be dumped in every format; loading them would leave no event behind, so it is refused."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core import serializers
from django.core.management import call_command

from eventsourcing_app.exceptions import DirectWriteRefused
from eventsourcing_app.models import StoredEvent
from tests.samples.factories import drifts, list_book, open_wallet
from tests.samples.habits import Memo, Ship, Specimen
from tests.samples.models import Book, Counter, Wallet

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db


def dumped(*labels: str, **options: object) -> str:
    out = StringIO()
    call_command("dumpdata", *labels, stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", ["json", "jsonl", "xml", "python"])
def test_rows_are_serialized(form: str) -> None:
    wallet = open_wallet("Ada", "5.50")
    Specimen.objects.perform_new(Specimen.measure)
    rows = [*Wallet.objects.all(), *Specimen.objects.all()]
    text = serializers.serialize(form, rows)
    (loaded, _specimen) = serializers.deserialize(form, text)
    assert loaded.object == wallet
    assert (loaded.object.balance, loaded.object.version) == (wallet.balance, 2)


def test_rows_are_dumped() -> None:
    open_wallet("Ada", "5.50")
    (row,) = json.loads(dumped("samples.Wallet"))
    assert row["fields"]["balance"] == "5.50"
    assert row["fields"]["version"] == 2


def test_rows_are_dumped_and_found_by_natural_keys() -> None:
    ship = Ship.objects.get(pk=Ship.objects.perform_new(Ship.begin, name="argo").pk)
    Memo.objects.create(ship=ship, text="old")
    natural = {"use_natural_primary_keys": True, "use_natural_foreign_keys": True}
    (row,) = json.loads(dumped("samples.Ship", **natural))
    assert "pk" not in row
    text = dumped("samples.Memo", **natural)
    assert json.loads(text)[0]["fields"]["ship"] == ["Argo"]
    Memo.objects.all().delete()
    for loaded in serializers.deserialize("json", text):
        loaded.save()
    assert Memo.objects.get().ship == ship
    assert len(json.loads(dumped("samples.Fleet", "samples.Ship"))) == 1  # a proxy goes with its model


@pytest.mark.parametrize("form", ["json", "jsonl", "xml"])
@pytest.mark.parametrize("natural", [False, True])
def test_a_fixture_is_not_loaded(form: str, natural: bool, tmp_path: Path) -> None:
    book = list_book("1", "Emma")
    Ship.objects.perform_new(Ship.begin, name="argo")
    for label in ("samples.Book", "samples.Ship"):
        fixture = tmp_path / f"{label}.{form}"
        fixture.write_text(dumped(label, format=form, use_natural_primary_keys=natural).replace("Emma", "Persuasion"))
        with pytest.raises(DirectWriteRefused, match=r"loaddata.* is refused: it would leave no event behind"):
            call_command("loaddata", str(fixture), verbosity=0)
    assert Book.objects.get().title == "Emma"
    assert book.history().count() == 1
    assert StoredEvent.objects.count() == 2
    assert drifts() == []


def test_a_fixture_of_new_rows_is_not_loaded(tmp_path: Path) -> None:
    list_book("1", "Emma")
    fixture = tmp_path / "books.json"
    fixture.write_text(dumped("samples.Book").replace('"pk": "1"', '"pk": "2"'))
    with pytest.raises(DirectWriteRefused, match=r"loaddata.* is refused: it would leave no event behind"):
        call_command("loaddata", str(fixture), verbosity=0)
    Counter.objects.perform_new(Counter.begin)
    (row,) = json.loads(dumped("samples.Counter"))
    del row["pk"]
    fixture.write_text(json.dumps([row]))
    with pytest.raises(DirectWriteRefused, match=r"loaddata.* is refused"):
        call_command("loaddata", str(fixture), verbosity=0)
    assert (Book.objects.count(), Counter.objects.count()) == (1, 1)


def test_a_fixture_of_other_models_is_loaded(tmp_path: Path) -> None:
    wallet = open_wallet()
    Memo.objects.create(wallet=wallet, text="x")
    fixture = tmp_path / "memos.json"
    fixture.write_text(dumped("samples.Memo"))
    Memo.objects.all().delete()
    call_command("loaddata", str(fixture), verbosity=0)
    assert Memo.objects.get().wallet == wallet
