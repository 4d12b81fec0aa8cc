"""Whoever follows the log gets every event once, in order, whatever happens to the server in between."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rest_framework.authtoken.models import Token

from eventsourcing_app.models import StoredEvent
from tests.api_client import user_with
from tests.conftest import ROOT
from tests.event_source import EventSource, Server, aside, pay_in, until
from tests.samples.factories import open_wallet

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS, WRITERS, COMMANDS, KILLS = 50, 4, 40, 1


def test_fifty_clients_get_each_event_once_while_writers_write_and_the_server_is_killed(
    child_env: dict[str, str],
) -> None:
    token = Token.objects.create(user=user_with("eventsourcing_app.view_storedevent"))
    wallets = [str(open_wallet(str(n)).pk) for n in range(8)]
    start = StoredEvent.objects.latest("position").position
    server = Server("uvicorn", child_env, STREAMS_PER_USER=CLIENTS)
    try:
        clients = [EventSource(server, token, f"?after_position={start}") for _ in range(CLIENTS)]
        asyncio.run(_storm(server, clients, wallets, child_env))
    finally:
        server.kill()
    stored = list(StoredEvent.objects.filter(position__gt=start).values_list("position", flat=True))
    assert len(stored) == KILLS * WRITERS * COMMANDS
    assert [client.positions for client in clients] == [stored] * CLIENTS
    assert all(len(client.statuses) > KILLS for client in clients), "not everybody had to come back"


def test_what_comes_while_the_server_is_down_is_not_missed_by_a_client_that_has_seen_nothing_yet(
    child_env: dict[str, str],
) -> None:
    token = Token.objects.create(user=user_with("eventsourcing_app.view_storedevent"))
    wallet = open_wallet("Ada")
    server = Server("uvicorn", child_env)
    client = EventSource(server, token)

    async def scene() -> None:
        task = asyncio.create_task(client.forever())
        await until(lambda: client.is_open)
        await asyncio.to_thread(server.kill)
        await aside(lambda: pay_in(wallet))
        await asyncio.to_thread(server.start)
        await until(lambda: len(client.events) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    try:
        asyncio.run(scene())
    finally:
        server.kill()


async def _storm(server: Server, clients: list[EventSource], wallets: list[str], env: Mapping[str, str]) -> None:
    following = [asyncio.create_task(client.forever()) for client in clients]
    given = json.dumps({"wallets": wallets, "writers": WRITERS, "commands": COMMANDS // 2})

    async def writing() -> asyncio.subprocess.Process:
        arguments = (sys.executable, "-m", "tests.samples.writer", given)
        return await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)

    for _ in range(KILLS):
        await until(lambda: all(client.is_open for client in clients))
        before = max(len(client.events) for client in clients)
        writers = await writing()
        await until(lambda before=before: any(len(client.events) > before + 10 for client in clients))  # type: ignore[misc]
        await asyncio.to_thread(server.kill)
        assert await writers.wait() == 0
        # However fast the clients were until then: this half they get only after they have come back.
        assert await (await writing()).wait() == 0
        await asyncio.to_thread(server.start)
    await until(lambda: all(len(client.events) >= KILLS * WRITERS * COMMANDS for client in clients))
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
