"""An instance of which not every field was loaded never saves the state of one version as another."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from eventsourcing_app import CommandRejected
from eventsourcing_app.exceptions import ConcurrencyError
from tests.samples.factories import (
    add,
    faults,
    open_wallet,
    versions,
)
from tests.samples.models import Wallet

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


def test_a_partly_loaded_instance_runs_commands_and_is_saved() -> None:
    wallet = open_wallet("Ada", 5)
    for loaded in (
        Wallet.objects.only("owner"),
        Wallet.objects.defer("balance", "version"),
        Wallet.objects.defer("ended", "changed_at"),
        Wallet.objects.only("version"),
    ):
        add(loaded.get()).save()
    assert Wallet.objects.get(pk=wallet.pk).balance == 9
    assert versions(wallet) == [1, 2, 3, 4, 5, 6]
    assert faults() == {}


@pytest.mark.parametrize("names", [["balance"], ["balance", "labels"], ["balance", "ended", "changed_at"]])
def test_a_partly_loaded_instance_never_saves_a_stale_state(names: list[str]) -> None:
    wallet = open_wallet("Ada", 10)
    stale = Wallet.objects.only(*names).get(pk=wallet.pk)
    assert stale.balance == 10
    wallet.take(Decimal(10))
    wallet.save()
    try:
        stale.take(Decimal(10))
        stale.save()
    except (CommandRejected, ConcurrencyError):
        pass
    now = Wallet.objects.get(pk=wallet.pk)
    assert (now.balance, now.version) == (Decimal(0), 3)


def test_loading_only_the_version_again_does_not_make_a_stale_state_new() -> None:
    wallet = open_wallet("Ada", 10)
    stale = Wallet.objects.get(pk=wallet.pk)
    wallet.take(Decimal(10))
    wallet.save()
    stale.refresh_from_db(fields=["version"])
    with pytest.raises(CommandRejected):
        stale.take(Decimal(10))
    add(stale).save()
    assert (stale.balance, stale.version) == (Decimal(1), 4)
