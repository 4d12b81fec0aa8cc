"""A flow with a key acts once and answers each repetition with what it returned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app import CommandRejected, context, flow
from eventsourcing_app.aggregates import flow as flows
from eventsourcing_app.checks.flows import check_flows
from eventsourcing_app.exceptions import IdempotencyError, KeyInFlight, KeyRefused, KeyReused
from eventsourcing_app.identifiers import uuid7
from eventsourcing_app.models import Receipt, StoredEvent, StoredReceipt
from tests.reactions_sample.scene import rolled_back
from tests.samples.events import Line
from tests.samples.factories import WAIT, begin_counter, beside, held_elsewhere, list_book, open_wallet, types
from tests.samples.models import Book, Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta as delta

pytestmark = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

ONE = Decimal(1)


@flow("repeated.move", backoff=lambda _attempt: 0)
def move(source: UUID, to: UUID, amount: Decimal = ONE) -> Decimal:
    """Return what is left."""
    left = Wallet.objects.perform(source, Wallet.take, amount=amount)
    Wallet.objects.perform(to, Wallet.add, amount=amount)
    return Wallet.objects.get(pk=left.pk).balance


@flow("repeated.add")
def add(to: UUID) -> None:
    Wallet.objects.perform(to, Wallet.add, ONE)


@pytest.fixture
def own_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flow is declared but those of the test."""
    monkeypatch.setattr(flows, "_declared", {})


def balances(*wallets: Wallet) -> list[Decimal]:
    return [Wallet.objects.get(pk=each.pk).balance for each in wallets]


# With a key


def test_the_same_key_is_answered_with_the_same_value_and_acts_once() -> None:
    source, to = open_wallet("a", 5), open_wallet("b")
    assert [move.once("k")(source.pk, to.pk), move.once("k")(to=to.pk, source=source.pk)] == [4, 4]
    assert balances(source, to) == [4, 1]
    move(source.pk, to.pk)
    first, second = move.once("l").receipt(source.pk, to.pk), move.once("l").receipt(source.pk, to.pk, ONE)
    assert first.value == second.value == 2
    assert (first.replayed, second.replayed) == (False, True)
    assert first.position == second.position == StoredEvent.objects.latest("position").position
    assert StoredReceipt.objects.count() == 2


def test_another_request_with_the_same_key_is_an_error() -> None:
    source, to = open_wallet("a", 5), open_wallet("b")
    move.once("k")(source.pk, to.pk)
    for other in ((source.pk, to.pk, Decimal(2)), (to.pk, source.pk, ONE)):
        with pytest.raises(KeyReused, match="'k'"):
            move.once("k")(*other)
    with pytest.raises(KeyRefused):
        move.once("")(source.pk, to.pk)
    assert balances(source, to) == [4, 1]


def test_another_actor_or_flow_is_another_scope_and_so_is_a_command_of_that_name() -> None:
    @flow("samples.wallet.open")
    def open_(owner: str) -> int:
        return 1

    source, to = open_wallet("a", 5), open_wallet("b")
    for actor in ("user:1", "user:2"):
        with context(actor=actor):
            assert not move.once("k").receipt(source.pk, to.pk).replayed
            assert not add.once("k").receipt(to.pk).replayed
            assert not Wallet.objects.once("k").perform_new(Wallet.open, owner="Ada").replayed
            assert open_.once("k")("Ada") == 1
            assert add.once("k").receipt(to.pk).replayed
    assert balances(source, to) == [3, 4]


def test_a_refusal_or_a_rollback_leaves_no_receipt_and_is_decided_again() -> None:
    source, to = open_wallet("a"), open_wallet("b")
    with pytest.raises(CommandRejected):
        move.once("k")(source.pk, to.pk)
    Wallet.objects.perform(source.pk, Wallet.add, Decimal(5))
    with rolled_back():
        assert move.once("k")(source.pk, to.pk) == 4
    assert not StoredReceipt.objects.exists()
    assert not move.once("k").receipt(source.pk, to.pk).replayed
    assert move.once("k").receipt(source.pk, to.pk).replayed
    assert balances(source, to) == [4, 1]


def test_a_race_that_it_loses_is_run_again_under_the_same_key() -> None:
    one, runs = open_wallet(), []

    @flow("repeated.loses", backoff=lambda _attempt: 0)
    def loses() -> int:
        runs.append(1)
        loaded = Wallet.objects.get(pk=one.pk)
        if len(runs) < 3:
            Wallet.objects.perform(one.pk, Wallet.add, ONE)
        loaded.add(Decimal(5))
        loaded.save()
        return len(runs)

    assert [loses.once("k")(), loses.once("k")()] == [3, 3]
    assert balances(one) == [5]


@pytest.mark.needs_postgres
@committing
def test_while_the_first_request_runs_the_second_is_told_so_at_once() -> None:
    one = open_wallet()
    with held_elsewhere(lambda: add.once("k")(one.pk)):
        with pytest.raises(KeyInFlight, match="'k'"):
            add.once("k")(one.pk)
        with context(actor="user:1"):
            assert not move.once("k").receipt(open_wallet("a", 1).pk, open_wallet("b").pk).replayed
    assert add.once("k").receipt(one.pk).replayed
    assert balances(one) == [1]


@pytest.mark.needs_sqlite
@committing
def test_while_the_first_request_runs_the_second_waits_and_replays() -> None:
    one = open_wallet()

    def again() -> bool:
        return add.once("k").receipt(one.pk).replayed

    with held_elsewhere(lambda: add.once("k")(one.pk)) as go_on, beside(again) as (waiting,):
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        go_on.set()
        assert waiting.result(WAIT)
    assert balances(one) == [1]


def test_a_request_that_comes_again_inside_itself_is_in_flight() -> None:
    one = open_wallet()

    @flow("repeated.itself")
    def itself(depth: int) -> None:
        add(one.pk)
        runs.append(depth)
        if len(runs) < 3:
            itself.once("k")(depth)

    runs: list[int] = []
    with pytest.raises(KeyInFlight):
        itself.once("k")(1)
    assert balances(one) == [0]
    assert not StoredReceipt.objects.exists()


# What it returns


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Summary:
    total: Decimal
    lines: list[Line]
    receipt: Receipt | None = None


VALUES: list[Any] = [
    (None, None),
    (int, 7),
    (float, 0.1),
    (float, 1e300),
    (str, "é\n"),
    (Decimal, Decimal("1.50")),
    (UUID | None, UUID(int=7)),
    (UUID | None, None),
    (date, date(2026, 1, 2)),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
    (list[tuple[int, str]], [(1, "a")]),
    (dict[str, Decimal], {"a": ONE, "b": Decimal("2.0")}),
    (set[int], {3, 1}),
    (Colour, Colour.RED),
    (Literal["yes", "no"], "no"),
    (bool, False),
    (Summary, Summary(ONE, [Line("a", Decimal("1.00"), [0.5])])),
]


def returning(annotation: Any, value: Callable[[], Any]) -> Any:
    def act() -> Any:
        return value()

    act.__annotations__["return"] = annotation
    return flow("repeated.returning")(act)


@pytest.mark.parametrize(("annotation", "value"), VALUES)
def test_what_it_returns_is_given_back_as_it_was(annotation: Any, value: Any) -> None:
    act = returning(annotation, lambda: value)
    for _ in range(2):
        again = act.once("k")()
        assert (again, type(again), repr(again)) == (value, type(value), repr(value))
    assert StoredReceipt.objects.count() == 1


def test_receipts_are_given_back_with_their_keys_as_the_models_have_them() -> None:
    one, counter, book = open_wallet(), begin_counter(), list_book()
    commands: list[Callable[[], Receipt]] = [
        lambda: Wallet.objects.perform(one.pk, Wallet.add, ONE),
        lambda: Counter.objects.perform(counter.pk, Counter.count),
        lambda: Book.objects.perform(book.pk, Book.rename, title="Persuasion"),
        lambda: Receipt(pk=2**60, position=1, version=1),
        lambda: Counter.objects.perform_new(Counter.begin_if, wanted=False),
    ]
    for number, command in enumerate(commands):
        act = returning(list[Receipt], lambda command=command: [command()])  # type: ignore[misc]
        first, second = act.once(f"k{number}").receipt(), act.once(f"k{number}").receipt()
        assert first.value == second.value
        assert type(first.value[0].pk) is type(second.value[0].pk)
        assert (first.replayed, second.replayed) == (False, True)
    nested = returning(Summary, lambda: Summary(ONE, [], commands[0]()))
    assert nested.once("n")() == nested.once("n")()
    assert balances(one) == [2]


@pytest.mark.parametrize(
    ("annotation", "value", "why"),
    [
        (int, "7", "expected int, got str"),
        (None, 7, "expected None, got int"),
        (Summary, Summary(ONE, [Line("a", 1, [])]), r"at lines\[0\]\.amount: expected Decimal"),  # type: ignore[arg-type]
        (float, float("nan"), "finite"),
        (str, "nul\0", "NUL"),
        (str, "x" * 300_000, "MAX_EVENT_BYTES"),
        (Receipt, Receipt(pk=b"", position=1, version=1), "at pk: expected a key"),
        (Receipt, 1, "expected Receipt, got int"),
    ],
)
def test_what_its_annotation_does_not_allow_is_refused_and_nothing_stored(
    annotation: Any, value: Any, why: str
) -> None:
    one = open_wallet()
    act = returning(annotation, lambda: (Wallet.objects.perform(one.pk, Wallet.add, ONE), value)[1])
    with pytest.raises(TypeError, match=why):
        act.once("k")()
    assert types() == ["wallet_opened"]


@pytest.mark.parametrize("annotation", [Any, object, bytes, list, int | str, Wallet, "Unheard", dict[int, str]])
def test_a_return_type_that_could_not_be_stored_is_named_by_a_check_and_refused_with_a_key_only(
    annotation: Any, own_flows: None
) -> None:
    done = []

    def work() -> list[int]:
        done.append(1)
        return done

    act = returning(annotation, work)
    assert act() is act.receipt().value is done
    assert done == [1, 1]
    for call in (act.once("k"), act.once("k").receipt):
        with pytest.raises(ImproperlyConfigured, match=r"act returns what cannot|annotation of .*act cannot be read"):
            call()
    assert done == [1, 1], "refused before anything is done"
    (warning,) = check_flows()
    assert warning.id == "eventsourcing_app.W061"
    assert "'repeated.returning'" in warning.msg
    assert warning.hint


def test_what_is_imported_for_the_type_checker_alone_may_be_returned_without_a_key() -> None:
    @flow("repeated.later")
    def later(to: UUID) -> delta:
        return timedelta(days=1)

    assert later(uuid7()) == timedelta(days=1)
    with pytest.raises(ImproperlyConfigured, match="outside `if TYPE_CHECKING`"):
        later.once("k")(uuid7())


def test_a_flow_with_a_key_says_what_it_returns() -> None:
    def silent():  # type: ignore[no-untyped-def]
        return 1

    act = flow("repeated.silent")(silent)
    assert act() == 1
    with pytest.raises(ImproperlyConfigured, match="silent does not say what it returns"):
        act.once("k")()


def test_no_check_names_a_flow_whose_answers_can_be_stored(own_flows: None) -> None:
    returning(Decimal, lambda: ONE)
    assert check_flows() == []


def test_an_answer_of_older_code_that_cannot_be_read_is_not_done_again() -> None:
    one = open_wallet()

    def act() -> str:
        Wallet.objects.perform(one.pk, Wallet.add, ONE)
        return "done"

    returning(str, act).once("k")()
    with pytest.raises(IdempotencyError, match="returned something else"):
        returning(int, act).once("k")()
    assert balances(one) == [1]
