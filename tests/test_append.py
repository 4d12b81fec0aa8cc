"""Appending stores every column as it was said, in order, all or nothing, as canonical text under an honest hash."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from unittest import mock
from uuid import uuid4

import pytest
import rfc8785
from django.db import connection, transaction
from django.utils import timezone as django_timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from eventsourcing_app import context, publish
from eventsourcing_app.events.codec import encode
from eventsourcing_app.exceptions import AppendOnly, EventRefused, LogUnsafe
from eventsourcing_app.log import append as module
from eventsourcing_app.log.append import COPY_FROM, NewEvent, append
from eventsourcing_app.log.read import read, read_stream
from eventsourcing_app.models import StoredEvent
from eventsourcing_app.signals import events_appended
from tests.samples.events import Colour, Counted, EverythingHappened, Line, MoneyAdded, RateChanged
from tests.samples.factories import LOG, failing, faults, fetch, list_book, open_wallet, stored_texts, types
from tests.samples.models import Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 1, 12, 30, 0, 7, tzinfo=UTC)
SIZES = (1, 2, COPY_FROM - 1, COPY_FROM, COPY_FROM + 1, 501, 1001)


def new_events(count: int, key: str = "a") -> list[NewEvent]:
    return [
        NewEvent("samples.counter", key, n, "samples.counted", 1, encode(Counted(by=n))) for n in range(1, count + 1)
    ]


def parsed(text: str) -> Any:
    """As RFC 8785 reads JSON: a number beyond the integers that a double keeps is a double."""
    return json.loads(text, parse_int=lambda digits: int(digits) if abs(int(digits)) < 2**53 else float(digits))


def independent_hash(stored: StoredEvent) -> bytes:
    """The hash as anybody could compute it from the columns, with nothing of ours."""
    data, metadata = stored_texts(stored.position)
    envelope = {
        "event_id": str(stored.event_id),
        "stream_type": stored.stream_type,
        "stream_key": stored.stream_key,
        "version": stored.version,
        "type": stored.type,
        "schema_version": stored.schema_version,
        "data": parsed(data),
        "metadata": parsed(metadata),
        "actor": stored.actor,
        "correlation_id": stored.correlation_id,
        "causation_id": None if stored.causation_id is None else str(stored.causation_id),
        "recorded_at": stored.recorded_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    return sha256(rfc8785.dumps(envelope)).digest()


@pytest.mark.parametrize("count", SIZES)
def test_events_get_rising_positions_in_their_order(count: int) -> None:
    events = new_events(count)
    appended = append(events, recorded_at=NOW)
    assert appended is not None
    stored = list(read())
    assert [recorded.version for recorded in stored] == list(range(1, count + 1))
    assert [recorded.data for recorded in stored] == [{"by": n} for n in range(1, count + 1)]
    assert appended.position == stored[-1].position
    assert appended.last == {("samples.counter", "a"): stored[-1].position}
    assert faults() == {}


@pytest.mark.parametrize("count", [2, COPY_FROM, 501])
def test_the_last_position_of_each_stream_is_told(count: int) -> None:
    mixed = [event for pair in zip(new_events(count, "a"), new_events(count, "b"), strict=True) for event in pair]
    appended = append(mixed, recorded_at=NOW)
    assert appended is not None
    last = {key: list(read_stream("samples.counter", key))[-1].position for key in "ab"}
    assert appended.last == {("samples.counter", key): position for key, position in last.items()}
    assert last["a"] < last["b"] == appended.position


@pytest.mark.parametrize("count", [3, COPY_FROM + 3, 503])
def test_a_batch_with_one_taken_version_stores_nothing(count: int) -> None:
    append(new_events(1), recorded_at=NOW)
    events = [*new_events(count, "b"), *new_events(1)]
    with pytest.raises(Exception, match=r"eventsourcing") as caught, transaction.atomic():
        append(events, recorded_at=NOW)
    assert type(caught.value).__name__ == "IntegrityError"
    assert StoredEvent.objects.count() == 1


@pytest.mark.parametrize("count", [1, COPY_FROM, 501])
def test_who_and_why_stand_in_their_columns(count: int) -> None:
    cause = uuid4()
    with context(
        actor="user:7", correlation_id="request-ü", causation_id=cause, request_id="r1", tags=["a", {"b": 1.5}]
    ):
        append(new_events(count), recorded_at=NOW)
    for stored in StoredEvent.objects.all():
        assert (stored.actor, stored.correlation_id, stored.causation_id) == ("user:7", "request-ü", cause)
        assert stored.metadata == {"request_id": "r1", "tags": ["a", {"b": 1.5}]}
        assert stored.recorded_at == NOW
    assert [recorded.causation_id for recorded in read()] == [cause] * count


def test_without_context_nobody_acts_and_each_call_is_correlated_with_itself() -> None:
    append(new_events(2, "a"), recorded_at=NOW)
    append(new_events(1, "b"), recorded_at=NOW)
    first, second, third = StoredEvent.objects.order_by("position")
    assert (first.actor, first.causation_id, first.metadata) == ("", None, {})
    assert first.correlation_id == second.correlation_id == str(first.event_id)
    assert third.correlation_id == str(third.event_id)


def test_the_actor_is_asked_for_once_a_call() -> None:
    asked = []

    def actor() -> str:
        asked.append(1)
        return "user:9"

    with context(actor=actor):
        append(new_events(3), recorded_at=NOW)
    assert len(asked) == 1
    assert set(StoredEvent.objects.values_list("actor", flat=True)) == {"user:9"}


def test_event_ids_are_uuid7_and_differ() -> None:
    append(new_events(70), recorded_at=NOW)
    ids = list(StoredEvent.objects.values_list("event_id", flat=True))
    assert len(set(ids)) == 70
    assert {event_id.version for event_id in ids} == {7}


@pytest.mark.parametrize("count", [1, COPY_FROM])
def test_the_hash_is_what_anybody_computes(count: int) -> None:
    odd = 'é\u2028\x7f\x1f"\\/<\U0001f600'
    with context(
        actor="user:ü", correlation_id='c"\\', causation_id=uuid4(), mixed={"é": 1e21, "a": [0.1, -0.0, None]}
    ):
        append([event._replace(stream_key=odd) for event in new_events(count)], recorded_at=NOW)
    publish(RateChanged(currency="€\x1f", rate=Decimal("1E-7")), key=odd)
    for stored in StoredEvent.objects.all():
        assert bytes(stored.hash) == independent_hash(stored)
    assert faults() == {}


def test_a_time_in_another_zone_is_stored_and_hashed_as_utc() -> None:
    append(new_events(1), recorded_at=datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))))
    stored = StoredEvent.objects.get()
    assert stored.recorded_at == datetime(2026, 2, 28, 19, 30, tzinfo=UTC)
    assert bytes(stored.hash) == independent_hash(stored)
    assert next(iter(read())).recorded_at == stored.recorded_at


@pytest.mark.parametrize("count", [1, COPY_FROM])
def test_the_columns_hold_canonical_text_byte_for_byte(count: int) -> None:
    data = '{"by":1,"é":1e-7,"\U0001f600":0.1,"\ufb33":[1,{"a":"\\\\\\"\\u001f\u2028\t"}]}'.replace("\t", "\\t")
    with context(zulu=1, alpha={"é": 0.30000000000000004, "b": "\u2028"}):
        append([event._replace(data=data) for event in new_events(count)], recorded_at=NOW)
    for (position,) in fetch(f"SELECT position FROM {LOG}"):
        stored, metadata = stored_texts(position)
        assert stored == data
        assert metadata == '{"alpha":{"b":"\u2028","é":0.30000000000000004},"zulu":1}'


@pytest.mark.needs_postgres
def test_the_columns_are_json_and_not_jsonb() -> None:
    sql = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s"
    assert {("data", "json"), ("metadata", "json")} <= set(fetch(sql, [LOG]))


text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**53) + 1, 2**53 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
amounts = st.decimals(allow_nan=False, allow_infinity=False)
payloads = st.builds(
    EverythingHappened,
    text=text,
    flag=st.booleans(),
    number=numbers,
    ratio=floats,
    amount=amounts,
    day=st.dates(),
    moment=st.datetimes(
        datetime(2, 1, 1),  # noqa: DTZ001
        datetime(9998, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-7))),
    ),
    clock=st.times(),
    span=st.timedeltas(timedelta(days=-36500), timedelta(days=36500)),
    ident=st.uuids(),
    colour=st.sampled_from(Colour),
    word=st.sampled_from(["yes", "no"]),
    perhaps=st.none() | numbers,
    many=st.lists(floats, max_size=3),
    pair=st.tuples(numbers, text),
    several=st.lists(amounts, max_size=3).map(tuple),
    mapping=st.dictionaries(text, floats, max_size=3),
    unique=st.sets(numbers, max_size=3),
    frozen=st.frozensets(text, max_size=3),
    lines=st.lists(st.builds(Line, article=text, amount=amounts, weights=st.lists(floats, max_size=2)), max_size=2),
)
few = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@few
@given(event=payloads, key=text)
def test_any_payload_comes_back_from_the_database_as_it_was(event: EverythingHappened, key: str) -> None:
    position = publish(event, key=key)
    (recorded,) = read(after=position - 1)
    assert recorded.event == event
    assert recorded.stream_key == key
    data, _ = stored_texts(position)
    assert data.encode() == rfc8785.dumps(parsed(data))
    assert bytes(recorded.hash) == independent_hash(StoredEvent.objects.get(pk=position))


@few
@given(events=st.lists(payloads, min_size=1, max_size=4))
def test_any_payload_survives_a_batch(events: list[EverythingHappened]) -> None:
    batch = [
        NewEvent(
            "samples.everything", str(uuid4()), 1, "samples.everything_happened", 1, encode(events[n % len(events)])
        )
        for n in range(COPY_FROM)
    ]
    appended = append(batch, recorded_at=NOW)
    assert appended is not None
    back = list(read(after=appended.position - COPY_FROM))
    assert [recorded.data_text for recorded in back] == [event.data for event in batch]
    assert [recorded.event for recorded in back[: len(events)]] == events


def test_one_save_has_one_time(settings: Settings) -> None:
    ticks = clock_of(NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=2))
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: next(ticks)}
    first, second = Wallet(), Wallet()
    for wallet in (first, second):
        wallet.open(owner="Ada")
        wallet.add(Decimal(1))
    Wallet.objects.save_all([first, second])
    assert set(StoredEvent.objects.values_list("recorded_at", flat=True)) == {NOW}
    assert first.changed_at == second.changed_at == NOW
    with Wallet.objects.locked([first.pk, second.pk]) as (one, other):
        one.take(Decimal(1))
        other.add(Decimal(1))
    assert {wallet.changed_at for wallet in Wallet.objects.all()} == {NOW + timedelta(seconds=1)}


def clock_of(*moments: datetime) -> Iterator[datetime]:
    return iter(moments)


def test_a_clock_that_runs_back_never_takes_a_stream_with_it(settings: Settings) -> None:
    ticks = clock_of(NOW, NOW - timedelta(hours=1), NOW - timedelta(hours=2), NOW + timedelta(seconds=1))
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: next(ticks)}
    wallet = open_wallet()
    wallet.add(Decimal(1))
    wallet.save()
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
    Wallet.objects.perform(wallet.pk, Wallet.add, Decimal(1))
    times = list(wallet.history().values_list("recorded_at", flat=True))
    assert times == sorted(set(times))  # and no time is given twice, for what was rolled back may have had it
    assert (times[0], times[-1]) == (NOW, NOW + timedelta(seconds=1))
    assert times[2] - NOW < timedelta(milliseconds=2)
    assert faults() == {}


def test_a_batch_is_not_older_than_any_of_its_streams(settings: Settings) -> None:
    ticks = clock_of(NOW, NOW + timedelta(hours=1), NOW)
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: next(ticks)}
    early, late = open_wallet(), open_wallet()
    with Wallet.objects.locked([early.pk, late.pk]) as wallets:
        for wallet in wallets:
            wallet.add(Decimal(1))
    (recorded_at,) = set(StoredEvent.objects.filter(version=2).values_list("recorded_at", flat=True))
    assert timedelta(0) < recorded_at - (NOW + timedelta(hours=1)) < timedelta(milliseconds=1)


def test_a_clock_without_a_zone_is_refused(settings: Settings) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: datetime(2026, 1, 1)}  # noqa: DTZ001
    wallet = Wallet()
    wallet.open(owner="Ada")
    with pytest.raises(LogUnsafe, match="aware"):
        wallet.save()
    assert not StoredEvent.objects.exists()


def test_a_clock_named_by_its_path_and_one_in_another_zone_are_read_as_utc(settings: Settings) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": "django.utils.timezone.now"}
    assert abs(open_wallet().history().get().recorded_at - django_timezone.now()) < timedelta(minutes=1)
    local = NOW.astimezone(timezone(timedelta(hours=9)))
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": lambda: local}
    book = list_book()
    assert book.changed_at == NOW
    assert book.changed_at.utcoffset() == timedelta(0)


def test_a_published_fact_is_stored_under_its_topic_without_a_version() -> None:
    position = publish(RateChanged(currency="EUR", rate=Decimal("1.10")), key="EUR")
    stored = StoredEvent.objects.get()
    assert (stored.position, stored.stream_type, stored.stream_key, stored.version) == (
        position,
        "samples.rate_changed",
        "EUR",
        None,
    )
    again = publish(RateChanged(currency="EUR", rate=Decimal("1.10")))
    assert again > position
    assert StoredEvent.objects.get(pk=again).stream_key == ""


def test_a_published_fact_goes_with_its_transaction() -> None:
    with failing(ZeroDivisionError), transaction.atomic():
        publish(RateChanged(currency="EUR", rate=Decimal(1)))
        raise ZeroDivisionError
    assert not StoredEvent.objects.exists()


@pytest.mark.parametrize("key", ["x" * 256, "a\0b"])
def test_a_key_that_no_column_holds_is_refused(key: str) -> None:
    with pytest.raises(EventRefused, match="stream_key"):
        publish(RateChanged(currency="EUR", rate=Decimal(1)), key=key)
    assert not StoredEvent.objects.exists()


def test_what_is_no_event_cannot_be_published() -> None:
    with pytest.raises(TypeError):
        publish(object())
    with pytest.raises(TypeError):
        publish({"type": "samples.rate_changed"})


def test_an_alias_is_only_read_and_never_written() -> None:
    wallet = open_wallet("Ada", 5)
    assert types(wallet.history()) == ["wallet_opened", "money_added"]
    row: dict[str, Any] = {"stream_type": "samples.wallet", "stream_key": str(wallet.pk), "version": 3}
    append([NewEvent(**row, type="samples.money_put_in", schema_version=1, data='{"amount":"2"}')], recorded_at=NOW)
    assert list(read())[-1].event == MoneyAdded(amount=Decimal(2))


def test_the_manager_of_the_log_does_not_create() -> None:
    for door in (StoredEvent.objects.create, StoredEvent.objects.get_or_create, StoredEvent.objects.update_or_create):
        with pytest.raises(AppendOnly, match="publish"):
            door()
    with pytest.raises(AppendOnly, match="publish"):
        StoredEvent.objects.bulk_create([StoredEvent()])


def test_observers_are_told_of_each_write_after_the_commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    told: list[dict[str, Any]] = []

    def observe(**facts: Any) -> None:
        told.append({name: facts[name] for name in ("sender", "position", "count", "types")})

    events_appended.connect(observe)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            wallet = open_wallet("Ada", 1)
            list_book()
            assert told == []
    finally:
        events_appended.disconnect(observe)
    assert [(fact["position"], fact["count"]) for fact in told] == [
        (wallet.position, 2),
        ((wallet.position or 0) + 1, 1),
    ]
    assert told[0]["types"] == frozenset({"samples.wallet_opened", "samples.money_added"})
    assert {fact["sender"] for fact in told} == {StoredEvent}


def test_a_state_that_changes_no_row_appends_nothing() -> None:
    for count in (1, COPY_FROM):
        state = module.StateWrite("UPDATE samples_counter SET total = 1 WHERE number = %s", [-1])
        assert append(new_events(count), recorded_at=NOW, state=state) is None
    assert not StoredEvent.objects.exists()


def test_autocommit_switched_off_without_a_transaction_is_refused() -> None:
    off = mock.patch.multiple(connection, in_atomic_block=False, autocommit=False)
    with off, pytest.raises(LogUnsafe, match="atomic"):
        append(new_events(1), recorded_at=NOW)


def test_many_events_of_one_aggregate_go_in_one_save() -> None:
    counter = Counter()
    counter.begin()
    for _ in range(COPY_FROM + 600):
        counter.count()
    counter.save()
    assert counter.version == COPY_FROM + 601 == counter.history().count()
    assert counter.position == max(counter.history().values_list("position", flat=True))
    assert Counter.objects.get(pk=counter.pk).total == COPY_FROM + 600
