"""The checker of the storm judges by plain data: it finds nothing in a sound history, and each promise that is broken.

What bugs of the library leave behind, it finds in ``test_storm_bugs``.
"""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.storm.checker import check, fold, sequence_of
from tests.storm.facts import Facts, Observation, Operation, Parked, Row, Watched

ACCOUNT = "bank.account"
MOVED = frozenset({"bank.moved"})
DEAD = 11
"""The position of an event that is dead; the next one of its stream waits behind it."""


def row(position: int, key: str, version: int | None, reference: str, amount: int = 0, causation: int = 0) -> Row:
    stream, type_ = (ACCOUNT, "bank.moved") if version else ("noted", "noted")
    if causation:
        stream = type_ = "echoed"
    cause = event_id(causation) if causation else ""
    return Row(position, event_id(position), stream, key, version, type_, reference, cause, amount)


def event_id(position: int) -> str:
    return str(UUID(int=position))


def sound() -> Facts:
    """Two accounts that pay each other, notes of which one is dead, and subscriptions that have come to rest."""
    log = [
        row(1, "a", 1, "opened", 100),
        row(2, "b", 1, "opened", 100),
        row(4, "a", 2, "pay 1", -30),
        row(5, "b", 2, "pay 1", 30),
        row(6, "a", 3, "pay 2", -10),
        row(7, "b", 3, "pay 2", 10),
        row(10, "one", None, "note 1"),
        row(DEAD, "two", None, "note 2"),
        row(12, "two", None, "note 2"),
        row(13, "one", None, "", causation=10),
    ]
    moved = [each for each in log if each.type in MOVED]
    folds: dict[str, str] = {}
    for each in moved:
        stream = f"{each.stream_type} {each.stream_key}"
        folds[stream] = fold(folds.get(stream, ""), each.event_id, each.amount)
    segment = int(sequence_of(log[7])[:16], 16) % 2
    echo = Watched(
        name="echo",
        types=frozenset({"noted"}),
        once=False,
        checkpoints={0: 13, 1: 13},
        parked=[Parked(segment, DEAD, "dead", 8), Parked(segment, 12, "behind", 0)],
        parked_counts={segment: 2, 1 - segment: 0},
        delivered=[10, 10],
        deaths=[DEAD] * 9,
        publishes="echoed",
    )
    return Facts(
        log=log,
        watched=[
            Watched(name="outside", types=MOVED, once=False, checkpoints={0: 13}, delivered=[1, 2, 1, 2, 4, 5, 6, 7]),
            Watched(name="journal", types=MOVED, once=True, checkpoints={0: 13}, delivered=[2, 1, 4, 6, 5, 7]),
            Watched(name="sums", types=MOVED, once=True, checkpoints={0: 13, 1: 13}, folds=folds),
            echo,
        ],
        operations=[
            Operation("opened", 2, "ok"),
            Operation("pay 1", 2, "ok", 5),
            Operation("pay 2", 2, "unknown"),
            Operation("pay 3", 2, "unknown"),
            Operation("pay 4", 2, "refused"),
            Operation("note 1", 1, "ok", 10),
            Operation("note 2", 2, "ok", 12),
        ],
        observations=[Observation(2, 200)] * 3,
        expected=Observation(2, 200),
        balances={"a": (3, 60), "b": (3, 140)},
        account_type=ACCOUNT,
    )


def rules_broken(facts: Facts) -> set[str]:
    return {violation.rule for violation in check(facts)}


def test_nothing_is_found_in_a_sound_history() -> None:
    assert check(sound()) == []


def without(facts: Facts, position: int) -> None:
    facts.log[:] = [each for each in facts.log if each.position != position]


def watched(facts: Facts, name: str) -> Watched:
    return next(each for each in facts.watched if each.name == name)


def delivered(facts: Facts, name: str) -> list[int]:
    found = watched(facts, name).delivered
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("operation", "rule"),
    [
        (Operation("pay 2", 3, "ok"), "acknowledged is durable"),
        (Operation("pay 2", 2, "ok", 6), "acknowledged is durable"),
        (Operation("pay 9", 2, "ok"), "acknowledged is durable"),
        (Operation("pay 2", 2, "refused"), "all or nothing"),
        (Operation("pay 2", 3, "unknown"), "all or nothing"),
    ],
)
def test_a_writer_must_not_be_told_otherwise_than_it_is(operation: Operation, rule: str) -> None:
    facts = sound()
    facts.operations = [each for each in facts.operations if each.id != operation.id] + [operation]
    assert rules_broken(facts) == {rule}


def test_nothing_is_written_that_nobody_set_out_to_do() -> None:
    facts = sound()
    facts.operations = [each for each in facts.operations if each.id != "pay 2"]
    assert rules_broken(facts) == {"all or nothing"}


def test_a_version_must_not_be_missing() -> None:
    facts = sound()
    without(facts, 4)
    assert "versions 1..n" in rules_broken(facts)


def test_a_version_must_not_come_twice() -> None:
    facts = sound()
    facts.log.insert(3, row(4, "a", 1, "pay 1", -30))
    assert "versions 1..n" in rules_broken(facts)


def test_the_state_must_be_the_fold_of_the_events() -> None:
    facts = sound()
    facts.balances["a"] = (3, 61)
    assert rules_broken(facts) == {"state is the fold"}


def test_a_reader_must_not_see_half_a_transfer() -> None:
    facts = sound()
    facts.observations.append(Observation(2, 170))
    assert rules_broken(facts) == {"money is conserved"}


def test_no_process_may_end_by_itself() -> None:
    facts = sound()
    facts.broken.append("a worker ended with status 256")
    assert rules_broken(facts) == {"nothing breaks"}


def test_an_event_must_not_be_lost() -> None:
    facts = sound()
    delivered(facts, "outside").remove(7)
    assert rules_broken(facts) == {"every event is delivered"}


def test_a_pending_event_is_not_lost_unless_all_is_at_rest() -> None:
    facts = sound()
    delivered(facts, "outside").remove(7)
    watched(facts, "outside").checkpoints[0] = 6
    facts.at_rest = False
    assert rules_broken(facts) == set()
    facts.at_rest = True
    assert rules_broken(facts) == {"every event is delivered"}


def test_a_stream_must_arrive_in_order() -> None:
    facts = sound()
    watched(facts, "outside").delivered = [1, 2, 6, 4, 6, 5, 7]
    assert rules_broken(facts) == {"each stream arrives in order"}


def test_an_event_must_not_overtake_one_of_its_stream_that_is_parked() -> None:
    facts = sound()
    watched(facts, "echo").parked.pop()
    watched(facts, "echo").parked_counts = {}
    delivered(facts, "echo").append(12)
    assert "each stream arrives in order" in rules_broken(facts)


def test_nothing_may_be_delivered_that_is_not_in_the_log() -> None:
    facts = sound()
    delivered(facts, "outside").append(99)
    assert rules_broken(facts) == {"only what matches is delivered"}


def test_an_event_must_not_be_parked_in_another_segment() -> None:
    facts = sound()
    echo = watched(facts, "echo")
    echo.parked = [each._replace(segment=1 - each.segment) for each in echo.parked]
    echo.parked_counts = {}
    assert rules_broken(facts) == {"only what matches is delivered"}


def test_an_effect_in_this_database_must_not_be_there_twice() -> None:
    facts = sound()
    delivered(facts, "journal").append(7)
    assert rules_broken(facts) == {"effects here exactly once"}


def test_an_effect_in_this_database_must_not_be_ahead_of_its_checkpoint() -> None:
    facts = sound()
    watched(facts, "journal").checkpoints[0] = 6
    facts.at_rest = False
    assert rules_broken(facts) == {"effects here exactly once"}


@pytest.mark.parametrize("folded", ["", "3 60 0", None])
def test_a_projection_must_be_the_fold_of_its_events(folded: str | None) -> None:
    facts = sound()
    folds = watched(facts, "sums").folds
    assert folds is not None
    if folded is None:
        del folds["bank.account a"]
    else:
        folds["bank.account a"] = folded
    assert rules_broken(facts) == {"projection is the fold"}


@pytest.mark.parametrize(
    ("states", "rule"),
    [
        (("behind", "behind"), "parked streams have one head"),
        (("dead", "failed"), "parked streams have one head"),
        (("failed", "behind"), "every event is delivered"),
    ],
)
def test_of_a_parked_stream_the_first_has_failed_and_the_others_wait(states: tuple[str, str], rule: str) -> None:
    facts = sound()
    echo = watched(facts, "echo")
    echo.parked = [each._replace(state=state) for each, state in zip(echo.parked, states, strict=True)]
    assert rule in rules_broken(facts)


def test_the_number_of_parked_events_must_be_right() -> None:
    facts = sound()
    watched(facts, "echo").parked_counts = {0: 7}
    assert rules_broken(facts) == {"parked streams have one head"}


def test_an_event_must_not_be_dead_before_its_attempts_are_used_up() -> None:
    facts = sound()
    echo = watched(facts, "echo")
    echo.parked[0] = echo.parked[0]._replace(attempts=7)
    assert rules_broken(facts) == {"dead after its attempts"}


def test_an_event_must_not_kill_more_often_than_it_has_attempts() -> None:
    facts = sound()
    watched(facts, "echo").deaths.append(DEAD)
    assert rules_broken(facts) == {"poison is isolated"}


@pytest.mark.parametrize("times", [0, 2])
def test_a_subscriber_must_publish_once_for_each_event(times: int) -> None:
    facts = sound()
    echoed = facts.log.pop()
    facts.log += [echoed._replace(position=13 + number, event_id=event_id(13 + number)) for number in range(times)]
    watched(facts, "echo").checkpoints = {0: 20, 1: 20}
    assert rules_broken(facts) == {"reactions happen once"}
