"""The log as server-sent events: what is sent, from where on, to whom, and when it ends.

Under ASGI (uvicorn). What a client may not ask for is refused with a problem before the stream begins.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from rest_framework.authtoken.models import Token
from rest_framework.renderers import JSONRenderer

from eventsourcing_app.api.serializers import StoredEventSerializer
from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, problem_of, user_with
from tests.event_source import STREAM, EventSource, Server, aside, pay_in, until
from tests.samples.factories import begin_counter, open_wallet
from tests.storm.sessions import append, begin_append, sessions, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True)

AUDITOR = "eventsourcing_app.view_storedevent"


@pytest.fixture
def token(transactional_db: None) -> Token:
    return Token.objects.create(user=user_with(AUDITOR))


@pytest.fixture
def serve(child_env: dict[str, str]) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(kind: str = "uvicorn", **settings: object) -> Server:
        servers.append(Server(kind, child_env, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def following(client: EventSource, scene: Callable[[], Awaitable[None]]) -> None:
    """Let a client follow while something happens."""

    async def run() -> None:
        task = asyncio.create_task(client.forever())
        await until(lambda: client.is_open)
        await scene()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def positions() -> list[int]:
    return list(StoredEvent.objects.order_by("position").values_list("position", flat=True))


# What is sent


def test_each_event_is_sent_as_the_log_lists_it_from_now_on(token: Token, serve: Callable[..., Server]) -> None:
    wallet = open_wallet("Ada", 1)
    client = EventSource(serve(), token)

    async def scene() -> None:
        await aside(lambda: pay_in(wallet, 2))
        await until(lambda: len(client.events) == 2)

    following(client, scene)
    expected = StoredEventSerializer(StoredEvent.objects.order_by("position")[2:], many=True).data
    assert client.events == json.loads(JSONRenderer().render(expected))
    assert client.lines[0].startswith("retry: ")
    assert not [line for line in client.lines if line.startswith("event:")]


def test_it_goes_on_after_the_last_event_id_and_the_header_wins(token: Token, serve: Callable[..., Server]) -> None:
    open_wallet("Ada", 1, 2, 3)
    stored = positions()
    client = EventSource(serve(), token, f"?after_position={stored[2]}")
    client.last_event_id = str(stored[0])

    async def scene() -> None:
        await until(lambda: len(client.events) == 3)

    following(client, scene)
    assert client.positions == stored[1:]


def test_filters_choose_and_a_mark_moves_the_client_past_what_is_not_for_it(
    token: Token, serve: Callable[..., Server]
) -> None:
    wallet, counter = open_wallet("Ada"), begin_counter()
    query = f"?after_position=0&stream_key={wallet.pk}&type=samples.money_added&type=samples.wallet_opened"
    client = EventSource(serve(STREAM_HEARTBEAT_SECONDS=0.3), token, query)

    async def scene() -> None:
        await aside(lambda: pay_in(wallet))
        await until(lambda: len(client.events) == 2)
        await aside(lambda: [counter.count(by=1), counter.save()])  # type: ignore[func-returns-value]
        last = await aside(positions)
        await until(lambda: client.last_event_id == str(last[-1]))

    following(client, scene)
    assert [event["stream_key"] for event in client.events] == [str(wallet.pk)] * 2
    assert len(set(client.statuses)) == len(client.statuses) == 1, "all on one connection"


@pytest.mark.needs_postgres
def test_an_open_append_holds_back_what_comes_after_it_and_nothing_is_lost(
    token: Token, serve: Callable[..., Server]
) -> None:
    client = EventSource(serve(STREAM_HEARTBEAT_SECONDS=0.2), token)
    with sessions() as connect:
        slow, quick = connect(), connect()

        async def scene() -> None:
            first = begin_append(slow)
            second = append(quick)
            beats = len(client.lines)
            await until(lambda: len(client.lines) > beats + 12)
            assert not client.events
            assert int(client.last_event_id or 0) < first, "the mark may not pass it either"
            slow.execute("COMMIT")
            await until(lambda: len(client.events) == 2)
            assert client.positions == [first, second]

        following(client, scene)


@pytest.mark.parametrize("size", [1, 6_000])
def test_many_events_are_sent_in_parts(size: int, token: Token, serve: Callable[..., Server]) -> None:
    wallet = open_wallet("Ada")
    for _ in range(130):
        wallet.add(Decimal(1), reference="x" * size)
    wallet.save()
    client = EventSource(serve(), token, "?after_position=0")

    async def scene() -> None:
        await until(lambda: len(client.events) == 131)

    following(client, scene)
    assert client.positions == positions()


# How it lives and ends


def test_it_ends_in_order_when_its_time_is_over_and_the_next_goes_on(
    token: Token, serve: Callable[..., Server]
) -> None:
    wallet = open_wallet("Ada")
    client = EventSource(serve(STREAM_SECONDS=0.4), token)

    async def scene() -> None:
        await until(lambda: client.ended >= 2)
        await aside(lambda: pay_in(wallet, 3))
        await until(lambda: len(client.events) == 3 and client.ended >= 4)

    following(client, scene)
    assert client.positions == positions()[1:]


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def take_permission(user: User) -> None:
    user.user_permissions.clear()


def delete_token(user: User) -> None:
    Token.objects.filter(user=user).delete()


@pytest.mark.parametrize("change", [deactivate, take_permission, delete_token])
def test_whoever_may_no_longer_see_events_gets_no_more(
    change: Callable[[User], None], token: Token, serve: Callable[..., Server]
) -> None:
    wallet = open_wallet("Ada")
    client = EventSource(serve(STREAM_HEARTBEAT_SECONDS=0.2), token)

    async def scene() -> None:
        await aside(lambda: change(token.user))
        await until(lambda: client.ended == 1 and client.statuses[-1] in (401, 403))
        await aside(lambda: pay_in(wallet))
        seen = len(client.statuses)
        await until(lambda: len(client.statuses) > seen)

    following(client, scene)
    assert not client.events


def test_a_session_will_do_until_it_is_over(token: Token, serve: Callable[..., Server]) -> None:
    browser = Client()
    browser.force_login(token.user)
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()}
    wallet = open_wallet("Ada")
    client = EventSource(serve(STREAM_HEARTBEAT_SECONDS=0.2), None, cookies=cookies)

    async def scene() -> None:
        await aside(lambda: pay_in(wallet))
        await until(lambda: len(client.events) == 1 and len(client.lines) > 20)
        assert client.statuses == [200]
        await aside(browser.logout)
        await until(lambda: client.ended == 1 and client.statuses[-1] in (401, 403))

    following(client, scene)


def test_there_is_a_limit_for_each_user_and_for_all_and_whoever_goes_makes_room(
    token: Token, serve: Callable[..., Server]
) -> None:
    other = Token.objects.create(user=user_with(AUDITOR, name="other"))
    third = Token.objects.create(user=user_with(AUDITOR, name="third"))
    server = serve(STREAMS=3, STREAMS_PER_USER=2)
    clients = [EventSource(server, each) for each in (token, token, other)]

    async def scene() -> None:
        tasks = [asyncio.create_task(client.forever()) for client in clients]
        await until(lambda: all(client.is_open for client in clients))
        refused = problem_of(await asyncio.to_thread(server.get, token), 429, "too_many_streams")
        assert refused["instance"] == STREAM
        answer = await asyncio.to_thread(server.get, third)
        problem_of(answer, 503, "streams_exhausted")
        assert int(answer.headers["Retry-After"]) > 0
        tasks[0].cancel()
        again = EventSource(server, token)
        tasks.append(asyncio.create_task(again.forever()))
        await until(lambda: again.is_open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scene())


def test_a_client_costs_no_thread_and_no_connection_while_it_waits(token: Token, serve: Callable[..., Server]) -> None:
    server = serve(STREAMS_PER_USER=50)
    clients = [EventSource(server, token) for _ in range(41)]

    async def scene() -> None:
        tasks = [asyncio.create_task(clients[0].forever())]
        await until(lambda: clients[0].is_open)
        before = server.threads
        tasks += [asyncio.create_task(client.forever()) for client in clients[1:]]
        await until(lambda: all(client.is_open for client in clients))
        await until(lambda: server.threads <= before + 6)
        if connection.vendor == "postgresql":
            assert await aside(sessions_open) <= 6
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scene())


def sessions_open() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


# What is refused, before it begins


def test_what_cannot_be_asked_is_a_problem(token: Token, serve: Callable[..., Server]) -> None:
    open_wallet("Ada")
    server = serve()
    accept = {"Accept": "text/event-stream"}
    problem_of(server.get(headers=accept), 401, "not_authenticated")
    for query, code in (
        ("?nonsense=1", "unknown"),
        ("?after_position=x", "invalid"),
        ("?after_position=-1", "invalid"),
        ("?after_position=999999999999999", "position_ahead"),
        ("?after_position=1&after_position=1", "repeated"),
        ("?actor=%00", "invalid"),
    ):
        body = problem_of(server.get(token, STREAM + query, accept), 400, code)
        assert body["errors"][0]["parameter"] in query
    for value, code in (("x", "invalid"), ("1.5", "invalid"), ("999999999999999", "position_ahead")):
        body = problem_of(server.get(token, headers={**accept, "Last-Event-ID": value}), 400, code)
        assert body["errors"][0]["header"] == "Last-Event-ID"
    problem_of(server.get(token, headers={"Accept": "image/png"}), 406, "not_acceptable")
    stranger = Token.objects.create(user=user_with(name="stranger"))
    problem_of(server.get(stranger, headers=accept), 403, "permission_denied")


def test_only_get_is_answered(token: Token) -> None:
    client = client_of(token.user)
    for method in ("post", "put", "patch", "delete", "head"):
        response = getattr(client, method)(STREAM)
        assert response.status_code == 405
    assert client.options(STREAM).status_code == 200


@override_settings(EVENTSOURCING={"DISPATCHER": "none", "STREAM_WAIT_SECONDS": 0})
def test_it_never_waits_in_a_transaction_of_the_request(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert client_of(token.user).get(STREAM).status_code == 200


# Its cost


@override_settings(EVENTSOURCING={"DISPATCHER": "none", "STREAM_WAIT_SECONDS": 0})
def test_the_number_of_queries_does_not_grow_with_the_events(token: Token) -> None:
    wallet, client, counts = open_wallet("Ada"), client_of(token.user), []
    for _ in range(2):
        pay_in(wallet, 20)
        settle()
        with CaptureQueriesContext(connection) as queries:
            response = client.get(f"{STREAM}?after_position=0&type=samples.money_added")
        assert response.status_code == 200
        counts.append((len(queries), response.content.count(b"data:")))
    assert counts[0][0] == counts[1][0]
    assert [found for _, found in counts] == [20, 40]
