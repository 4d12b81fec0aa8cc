"""The offline checker: a pure function over what a storm left behind, which returns every promise that was broken.

It shares no code with the library. In particular it computes by itself in which segment a stream belongs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from tests.storm.facts import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.storm.facts import Facts, Row, Watched


def check(facts: Facts) -> list[Violation]:
    """Judge everything."""
    found = [violation for rule in RULES for violation in rule(facts)]
    for watched in facts.watched:
        case = Case(facts, watched)
        found += [violation for rule in RULES_OF_ONE for violation in rule(case)]
    return found


def sequence_of(row: Row) -> str:
    """What must be handled in order: a stream, or the facts with one key; one without a key stands for itself."""
    if row.version is None:
        return sha256(f"\0{row.stream_key}".encode() if row.stream_key else UUID(row.event_id).bytes).hexdigest()
    return sha256(f"{row.stream_type}\0{row.stream_key}".encode()).hexdigest()


def fold(before: str, event_id: str, amount: int) -> str:
    """The read model of the storm, as text: number of events, their sum, and a chain of hashes that tells the order."""
    events, total, digest = before.split() if before else ("0", "0", "")
    chained = sha256(f"{digest}{event_id}".encode()).hexdigest()
    return f"{int(events) + 1} {int(total) + amount} {chained}"


# What was written


def acknowledged_is_durable(facts: Facts) -> Iterator[Violation]:
    """An operation that was confirmed is stored, whole, and where it was said to be."""
    at = _by_reference(facts)
    for operation in facts.operations:
        positions = at.get(operation.id, [])
        if operation.outcome != "ok":
            continue
        if len(positions) != operation.events:
            yield Violation(
                "acknowledged is durable",
                f"{operation.id} was confirmed with {operation.events} events; stored are {positions}",
            )
        elif operation.position is not None and operation.position != positions[-1]:
            yield Violation(
                "acknowledged is durable",
                f"{operation.id} was confirmed at #{operation.position}; its last event is #{positions[-1]}",
            )


def all_or_nothing(facts: Facts) -> Iterator[Violation]:
    """What was refused left nothing, what is unknown left nothing or everything, and nothing else was written."""
    at, known = _by_reference(facts), {operation.id for operation in facts.operations}
    for operation in facts.operations:
        positions = at.get(operation.id, [])
        allowed = {"ok": {operation.events}, "refused": {0}, "unknown": {0, operation.events}}[operation.outcome]
        if operation.outcome != "ok" and len(positions) not in allowed:
            yield Violation("all or nothing", f"{operation.id} ({operation.outcome}) left {positions}")
    for reference in sorted(set(at) - known):
        yield Violation("all or nothing", f"nobody set out to do {reference}, but it left {at[reference]}")


def versions_have_no_gap(facts: Facts) -> Iterator[Violation]:
    """Versions 1..n, in the order of positions."""
    last: dict[tuple[str, str], int] = {}
    for row in facts.log:
        if row.version is None:
            continue
        stream = row.stream_type, row.stream_key
        if row.version != last.get(stream, 0) + 1:
            yield Violation("versions 1..n", f"{row} follows version {last.get(stream, 0)}")
        last[stream] = row.version


def state_is_the_fold(facts: Facts) -> Iterator[Violation]:
    """An account's row is what its events make of it."""
    folded: dict[str, tuple[int, int]] = {}
    for row in facts.log:
        if row.stream_type == facts.account_type:
            _, balance = folded.get(row.stream_key, (0, 0))
            folded[row.stream_key] = row.version or 0, balance + row.amount
    for key in sorted(folded.keys() | facts.balances.keys()):
        if folded.get(key) != facts.balances.get(key):
            yield Violation(
                "state is the fold",
                f"account {key} has (version, balance) {facts.balances.get(key)}; its events give {folded.get(key)}",
            )


def money_is_conserved(facts: Facts) -> Iterator[Violation]:
    """Whoever looked saw all accounts and all the money."""
    for observation, times in Counter(facts.observations).items():
        if observation != facts.expected:
            yield Violation("money is conserved", f"{observation} was seen {times} times; expected {facts.expected}")


def nothing_broke(facts: Facts) -> Iterator[Violation]:
    """Processes end because they are told to or killed, and operations as they may."""
    for what in facts.broken:
        yield Violation("nothing breaks", what)


# What was delivered


class Case:
    """One subscription, and the events that are its own."""

    def __init__(self, facts: Facts, watched: Watched) -> None:
        self.watched, self.at_rest = watched, facts.at_rest
        self.rows = [row for row in facts.log if row.type in watched.types and row.position > watched.started_after]
        self.by_position = {row.position: row for row in self.rows}
        self.log = facts.log
        self.parked = {parked.position for parked in watched.parked}
        self.pending = {row.position for row in self.rows if row.position > watched.checkpoints[self.segment_of(row)]}
        self.sequences = {row.position: sequence_of(row) for row in self.rows}

    def segment_of(self, row: Row) -> int:
        """In which segment an event belongs, out of so many as there are."""
        return int(sequence_of(row)[:16], 16) % len(self.watched.checkpoints)

    def done(self) -> list[Row]:
        """The events that must have been handled, going by checkpoints and by what is parked."""
        return [row for row in self.rows if row.position not in self.parked and row.position not in self.pending]

    def violation(self, rule: str, what: str) -> Violation:
        return Violation(rule, f"{self.watched.name}: {what}")


def nothing_is_lost(case: Case) -> Iterator[Violation]:
    """Done, parked and pending are all."""
    delivered = case.watched.delivered
    handled = None if delivered is None else set(delivered)
    for row in case.rows:
        parked, pending = row.position in case.parked, row.position in case.pending
        if parked and pending:
            yield case.violation("parked, done and pending are all", f"{row} is parked beyond its checkpoint")
        if handled is not None and row.position not in handled and not parked and not pending:
            yield case.violation("every event is delivered", f"{row} never was: it is neither parked nor pending")
        if pending and case.at_rest:
            yield case.violation("every event is delivered", f"{row} is still pending, and nobody is at it")


def nothing_is_made_up(case: Case) -> Iterator[Violation]:
    """Only events that match are delivered or parked, each by its own segment."""
    for position in sorted(set(case.watched.delivered or ()) - case.by_position.keys()):
        yield case.violation("only what matches is delivered", f"#{position} is not in the log, or not for it")
    for parked in case.watched.parked:
        row = case.by_position.get(parked.position)
        if row is None or case.segment_of(row) != parked.segment:
            yield case.violation("only what matches is delivered", f"{parked} is parked where it does not belong")


def streams_are_in_order(case: Case) -> Iterator[Violation]:
    """The first time that each event arrives, all of its stream before it have arrived."""
    if case.watched.delivered is None:
        return
    length: dict[str, int] = defaultdict(int)
    number: dict[int, int] = {}
    for row in case.rows:
        sequence = case.sequences[row.position]
        number[row.position] = length[sequence]
        length[sequence] += 1
    came: dict[str, int] = defaultdict(int)
    seen: set[int] = set()
    for position in case.watched.delivered:
        if position not in number or position in seen:
            continue
        seen.add(position)
        sequence = case.sequences[position]
        if number[position] != came[sequence]:
            yield case.violation(
                "each stream arrives in order",
                f"{case.by_position[position]} arrived as number {number[position]} of those that match, when number "
                f"{came[sequence]} was due",
            )
        came[sequence] = max(came[sequence], number[position] + 1)


def effects_are_there_once(case: Case) -> Iterator[Violation]:
    """In this database each event has its effect exactly once, and none before its checkpoint has passed it."""
    if not case.watched.once:
        return
    for position, times in Counter(case.watched.delivered or ()).items():
        if times > 1:
            yield case.violation("effects here exactly once", f"{case.by_position.get(position)} has {times} effects")
        if position in case.parked or position in case.pending:
            state = "parked" if position in case.parked else "pending"
            yield case.violation("effects here exactly once", f"#{position} has its effect, but is {state}")


def projection_is_the_fold(case: Case) -> Iterator[Violation]:
    """The read model is, to the byte, the fold of the log up to the checkpoints, without what is parked."""
    if case.watched.folds is None:
        return
    folded: dict[str, str] = {}
    for row in case.done():
        stream = f"{row.stream_type} {row.stream_key}"
        folded[stream] = fold(folded.get(stream, ""), row.event_id, row.amount)
    for stream in sorted(folded.keys() | case.watched.folds.keys()):
        have, want = case.watched.folds.get(stream), folded.get(stream)
        if have != want:
            yield case.violation("projection is the fold", f"{stream} is {have}; its events give {want}")


def parked_streams_have_one_head(case: Case) -> Iterator[Violation]:
    """Of each stream the first parked event is the one that failed, and the others wait behind it."""
    heads: set[str] = set()
    for parked in sorted(case.watched.parked, key=lambda each: each.position):
        sequence = case.sequences.get(parked.position, "")
        if (parked.state == "behind") != (sequence in heads):
            yield case.violation("parked streams have one head", f"{parked} is not in its place")
        heads.add(sequence)
        if parked.state == "dead" and parked.attempts < case.watched.max_attempts:
            yield case.violation("dead after its attempts", f"{parked} had {case.watched.max_attempts} attempts to go")
        if parked.state == "failed" and case.at_rest:
            yield case.violation("every event is delivered", f"{parked} is to be tried again, and nobody does")
    counts = Counter(parked.segment for parked in case.watched.parked)
    for segment, count in case.watched.parked_counts.items():
        if counts[segment] != count:
            yield case.violation(
                "parked streams have one head",
                f"segment {segment} says that {count} events are parked; there are {counts[segment]}",
            )


def poison_is_isolated(case: Case) -> Iterator[Violation]:
    """An event that kills its process does so no more often than it has attempts, and once in a batch."""
    for position, deaths in Counter(case.watched.deaths).items():
        if deaths > case.watched.max_attempts + 1:
            row = case.by_position.get(position)
            yield case.violation("poison is isolated", f"{row} has killed its process {deaths} times")


def reactions_happen_once(case: Case) -> Iterator[Violation]:
    """What a subscriber publishes is there once for each event that it handled."""
    if not case.watched.publishes:
        return
    made = Counter(row.causation for row in case.log if row.type == case.watched.publishes)
    done = {row.event_id for row in case.done()}
    for row in case.rows:
        if made[row.event_id] > 1 or (row.event_id in done and not made[row.event_id]):
            yield case.violation("reactions happen once", f"to {row} it published {made[row.event_id]} events")


RULES: tuple[Callable[[Facts], Iterable[Violation]], ...] = (
    *(acknowledged_is_durable, all_or_nothing, versions_have_no_gap, state_is_the_fold, money_is_conserved),
    nothing_broke,
)
RULES_OF_ONE: tuple[Callable[[Case], Iterable[Violation]], ...] = (
    *(nothing_is_lost, nothing_is_made_up, streams_are_in_order, effects_are_there_once, projection_is_the_fold),
    *(parked_streams_have_one_head, poison_is_isolated, reactions_happen_once),
)


def _by_reference(facts: Facts) -> dict[str, list[int]]:
    at: dict[str, list[int]] = defaultdict(list)
    for row in facts.log:
        if row.reference:
            at[row.reference].append(row.position)
    return at
