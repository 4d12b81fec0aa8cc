"""The runner's worker processes may die, hang or be left alone: others go on, at once, and nothing is lost."""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventsourcing_app.models import ParkedEvent, Segment
from tests.reactions_sample.scene import Children, no_subscriptions, total, until, wallet
from tests.samples.models import Wallet

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)

LONG = {"REACTIONS_LEASE": 3600}


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    children = Children(child_env, tmp_path / "journal")
    with no_subscriptions():
        yield children
    children.kill_all()


def runner(children: Children, workers: int = 1, **env: object) -> subprocess.Popen[bytes]:
    return children.start("manage.py", "run_subscriptions", "--skip-checks", "--workers", str(workers), **LONG, **env)


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(each) for each in found.split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="it looks into /proc, which only Linux has")
class TestOnLinux:
    def test_a_worker_that_is_killed_is_replaced_and_its_claims_are_taken_over_at_once(
        self, children: Children
    ) -> None:
        running = runner(children, 2, REACTIONS_KILL="subscriber 4", REACTIONS_KILLS=2)
        opened = wallet(adds=4)
        until(lambda: 5 in children.versions(0, opened), what="what comes after the one that kills is delivered")
        until(lambda: total(f"0 {opened.pk}") == (4, Decimal(4)), what="the projection has all of it")
        assert sorted(set(children.versions(0, opened))) == [2, 3, 4, 5]
        until(lambda: len(workers_of(running)) == 2, what="both are there again")
        running.terminate()
        assert running.wait(20) == 0

    @pytest.mark.parametrize("hang", ["python", "c"])
    def test_a_handler_that_never_returns_is_ended_and_its_event_dead_while_others_go_on(
        self, children: Children, hang: str
    ) -> None:
        running = runner(children, REACTIONS_HANG=f"{hang} 3", REACTIONS_HANDLER_SECONDS=1.5, REACTIONS_ATTEMPTS=2)
        opened, other = wallet(adds=3), wallet(adds=1)
        until(
            lambda: ParkedEvent.objects.filter(state="dead").exists(),
            seconds=60,
            what="the event that hangs is dead",
        )
        until(lambda: children.versions(0, other) == [2], what="other streams go on")
        until(lambda: total(f"0 {opened.pk}") == (3, Decimal(3)), what="other subscriptions go on")
        dead = ParkedEvent.objects.get(state="dead")
        assert (dead.stream_key, dead.attempts) == (str(opened.pk), 2)
        assert "died" in dead.reason
        running.terminate()
        assert running.wait(20) == 0

    def test_workers_end_when_the_process_that_watches_them_is_gone(self, children: Children) -> None:
        running = runner(children, 3)
        until(lambda: len(workers_of(running)) == 3, what="they have begun")
        pids = workers_of(running)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        until(lambda: all(map(is_gone, pids)), what="they have ended")

    def test_told_to_end_it_leaves_no_worker_and_no_claim_behind(self, children: Children) -> None:
        running = runner(children, 3)
        opened = wallet(adds=3)
        until(lambda: children.versions(0, opened) == [2, 3, 4], what="they work")
        pids = workers_of(running)
        Wallet.objects.perform(opened.pk, Wallet.add, Decimal(1))
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
        assert all(map(is_gone, pids))
        assert not Segment.objects.filter(token__isnull=False).exists()
