"""One database has the log and the state: it is read and written whatever routers say, and ``using`` only reads."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, models, transaction
from django.test.utils import override_settings

from eventsourcing_app.exceptions import ConcurrencyError, DirectWriteRefused
from eventsourcing_app.models import EventSourcedModel
from tests.samples.factories import add, begin_counter, open_wallet, rebuild, versions
from tests.samples.habits import Memo
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


class Elsewhere:
    """A router that sends every question away."""

    def db_for_read(self, model: type[models.Model], **_hints: Any) -> str | None:
        return (
            "nowhere" if issubclass(model, EventSourcedModel) or model._meta.app_label == "eventsourcing_app" else None
        )


@override_settings(DATABASE_ROUTERS=[Elsewhere()])
def test_the_database_of_the_log_is_asked_whatever_a_router_says() -> None:
    wallet = open_wallet("Ada", 5)
    memo = Memo.objects.create(wallet=wallet)
    memo = Memo.objects.get(pk=memo.pk)
    assert memo.wallet == wallet
    assert Memo.objects.prefetch_related("wallet").get().wallet == wallet
    assert Wallet.objects.prefetch_related("memos").get().owner == "Ada"
    wallet.refresh_from_db()
    assert Wallet._base_manager.get() == Wallet.objects.only("owner").get() == wallet
    assert Wallet.objects.at(wallet.pk, version=1).balance == 0
    assert [stored.version for stored in wallet.history()] == [1, 2]
    assert list(rebuild(Wallet, check=True)) == []
    wallet.full_clean(exclude=["labels", "note"])
    with pytest.raises(DirectWriteRefused, match="nowhere"):
        wallet.save(using="nowhere")
    with pytest.raises(DirectWriteRefused):
        Wallet.objects.using("nowhere").create(owner="Eve")


@contextmanager
def second_alias(name: str) -> Iterator[None]:
    """The same database under another name, as a replica without delay would be."""
    connections.databases[name] = {**connections["default"].settings_dict}
    connections[name].connect()  # at once: a test may not do so by and by for an alias that it did not name
    try:
        yield
    finally:
        connections[name].close()
        del connections[name], connections.databases[name]


@committing
def test_what_is_loaded_elsewhere_is_saved_in_the_database_of_the_log() -> None:
    opened = open_wallet("Ada", 5)
    with second_alias("replica"):
        held, stale = (Wallet.objects.using("replica").get() for _ in range(2))
        assert held._state.db == "replica"
        add(held).save()
        assert (held._state.db, held.balance) == ("default", Decimal(6))
        with pytest.raises(ConcurrencyError):
            add(stale).save()
        Wallet.objects.db_manager("replica").perform(opened.pk, Wallet.add, Decimal(1))
        with pytest.raises(DirectWriteRefused):
            Wallet.objects.using("replica").update(balance=0)
    assert versions(opened) == [1, 2, 3, 4]


@committing
def test_a_log_in_another_database_than_the_default_is_the_only_one_asked() -> None:
    def refuse(execute: Any, sql: str, *_rest: Any) -> None:
        pytest.fail(f"asked the default database: {sql}")

    with (
        second_alias("log"),
        override_settings(EVENTSOURCING={"DISPATCHER": "none", "DATABASE": "log"}),
        connections["default"].execute_wrapper(refuse),
    ):
        wallet = open_wallet("Ada", 5)
        counter = begin_counter(by=3)
        Wallet.objects.once("k").perform(wallet.pk, Wallet.add, Decimal(1))
        with Wallet.objects.locked([wallet.pk]) as (locked,):
            add(locked)
        wallet.refresh_from_db()
        Wallet.objects.save_all([add(wallet)])
        wallet.note = "x"
        wallet.save(update_fields=["note"])
        Wallet.objects.bulk_update([wallet], ["note"])
        assert Wallet.objects.at(wallet.pk, version=2).balance == 5
        assert Counter.objects.get(pk=counter.pk).total == 3
        assert versions(wallet) == [1, 2, 3, 4, 5]
        assert wallet._state.db == "log"
        assert list(rebuild(Wallet, check=True)) == list(rebuild(Counter, check=True)) == []
        with transaction.atomic(using="log"):
            add(wallet).save()
    assert Wallet.objects.get().version == 6
