"""A rebuild by several processes goes through every aggregate, whichever process is killed, stopped or fails."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import models

from eventsourcing_app.aggregates.rebuild import rebuilder
from eventsourcing_app.aggregates.rebuild.records import RebuildFinding, RebuildPart, RebuildRun
from tests.conftest import ROOT
from tests.reactions_sample import scene as reactions
from tests.samples.factories import open_wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

WALLETS, SPECIAL = 60, 30
"""Enough for a dozen parts; the one at which something happens is in the middle."""


def until(reached: Callable[[], object], *, what: str) -> None:
    """Wait for what a process does that may have to start others, each with a Django of its own."""
    reactions.until(reached, seconds=60, what=what)


class Scene:
    """Wallets, and processes that rebuild them."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.gate, self.journal, self._output = folder / "gate", folder / "journal", folder / "output"
        self.env = {
            **env,
            "DJANGO_SETTINGS_MODULE": "tests.settings_rebuild",
            "REBUILD_GATE": str(self.gate),
            "REBUILD_JOURNAL": str(self.journal),
        }
        self._started: list[subprocess.Popen[bytes]] = []
        for number in range(WALLETS):
            open_wallet("special" if number == SPECIAL else str(number), 1)

    def start(self, *options: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a rebuild."""
        with self._output.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "manage.py", "rebuild", "samples.Wallet", "--skip-checks", "--json", *options],
                cwd=ROOT,
                env={**self.env, **env},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(child)
        return child

    def start_until_the_gate(self, *options: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start a rebuild and return it, and the process that waits at the gate, when all else is done that can be."""
        self.gate.touch()
        child = self.start(*options)
        until(lambda: self._waiting() or child.poll() is not None, what="one of its processes is at the gate")
        pids = self._waiting()
        assert pids, self.output()
        if pids != [child.pid]:
            rows = RebuildPart.objects.filter(kind=RebuildPart.ROWS, until_key=None)
            until(lambda: rows.exists() and self.unfinished() == 1, what="the others have done the rest")
        return child, pids[0]

    def open_gate(self) -> None:
        self.gate.unlink()

    def _waiting(self) -> list[int]:
        return [int(line.split()[1]) for line in self._lines() if line.startswith("waiting ")]

    def folded(self) -> Counter[str]:
        """How often each wallet, by owner, was folded."""
        return Counter(line.split()[1] for line in self._lines() if line.startswith("folded "))

    def _lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def unfinished(self) -> int:
        return RebuildPart.objects.filter(finished=False).count()

    def output(self) -> str:
        return self._output.read_text()

    def told(self) -> list[dict[str, Any]]:
        """The JSON objects that the last process has printed."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def kill_all(self) -> None:
        for child in self._started:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            finally:
                child.wait()


@pytest.fixture
def scene(child_env: dict[str, str], tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(child_env, tmp_path)
    yield scene
    scene.kill_all()


OWNERS = {"special" if number == SPECIAL else str(number) for number in range(WALLETS)}


def spoil() -> None:
    """Make every row wrong."""
    models.QuerySet(Wallet).update(balance=Decimal(7), owner="nobody")


def is_right() -> bool:
    return set(Wallet.objects.values_list("owner", "balance")) == {(owner, Decimal(1)) for owner in OWNERS}


def is_gone(pid: int) -> bool:
    """Whether a process has ended, even if nobody has taken notice of it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def assert_all_told_once(scene: Scene) -> None:
    *found, summary = scene.told()
    assert Counter(finding["stream_key"] for finding in found) == Counter(
        str(pk) for pk in Wallet.objects.values_list("pk", flat=True)
    )
    assert all(set(finding["fields"]) == {"balance", "owner"} for finding in found)
    assert (summary["aggregates"], summary["events"], summary["drifted"]) == (WALLETS, 2 * WALLETS, WALLETS)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_aggregate_is_gone_through_once(scene: Scene, processes: int) -> None:
    assert scene.start("--check", "--processes", str(processes)).wait(90) == 0
    assert scene.folded() == Counter(OWNERS)
    run = RebuildRun.objects.get()
    assert scene.told() == [
        {
            "model": "samples.Wallet",
            "check": True,
            "aggregates": WALLETS,
            "events": 2 * WALLETS,
            "drifted": 0,
            "left": 0,
            "started_at": run.started_at.isoformat(),
            "resumed": False,
        }
    ]
    assert not RebuildPart.objects.exists()
    assert run.finished_at is not None


@pytest.mark.parametrize("check", [True, False])
def test_what_a_killed_worker_was_at_is_done_by_another(scene: Scene, check: bool) -> None:
    spoil()
    child, worker = scene.start_until_the_gate("--processes", "2", *(["--check"] if check else []))
    assert worker != child.pid
    os.kill(worker, signal.SIGKILL)
    scene.open_gate()
    assert child.wait(90) == check  # a difference that is only found is a failure
    assert "A worker ended with exit code -9; its part is done again." in scene.output()
    assert set(scene.folded()) == OWNERS
    assert_all_told_once(scene)
    assert is_right() is not check
    assert not RebuildFinding.objects.exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_rebuild_that_was_killed_goes_on_where_it_was(scene: Scene, processes: int) -> None:
    options = ["--check", "--processes", str(processes)]
    child, waiting = scene.start_until_the_gate(*options)
    assert (waiting == child.pid) == (processes == 1)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    scene.open_gate()
    before = scene.folded()
    assert scene.unfinished() >= 1
    assert scene.start(*options).wait(90) == 0
    assert "Going on with the rebuild that was begun at" in scene.output()
    after = scene.folded()
    assert set(after) == OWNERS
    again = {owner for owner, count in (after - before).items() if owner in before}
    assert len(again) <= 5, "more than the part that it was at"
    assert "special" in again
    assert scene.told()[-1]["aggregates"] == WALLETS


def test_workers_whose_parent_was_killed_end_and_what_they_had_repaired_is_told(scene: Scene) -> None:
    spoil()
    child, waiting = scene.start_until_the_gate("--processes", "2")
    child.kill()
    child.wait()
    scene.open_gate()
    until(lambda: is_gone(waiting), what="its workers end too")
    assert RebuildFinding.objects.count() == WALLETS
    assert scene.start("--processes", "2").wait(90) == 0
    assert is_right()
    assert_all_told_once(scene)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_it_goes_on_later(scene: Scene, number: signal.Signals, processes: int) -> None:
    spoil()
    child, waiting = scene.start_until_the_gate("--processes", str(processes))
    if number == signal.SIGINT:
        os.killpg(child.pid, number)  # as a terminal does, to every process
    else:
        child.send_signal(number)
    if processes > 1:
        until(lambda: "Stopping" in scene.output(), what="it takes notice")
    scene.open_gate()
    assert child.wait(90) == 128 + number
    assert "Stopped." in scene.output()
    assert "Traceback" not in scene.output()
    assert is_gone(waiting)
    assert scene.start("--processes", str(processes)).wait(90) == 0
    assert is_right()
    assert_all_told_once(scene)


def test_an_error_in_a_worker_is_told_with_its_place(scene: Scene) -> None:
    assert scene.start("--processes", "2", REBUILD_WHAT="fail").wait(90) == 1
    key = Wallet.objects.get(owner="special").pk
    for part in ("Traceback (most recent call last)", "ValueError: no such owner", f"samples.wallet {key}, version 1"):
        assert part in scene.output()
    assert scene.start("--processes", "2").wait(90) == 0, "once it is mended, it goes on"


def test_a_part_that_ends_each_of_its_workers_ends_the_rebuild(scene: Scene) -> None:
    assert scene.start("--processes", "2", REBUILD_WHAT="die").wait(90) == 1
    assert "failed 3 times. Its worker ended with exit code -9." in scene.output()


def test_a_second_rebuild_of_a_model_is_refused_until_the_first_has_ended(scene: Scene) -> None:
    child, waiting = scene.start_until_the_gate("--check", "--processes", "2")
    with pytest.raises(CommandError, match=r"A rebuild of samples\.wallet is under way in another process"):
        call_command("rebuild", "samples.Wallet", stdout=StringIO())
    call_command("rebuild", "samples.Book", stdout=StringIO())
    child.kill()
    child.wait()
    out = StringIO()
    call_command("rebuild", "samples.Wallet", check=True, processes=1, stdout=out, stderr=StringIO())
    assert "0 differ" in out.getvalue()
    scene.open_gate()
    until(lambda: is_gone(waiting), what="its workers end too")


def test_what_no_other_process_could_see_is_rebuilt_in_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert rebuilder._processes(4, check=True) == 1
