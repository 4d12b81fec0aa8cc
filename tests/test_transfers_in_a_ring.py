"""Eight processes transfer money in a ring: none is made or lost in any observed state, and nobody deadlocks."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from demo_bank.models import Account
from eventsourcing_app.models import StoredEvent
from tests.demo_bank.accounts import an_account

ACCOUNTS, EACH, LIMIT = 5, Decimal("100.00"), Decimal("20.00")
TRANSFERS, OBSERVATIONS = 200, 100


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300)
def test_money_is_conserved_in_every_observed_state_and_no_deadlock_escapes(child_env: dict[str, str]) -> None:
    ring = [an_account(str(EACH), overdraft_limit=LIMIT) for _ in range(ACCOUNTS)]

    seen = run_ring(child_env, [str(account.pk) for account in ring])

    assert [worker["error"] for worker in seen["ended"]] == [""] * 8
    assert set(map(Decimal, seen["states"])) == {ACCOUNTS * EACH}
    assert Decimal(seen["least"]) >= -LIMIT
    done = sum(worker["done"] for worker in seen["ended"])
    assert seen["observations"] >= OBSERVATIONS
    assert done >= TRANSFERS
    # The log says the same: every half has its other half, no version is missing, and state is the fold of history.
    halves = StoredEvent.objects.filter(type__in=("bank.transfer_sent", "bank.transfer_received"))
    assert halves.count() == 2 * done
    assert len({event.data["transfer_id"] for event in halves}) == done
    for account in ring:
        row = Account.objects.get(pk=account.pk)
        versions = list(account.history().values_list("version", flat=True))
        assert versions == list(range(1, row.version + 1))
        assert Account.objects.at(account.pk, version=row.version).balance == row.balance


def run_ring(env: dict[str, str], keys: list[str]) -> dict[str, Any]:
    """Run the ring in a process of its own, which forks the others, until there was enough of it."""
    command = [sys.executable, "-m", "tests.transfer_ring", str(TRANSFERS), str(OBSERVATIONS), *keys]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
