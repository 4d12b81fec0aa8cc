"""A rebuild that was interrupted goes on where it was, unless what it had done may not hold any more."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import models, transaction
from django.db.models import F

from eventsourcing_app.aggregates.rebuild import runs
from eventsourcing_app.aggregates.rebuild.rebuilder import Ears, run_rebuild
from eventsourcing_app.aggregates.rebuild.records import DueRebuild, RebuildFinding, RebuildPart, RebuildRun
from tests.samples.factories import change_row, insert_rows, list_book, open_wallet
from tests.samples.models import Book, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


def stopping_after(parts: int) -> Callable[[], bool]:
    """Stop once so many parts are finished."""
    return lambda: RebuildPart.objects.filter(finished=True).count() >= parts


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[Wallet]:
    """Ten wallets, of which a rebuild has gone through the first ones and was stopped."""
    monkeypatch.setattr(runs, "PART_EVENTS", 4)
    wallets = [open_wallet(str(number), 1) for number in range(10)]
    assert run_rebuild(Wallet, check=True, stop=stopping_after(2)) is None
    return wallets


def behind_it(wallets: list[Wallet]) -> None:
    """Change a row of the part that has been gone through, so that it shows whether that is done again."""
    change_row(Wallet, wallets[0].pk, balance=9)


def test_a_run_that_was_stopped_goes_on_and_counts_everything(interrupted: list[Wallet]) -> None:
    behind_it(interrupted)
    notes: list[str] = []
    assert run_rebuild(Wallet, check=True, ears=Ears(note=notes.append)) == runs.Counts(10, 20)
    assert len(notes) == 1
    assert run_rebuild(Wallet, check=True) == runs.Counts(10, 20, 1, 1), "a finished one begins anew"


def test_the_answer_of_a_run_that_was_gone_on_with_says_since_when_it_holds(interrupted: list[Wallet]) -> None:
    behind_it(interrupted)
    began = RebuildRun.objects.get().started_at
    text, lines = StringIO(), StringIO()
    with transaction.atomic():
        call_command("rebuild", "samples.Wallet", "--check", "--no-progress", stdout=text)
        transaction.set_rollback(True)
    assert f"0 differ, as of {began:%Y-%m-%d %H:%M:%S} UTC" in text.getvalue()
    call_command("rebuild", "samples.Wallet", "--check", "--json", stdout=lines)
    told = json.loads(lines.getvalue())
    assert (told["drifted"], told["started_at"], told["resumed"]) == (0, began.isoformat(), True)
    found = StringIO()
    with pytest.raises(CommandError, match="1 differ, 1 not repaired"):
        call_command("rebuild", "samples.Wallet", "--check", "--json", stdout=found)
    told = json.loads(found.getvalue().splitlines()[-1])
    assert (told["drifted"], told["resumed"]) == (1, False)
    assert datetime.fromisoformat(told["started_at"]) > began


def test_what_was_found_before_it_was_stopped_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PART_EVENTS", 4)
    wallets = [open_wallet(str(number), 1) for number in range(10)]
    models.QuerySet(Wallet).update(balance=7)
    assert run_rebuild(Wallet, check=False, stop=stopping_after(3)) is None
    found: list[runs.Finding] = []
    assert run_rebuild(Wallet, check=False, ears=Ears(found=found.append)) == runs.Counts(10, 20, 10)
    assert [finding.stream_key for finding in found] == [wallet.stream_key for wallet in wallets]
    assert found[0].fields == {"balance": ["7.00", "1.00"]}
    assert not RebuildPart.objects.exists()
    assert not RebuildFinding.objects.exists()


@pytest.mark.parametrize("reason", ["code", "mark", "time", "repair", "restart"])
def test_a_run_begins_anew_if_what_it_had_done_may_not_hold_any_more(
    interrupted: list[Wallet], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_it(interrupted)
    if reason == "code":
        monkeypatch.setattr(runs, "fingerprint_of", lambda model: b"another release")
    elif reason == "mark":
        DueRebuild.objects.create(model="samples.wallet")
    elif reason == "time":
        RebuildRun.objects.update(active_at=F("started_at") - timedelta(days=2))
    done = run_rebuild(Wallet, check=reason != "repair", restart=reason == "restart")
    assert done is not None
    assert (done.aggregates, done.drifted) == (10, 1)


def test_a_repair_answers_the_mark_that_it_has_seen_and_no_newer_one() -> None:
    open_wallet()
    DueRebuild.objects.create(model="samples.wallet")
    run_rebuild(Wallet, check=True)
    assert DueRebuild.objects.exists()

    def marked_again(_progress: object) -> None:
        DueRebuild.objects.update(marked_at=F("marked_at") + timedelta(seconds=1))

    run_rebuild(Wallet, check=False, ears=Ears(progress=marked_again))
    assert DueRebuild.objects.exists()
    run_rebuild(Wallet, check=False)
    assert not DueRebuild.objects.exists()


def test_rows_are_looked_up_in_the_log_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PART_ROWS", 2)
    list_book("3")
    insert_rows("1", "2", "4", "5", "6")
    found: list[runs.Finding] = []
    assert run_rebuild(Book, check=True, ears=Ears(found=found.append)) == runs.Counts(1, 1, 5, 5)
    assert [finding.stream_key for finding in found] == ["1", "2", "4", "5", "6"]
    assert {finding.problem for finding in found} == {"unknown"}
