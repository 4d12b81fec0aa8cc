"""Under WSGI a stream is a long poll: it ends with the first events, and it never keeps a worker for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from django.test.utils import override_settings
from rest_framework.authtoken.models import Token

from eventsourcing_app.models import StoredEvent
from tests.api_client import client_of, user_with
from tests.event_source import STREAM, EventSource, Server, aside, pay_in, until
from tests.samples.factories import begin_counter, open_wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(transactional_db: None) -> Token:
    return Token.objects.create(user=user_with("eventsourcing_app.view_storedevent"))


@pytest.fixture
def server(child_env: dict[str, str]) -> Iterator[Server]:
    server = Server("gunicorn", child_env, STREAM_WAIT_SECONDS=10, STREAMS_PER_USER=2)
    yield server
    server.kill()


def test_a_browser_gets_each_event_once_by_coming_back(token: Token, server: Server) -> None:
    wallet = open_wallet("Ada")
    start = StoredEvent.objects.latest("position").position
    client = EventSource(server, token, f"?after_position={start}")

    async def scene() -> None:
        task = asyncio.create_task(client.forever())
        for number in range(4):
            await aside(lambda: pay_in(wallet))
            await until(lambda number=number: len(client.events) > number)  # type: ignore[misc]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())
    stored = StoredEvent.objects.filter(position__gt=start).order_by("position")
    assert client.positions == [event.position for event in stored]
    assert client.ended >= 3
    assert set(client.statuses) == {200}


def test_it_waits_for_the_first_event_and_answers_whole(token: Token, server: Server) -> None:
    wallet = open_wallet("Ada")
    address = f"{STREAM}?after_position={StoredEvent.objects.latest('position').position}"

    async def scene() -> None:
        asked = asyncio.create_task(asyncio.to_thread(server.get, token, address))
        await asyncio.sleep(0.5)
        assert not asked.done()
        await aside(lambda: pay_in(wallet))
        response = await asked
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.text.count("data: ") == 1

    asyncio.run(scene())


@override_settings(EVENTSOURCING={"DISPATCHER": "none", "STREAM_WAIT_SECONDS": 0.1})
def test_when_nothing_comes_it_ends_and_moves_the_client_on(token: Token) -> None:
    wallet = open_wallet("Ada")
    begin_counter()
    last = StoredEvent.objects.latest("position").position
    response = client_of(token.user).get(f"{STREAM}?after_position=0&stream_key={wallet.pk}&actor=nobody")
    assert response.status_code == 200
    lines = response.content.decode().splitlines()
    assert lines[0].startswith("retry: ")
    assert lines[-2:] == [f"id: {last}", ""]
    assert not [line for line in lines if line.startswith("data:")]
