"""A command that is told to stop ends in order: its exit code says whether it has left work, and it may run again."""

from __future__ import annotations

import importlib
import signal
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.core.management import CommandError, call_command

from eventsourcing_app import RecordedEvent, subscriber
from eventsourcing_app.management.stopping import stoppable
from tests.reactions_sample.scene import no_subscriptions
from tests.samples.events import WalletOpened
from tests.samples.factories import elsewhere, failing, open_wallet
from tests.test_adopt import put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True)


class Told(NamedTuple):
    """A command, and the function that does its work."""

    name: str
    arguments: tuple[str, ...]
    work: str

    def run(self) -> None:
        call_command(self.name, *self.arguments, stdout=StringIO(), stderr=StringIO())


COMMANDS = (
    Told("adopt", ("samples.Article",), "adopt"),
    Told("expire_receipts", ("--days", "30"), "expire_receipts"),
    Told("run_subscriptions", ("--once",), "drain"),
    Told("rebuild", ("samples.Wallet", "--processes", "1"), "run_rebuild"),
    Told("rebuild", ("samples.Wallet", "--sample", "100%"), "check_sample"),
)
each_command = pytest.mark.parametrize("told", COMMANDS, ids=lambda told: " ".join((told.name, *told.arguments)))


@pytest.fixture(autouse=True)
def work() -> Iterator[None]:
    """Let each of them have something to do."""
    put(1)
    with no_subscriptions():

        @subscriber("t.told", WalletOpened)
        def hear(event: WalletOpened, recorded: RecordedEvent) -> None: ...

        open_wallet()
        yield


@each_command
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_exits_as_what_a_signal_has_ended_if_it_has_left_work(
    told: Told, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as patch:
        wrap(patch, told, before=lambda: signal.raise_signal(number))
        with pytest.raises(CommandError, match=r"Stopped.* [Rr]un it again to go on\.") as stopped:
            told.run()
    assert stopped.value.returncode == 128 + number
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == listeners
    told.run()


@pytest.mark.parametrize("told", COMMANDS[:-1], ids=lambda told: told.name)
def test_it_ends_well_if_all_was_done_when_it_was_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    wrap(monkeypatch, told, after=lambda: signal.raise_signal(signal.SIGTERM))
    told.run()


@each_command
def test_it_runs_in_a_thread_too_where_nobody_can_listen_to_signals(told: Told) -> None:
    elsewhere(told.run)


def test_whoever_listened_before_listens_again_whatever_happens() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with failing(ZeroDivisionError), stoppable() as stop:
        assert signal.getsignal(signal.SIGTERM) == stop.note
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def wrap(
    patch: pytest.MonkeyPatch,
    told: Told,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Let something happen just before or after the work of the command."""
    module = importlib.import_module(f"eventsourcing_app.management.commands.{told.name}")
    real: Callable[..., Any] = getattr(module, told.work)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before()
        done = real(*args, **kwargs)
        after()
        return done

    patch.setattr(module, told.work, wrapped)
