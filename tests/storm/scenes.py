"""Directed scenes: ``python -m tests.storm.scenes <scene> <bug> …``, each made to show what a storm may never show.

Plays the scene once with each of the bugs, on the database of the settings, and prints what the checker finds as one
JSON object. With ``no_bug`` that is nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import django

django.setup()

from django.db import connection, connections, transaction  # noqa: E402  they need the apps

from eventsourcing_app.models import SettledPosition, StoredEvent  # noqa: E402
from eventsourcing_app.subscriptions import claim, parking, rounds, worker  # noqa: E402
from eventsourcing_app.subscriptions.definitions import ensure  # noqa: E402
from tests.storm.bugs import BUGS  # noqa: E402
from tests.storm.checker import check  # noqa: E402
from tests.storm.sql import SEQUENCE  # noqa: E402
from tests.storm.world import World  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from eventsourcing_app import RecordedEvent
    from eventsourcing_app.subscriptions.claim import Claim
    from tests.storm.facts import Violation
    from tests.storm.world import Actor, Here


def an_older_append_is_open(world: World) -> None:
    """A worker drains while a transaction is open that has drawn an older position. Nobody drains after it."""
    world.subscribe("outside")

    def write(here: Here) -> None:
        with transaction.atomic():
            world.note()
            here.stop("appended")

    def prepare(here: Here) -> None:
        pause = time.sleep

        def say_and_pause(seconds: float) -> None:
            here.say("waits")  # it has nothing to do but wait
            pause(seconds)

        _patch(time, "sleep", say_and_pause)

    writer = world.actor(write)
    writer.until("appended")
    world.note("another")
    reader = world.worker(prepare)
    reader.until("waits", or_end=True)
    writer.go()
    writer.end()
    reader.end()


def the_log_is_unused(world: World) -> None:
    """A worker drains before the first event of all."""
    assert not StoredEvent.objects.exists()
    SettledPosition.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER SEQUENCE {SEQUENCE} RESTART")
    world.after = 0
    world.subscribe("outside")
    world.worker().end()
    assert world.note() == 1
    world.worker().end()


def a_worker_dies_before_the_effect(world: World) -> None:
    """It is killed in the middle of a batch, and another one takes over."""
    world.subscribe("outside", before=_dies_once(world, at=2))
    for _ in range(4):
        world.note()
    _one_after_the_other(world, 2)


def a_frozen_worker_goes_on(world: World) -> None:
    """It has claimed a segment, is given up, and goes on when another one has done its work."""
    world.subscribe("fold")
    for _ in range(3):
        world.note()

    def prepare(here: Here) -> None:
        _stop_at(here, claim, "hold", "claimed")

    _freeze_and_replace(world, world.worker(prepare), "claimed")


def a_worker_is_slow(world: World) -> None:
    """It is in the middle of an event while another one looks for something to do."""
    slow_ones: list[Here] = []

    def handle_slowly(_recorded: RecordedEvent) -> None:
        if slow_ones:
            slow_ones.pop().stop("handles")

    world.subscribe("outside", before=handle_slowly)
    for _ in range(3):
        world.note()
    slow = world.worker(slow_ones.append)
    slow.until("handles")
    world.worker().end()
    slow.go()
    slow.end()


def an_event_kills(world: World) -> None:
    """Whoever handles it dies; there is always another one."""
    world.note()
    poison = world.note()

    def kill(recorded: RecordedEvent) -> None:
        if recorded.position == poison:
            world.traces.die("storm.outside", recorded.position)

    world.subscribe("outside", before=kill, max_attempts=2)
    world.note("another")
    _one_after_the_other(world, 6)


def a_worker_comes_late_to_a_death(world: World) -> None:
    """It has looked when all was well, and claims what another one has died of since, together with something else."""
    world.subscribe("fold")
    poison = world.note()

    def kill(recorded: RecordedEvent) -> None:
        if recorded.position == poison:
            world.traces.die("storm.outside", recorded.position)

    world.subscribe("outside", before=kill, max_attempts=2)
    _, outside = world.definitions

    def prepare(here: Here) -> None:
        _patch(worker, "TURN_SECONDS", 0)  # its turn is over with the first of the two
        _stop_at(here, claim, "claim", "looked")

    ensure(world.definitions)
    late = world.worker(prepare)
    late.until("looked")
    world.worker(only=[outside]).end()
    world.end_leases()
    late.go()
    late.end()
    world.end_leases()
    _one_after_the_other(world, 4)


def a_worker_dies_between_segments(world: World) -> None:
    """It has come to the end of one segment; the others are left to the next worker."""
    world.subscribe("outside", segments=4)
    for number in range(60):
        world.note(f"stream {number}")

    def prepare(_here: Here) -> None:
        release = claim.release

        def release_and_die(done: Iterable[Claim], *, token: UUID) -> None:
            release(done, token=token)
            os.kill(os.getpid(), signal.SIGKILL)

        _patch(rounds, "TOGETHER", 1)
        _patch(claim, "release", release_and_die)

    world.worker(prepare).end()
    world.end_leases()
    world.worker().end()


def a_worker_is_frozen_in_a_failure(world: World) -> None:
    """Its handler has failed, and before it can say so, another one has handled the same event."""
    failing: list[Here] = []

    def fail(_recorded: RecordedEvent) -> None:
        if failing:
            raise RuntimeError("only here")

    world.subscribe("fold", before=fail)
    for _ in range(3):
        world.note()

    def prepare(here: Here) -> None:
        failing.append(here)
        _stop_at(here, parking, "judge", "failed")

    _freeze_and_replace(world, world.worker(prepare), "failed")


SCENES: dict[str, Callable[[World], None]] = {
    scene.__name__: scene
    for scene in (
        *(an_older_append_is_open, the_log_is_unused, a_worker_dies_before_the_effect, a_frozen_worker_goes_on),
        *(
            a_worker_is_slow,
            an_event_kills,
            a_worker_comes_late_to_a_death,
            a_worker_dies_between_segments,
            a_worker_is_frozen_in_a_failure,
        ),
    )
}


def _freeze_and_replace(world: World, frozen: Actor, where: str) -> None:
    """Freeze a worker as a whole, so that it gives no sign of life either; it goes on when another one is through."""
    frozen.until(where)
    frozen.freeze()
    world.end_leases()
    world.worker().end()
    frozen.thaw()
    frozen.go()
    frozen.end()
    world.worker().end()


def _one_after_the_other(world: World, workers: int) -> None:
    for _ in range(workers):
        world.worker().end()
        world.end_leases()


def _dies_once(world: World, *, at: int) -> Callable[[RecordedEvent], None]:
    """Kill the process at the event of that number, the first time."""
    seen: list[int] = []

    def die(recorded: RecordedEvent) -> None:
        seen.append(recorded.position)
        died = world.folder / "died"
        if len(seen) == at and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _stop_at(here: Here, module: object, name: str, what: str) -> None:
    """Stop at the next call of a function of the library, before it does anything."""
    function = getattr(module, name)

    def stop_first(*args: Any, **kwargs: Any) -> Any:
        _patch(module, name, function)
        here.stop(what)
        return function(*args, **kwargs)

    _patch(module, name, stop_first)


def _patch(module: object, name: str, value: object) -> None:
    setattr(module, name, value)


def play(scene: str, bug: str) -> list[Violation]:
    """Play a scene whose processes have a bug, and let the checker judge."""
    world = World(BUGS[bug])
    try:
        SCENES[scene](world)
        return check(world.facts())
    finally:
        shutil.rmtree(world.folder, ignore_errors=True)
        connections.close_all()


def main(scene: str, *bugs: str) -> None:
    print(json.dumps({bug: [str(violation) for violation in play(scene, bug)] for bug in bugs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
