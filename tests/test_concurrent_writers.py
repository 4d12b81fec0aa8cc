"""Eight processes write at the same time: nothing acknowledged is lost, and no version is missing or double."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from eventsourcing_app.models import StoredEvent
from tests.conftest import ROOT
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS, COMMANDS = 8, 30


def write_at_once(keys: list[str], env: Mapping[str, str]) -> dict[str, Counter[str]]:
    """What all writers together were told, by wallet."""
    given = json.dumps({"wallets": keys, "writers": WRITERS, "commands": COMMANDS})
    run = subprocess.run(
        [sys.executable, "-m", "tests.samples.writer", given],
        cwd=ROOT,
        env=dict(env),
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    told = {key: Counter[str]() for key in keys}
    for line in run.stdout.splitlines():
        for key, counts in json.loads(line).items():
            told[key].update(counts)
    return told


@pytest.mark.parametrize("wallets", [1, 20])
def test_nothing_that_was_acknowledged_is_lost(wallets: int, child_env: dict[str, str]) -> None:
    keys = [str(open_wallet(str(n)).pk) for n in range(wallets)]
    told = write_at_once(keys, child_env)

    assert sum(counts["events"] for counts in told.values()) == WRITERS * COMMANDS
    for key, counts in told.items():
        wallet = Wallet.objects.get(pk=key)
        assert wallet.balance == counts["sum"]
        assert wallet.version == 1 + counts["events"]
        history = list(wallet.history().values_list("version", "position"))
        assert [version for version, _ in history] == list(range(1, wallet.version + 1))
        assert [position for _, position in history] == sorted(position for _, position in history)
        assert Wallet.objects.at(key, version=wallet.version).balance == wallet.balance
    assert StoredEvent.objects.count() == wallets + WRITERS * COMMANDS
    if wallets == 1:
        assert told[keys[0]]["lost"] > 0, "no race was lost: the writers were not at work at the same time"

    out = StringIO()
    call_command("verify_events", stdout=out)
    call_command("rebuild", "samples.Wallet", "--check", stdout=out)
    assert "no fault" in out.getvalue()
    assert "0 differ" in out.getvalue()
