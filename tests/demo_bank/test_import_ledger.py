"""A bank's ledger is imported through commands: once, in order, to be resumed, and equal to the bank's own balances."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from demo_bank import imports
from demo_bank.ledger import COLUMNS
from demo_bank.models import Account, DailyTotal
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.testing import drain

FIRST = "9,1,1993-01-01,credit,VKLAD,900.00,900.00,,,"
SECOND = "7,1,1993-01-02,credit,PREVOD Z UCTU,100.50,100.50,DUCHOD,AB,123"
THIRD = "9,2,1993-01-02,debit,VYBER,1000.00,-100.00,SLUZBY,,"


def run(path: Path, *options: str) -> str:
    """Run the command and return what it printed."""
    output = StringIO()
    call_command("import_ledger", str(path), *options, stdout=output)
    return output.getvalue()


def posted() -> int:
    """Return how many entries the log has."""
    return StoredEvent.objects.filter(type="bank.entry_posted").count()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A small ledger of two accounts."""
    return written(tmp_path, FIRST, SECOND, THIRD)


def written(place: Path, *rows: str, name: str = "ledger.csv") -> Path:
    """Write a ledger."""
    path = place / name
    path.write_text("\n".join([",".join(COLUMNS), *rows, ""]), encoding="utf-8")
    return path


@pytest.mark.django_db
def test_accounts_are_opened_and_rows_posted_with_their_own_date(ledger: Path) -> None:
    said = run(ledger)

    assert "3 posted, 0 posted before; 2 accounts opened" in said
    account = Account.objects.get(number="ledger-9")
    assert (account.currency, account.balance, account.imported_sequence) == ("CZK", Decimal(-100), 2)
    opened, first, second = account.history()
    assert (opened.type, opened.data["overdraft_limit"]) == ("bank.account_opened", "10000.00")
    assert first.data["booked_on"] == "1993-01-01"
    assert first.recorded_at.year > 1993
    assert second.data == {
        "sequence": 2,
        "booked_on": "1993-01-02",
        "direction": "debit",
        "amount": "1000.00",
        "currency": "CZK",
        "operation": "VYBER",
        "purpose": "SLUZBY",
        "counter_bank": "",
        "counter_account": "",
    }


@pytest.mark.django_db
def test_daily_totals_go_by_the_rows_own_date(ledger: Path) -> None:
    run(ledger)

    drain()

    day = DailyTotal.objects.get(day=date(1993, 1, 2))
    assert (day.deposits, day.withdrawals, day.count) == (Decimal("100.50"), Decimal("1000.00"), 2)


@pytest.mark.django_db
def test_a_second_run_imports_nothing(ledger: Path) -> None:
    run(ledger)
    before = StoredEvent.objects.count()

    said = run(ledger, "--check-balances")

    assert "0 posted, 3 posted before; 0 accounts opened" in said
    assert StoredEvent.objects.count() == before


@pytest.mark.django_db
def test_a_longer_ledger_goes_on_where_the_shorter_one_ended(ledger: Path, tmp_path: Path) -> None:
    run(ledger)
    longer = written(tmp_path, FIRST, SECOND, THIRD, "9,3,1993-01-03,credit,VKLAD,50.00,-50.00,,,", name="longer.csv")

    assert "1 posted, 3 posted before" in run(longer, "--check-balances")
    assert Account.objects.get(number="ledger-9").balance == -50


MALFORMED = {
    "9,2,1993-01-02,debit,VYBER,abc,0.00,,,": "amount 'abc'",
    "9,2,1993-01-02,debit,VYBER,1.001,0.00,,,": "amount '1.001'",
    "9,2,1993-01-02,debit,VYBER,-1.00,0.00,,,": "amount '-1.00' is not positive",
    "9,2,1993-01-02,debit,VYBER,NaN,0.00,,,": "amount 'NaN'",
    "9,2,1993-01-02,debit,VYBER,1.00,,,,": "balance ''",
    "9,2,1993-02-30,debit,VYBER,1.00,0.00,,,": "date '1993-02-30'",
    "9,zwei,1993-01-02,debit,VYBER,1.00,0.00,,,": "sequence 'zwei'",
    "9,0,1993-01-02,debit,VYBER,1.00,0.00,,,": "sequence '0'",
    ",2,1993-01-02,debit,VYBER,1.00,0.00,,,": "account_id ''",
    "9,2,1993-01-02,gift,VYBER,1.00,0.00,,,": "type 'gift'",
    "9,2,1993-01-02,debit,VYBER,1.00,0.00": "it has 7 columns instead of 10",
    "9,2,1993-01-02,debit,VYBER,1.00,0.00,,,,": "it has 11 columns instead of 10",
    "": "it has 0 columns",
    '9,2,1993-01-02,debit,"VYBER"x,1.00,0.00,,,': "this is no CSV",
    "9,2,1993-01-02,debit,VYBER\x00,1.00,0.00,,,": "it contains NUL",
    f"9,2,1993-01-02,debit,{'x' * 300},1.00,0.00,,,": "is longer than 200 characters",
    # Sound rows that a command refuses.
    "9,3,1993-01-02,debit,VYBER,1.00,0.00,,,": "some are missing",
    "9,2,1993-01-02,debit,VYBER,999999.00,0.00,,,": "has 10900.00 CZK left",
}


@pytest.mark.django_db
@pytest.mark.parametrize(("row", "why"), MALFORMED.items())
def test_a_bad_row_stops_with_its_line_number_and_what_stands_before_is_kept(
    row: str, why: str, tmp_path: Path
) -> None:
    path = written(tmp_path, FIRST, SECOND, row, "7,2,1993-01-03,credit,VKLAD,1.00,101.50,,,")

    with pytest.raises(CommandError) as stopped:
        run(path)

    assert f"{path}, line 4: " in str(stopped.value)
    assert why in str(stopped.value)
    assert posted() == 2
    assert Account.objects.count() == 2


@pytest.mark.django_db
def test_a_row_that_is_not_utf8_is_named_by_its_own_line(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST, SECOND)
    path.write_bytes(path.read_bytes() + b"9,2,1993-01-02,debit,V\xddB\xccR,1.00,899.00,,,\n" + FIRST.encode() * 3_000)

    with pytest.raises(CommandError, match="line 4: this is not UTF-8"):
        run(path)

    assert posted() == 2


@pytest.mark.django_db
def test_an_account_whose_first_row_is_refused_is_not_opened(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST, "7,2,1993-01-02,credit,VKLAD,1.00,1.00,,,")

    with pytest.raises(CommandError, match="line 3"):
        run(path)

    assert list(Account.objects.values_list("number", flat=True)) == ["ledger-9"]


@pytest.mark.django_db
@pytest.mark.parametrize("content", ["", "account,amount\n9,1\n"])
def test_a_file_that_is_no_ledger_is_refused_by_its_header(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(content)

    with pytest.raises(CommandError, match="line 1: the header must be account_id,sequence"):
        run(path)


@pytest.mark.django_db
def test_a_file_that_is_not_there_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run(tmp_path / "none.csv")


@pytest.mark.django_db
def test_a_balance_that_differs_at_any_row_is_named_and_fails(tmp_path: Path) -> None:
    # The last balances agree: only a comparison after every row can find these two.
    other = "9,2,1993-01-02,debit,VYBER,1.00,898.99,,,", "7,1,1993-01-02,credit,VKLAD,5.00,6.00,,,"
    last = "9,3,1993-01-03,credit,VKLAD,1.00,900.00,,,", "7,2,1993-01-03,debit,VYBER,5.00,0.00,,,"
    output = StringIO()

    with pytest.raises(CommandError) as failed:
        call_command("import_ledger", str(written(tmp_path, FIRST, *other, *last)), "--check-balances", stdout=output)

    assert "Checked 5 rows, 2 accounts: 2 mismatches" in output.getvalue()
    assert "account 9, row 2: 899.00, but the bank says 898.99" in str(failed.value)
    assert "account 7, row 1: 5.00, but the bank says 6.00" in str(failed.value)


@pytest.mark.django_db
def test_a_progress_bar_is_shown_to_people_only(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (False, True):
        stderr = StringIO()
        monkeypatch.setattr(stderr, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        monkeypatch.setattr(sys, "stderr", stderr)

        run(ledger, "--check-balances")

        assert ("posting" in stderr.getvalue()) is is_terminal
        assert ("checking: 100%" in stderr.getvalue()) is is_terminal


@pytest.mark.django_db
def test_rows_are_posted_in_several_transactions_and_the_order_of_each_account_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "_FIRST_CHUNK", 3)
    monkeypatch.setattr(imports, "_LARGEST_CHUNK", 5)
    rows = [
        f"{account},{sequence},1993-01-{sequence:02},credit,VKLAD,1.00,{sequence}.00,,,"
        for sequence in range(1, 11)
        for account in (1, 2)
    ]

    said = run(written(tmp_path, *rows), "--check-balances")

    assert "20 posted" in said
    assert "5 transactions" in said
    assert "20 rows, 2 accounts: 0 mismatches" in said


@pytest.mark.django_db(transaction=True)
def test_two_imports_at_once_post_every_row_once(tmp_path: Path, child_env: dict[str, str]) -> None:
    rows = [
        f"{account},{sequence},1993-01-{sequence:02},credit,VKLAD,1.00,{sequence}.00,,,"
        for sequence in range(1, 6)
        for account in range(1, 81)
    ]
    path = written(tmp_path, *rows)

    running = [importing(path, child_env) for _ in range(2)]
    said = [child.communicate(timeout=60)[0] for child in running]

    assert [child.returncode for child in running] == [0, 0], said
    assert posted() == 400
    assert "400 rows, 80 accounts: 0 mismatches" in run(path, "--check-balances")


@pytest.mark.django_db(transaction=True)
def test_a_real_ledger_survives_a_killed_run_and_agrees_with_the_bank_after_every_row(
    ledger_csv: Path, child_env: dict[str, str]
) -> None:
    killed = importing(ledger_csv, child_env)
    end = time.monotonic() + 30
    while posted() == 0 and time.monotonic() < end:
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    before = posted()
    assert 0 < before < 19_556

    said = run(ledger_csv, "--check-balances")

    assert f"Read 19,556 rows: {19_556 - before:,} posted, {before:,} posted before" in said
    assert "Checked 19,556 rows, 1,229 accounts: 0 mismatches" in said
    assert Account.objects.count() == 1_229
    assert StoredEvent.objects.count() == 19_556 + 1_229
    assert "19,556 rows: 0 posted" in run(ledger_csv)


@pytest.mark.django_db(transaction=True)
def test_an_import_that_is_asked_to_stop_ends_after_its_chunk(ledger_csv: Path, child_env: dict[str, str]) -> None:
    stopped = importing(ledger_csv, child_env)
    end = time.monotonic() + 30
    while posted() == 0 and time.monotonic() < end:
        time.sleep(0.02)
    stopped.terminate()
    said = stopped.communicate(timeout=30)[0]

    assert stopped.returncode == 1
    assert "Asked to stop. What is posted is kept" in said
    assert f"{posted():,} posted, 0 posted before" in said
    assert posted() < 19_556


def importing(path: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start an import in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "django", "import_ledger", str(path)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
