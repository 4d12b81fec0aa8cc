"""A rebuild locks a row only while it repairs it: a long history is folded beforehand, and to compare locks nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventsourcing_app.aggregates.rebuild import drift as module
from eventsourcing_app.aggregates.rebuild.rebuild import Rebuilt, rebuild_streams
from tests.samples.factories import change_row, elsewhere, open_wallet, rebuild, remove_row
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventsourcing_app.aggregates.rebuild.drift import Drift

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def beforehand(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], object]], list[bool]]:
    """Calls something before each search for the event at which row and history part; tells which held a lock."""
    locked: list[bool] = []
    found = module._parting

    def install(act: Callable[[int], object]) -> list[bool]:
        def parting(*args: Any) -> Any:
            locked.append(connection.in_atomic_block)
            act(len(locked))
            return found(*args)

        monkeypatch.setattr(module, "_parting", parting)
        return locked

    return install


def drifts(*, check: bool) -> list[Drift]:
    return list(rebuild(Wallet, check=check))


def deposit(wallet: Wallet) -> None:
    elsewhere(lambda: Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1)))


@pytest.mark.parametrize("check", [True, False])
def test_where_they_part_is_found_before_the_row_is_locked(
    check: bool, beforehand: Callable[[Callable[[int], object]], list[bool]]
) -> None:
    wallet = open_wallet("Ada", 1, 2)
    change_row(Wallet, wallet.pk, balance=9)
    locked = beforehand(lambda _number: None)
    (found,) = drifts(check=check)
    assert (found.version, found.fields) == (1, {"balance": (Decimal(9), Decimal(3))})
    assert locked == [False]


def test_to_compare_locks_nothing_and_opens_no_transaction() -> None:
    changed, removed = open_wallet("Ada", 1), open_wallet("Eve")
    change_row(Wallet, changed.pk, balance=9)
    remove_row(removed)
    with CaptureQueriesContext(connection) as asked:
        found = list(rebuild_streams(Wallet, check=True, seen=Rebuilt()))
    assert sorted(drift.problem for drift in found) == ["differs", "missing"]
    statements = [query["sql"].upper() for query in asked]
    assert not [sql for sql in statements if "FOR NO KEY UPDATE" in sql or sql.startswith(("BEGIN", "SAVEPOINT"))]


def test_a_row_that_is_written_meanwhile_is_compared_again_and_repaired_to_what_it_is_now(
    beforehand: Callable[[Callable[[int], object]], list[bool]],
) -> None:
    wallet = open_wallet("Ada", 1)
    change_row(Wallet, wallet.pk, balance=9)
    locked = beforehand(lambda number: deposit(wallet) if number == 1 else None)
    (found,) = drifts(check=False)
    assert found.fields == {"balance": (Decimal(10), Decimal(2))}
    assert locked == [False, False]
    row = Wallet.objects.get()
    assert (row.balance, row.version) == (Decimal(2), 3)
    assert drifts(check=True) == []


def test_a_row_that_is_written_all_the_time_is_repaired_all_the_same(
    beforehand: Callable[[Callable[[int], object]], list[bool]],
) -> None:
    wallet = open_wallet("Ada", 1)
    change_row(Wallet, wallet.pk, balance=9)
    locked = beforehand(lambda number: deposit(wallet) if number <= module._TRIES else None)
    (found,) = drifts(check=False)
    assert found.fields == {"balance": (Decimal(12), Decimal(4))}
    assert locked == [False] * module._TRIES + [True]
    assert Wallet.objects.get().balance == Decimal(4)
    assert drifts(check=True) == []


def test_a_row_that_is_mended_meanwhile_is_left_alone(
    beforehand: Callable[[Callable[[int], object]], list[bool]],
) -> None:
    wallet = open_wallet("Ada", 1)
    change_row(Wallet, wallet.pk, balance=9)
    beforehand(lambda _number: elsewhere(lambda: change_row(Wallet, wallet.pk, balance=1)))
    assert drifts(check=False) == []
    assert Wallet.objects.get().balance == Decimal(1)
