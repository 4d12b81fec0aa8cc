"""What the tests of streams share: real servers on the running test's database, and clients as browsers are."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from django.db import connections

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from rest_framework.authtoken.models import Token

    from tests.samples.models import Wallet

T = TypeVar("T")
PLAIN = ssl.create_default_context()
"""Not used, but each client would make one of its own, which takes its time."""
STREAM = "/api/v1/events/stream/"
COMMANDS = {
    "uvicorn": ("demo_bank.asgi:application", "--lifespan", "off", "--log-level", "warning", "--port"),
    "gunicorn": ("demo_bank.wsgi:application", "--workers", "1", "--threads", "4", "--log-level", "warning", "--bind"),
}


class Server:
    """A server process: ``uvicorn`` (ASGI) or ``gunicorn`` (WSGI)."""

    def __init__(self, kind: str, env: Mapping[str, str], **settings: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        address = str(self.port) if kind == "uvicorn" else f"127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", kind, *COMMANDS[kind], address]
        self._env = {
            **env,
            "DJANGO_SETTINGS_MODULE": "tests.settings_stream",
            "STREAM_SETTINGS": json.dumps(settings),
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._env, start_new_session=True)
        end = time.monotonic() + 30
        while True:
            assert self._process.poll() is None, "the server did not start"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                break
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.02)
        self.get()  # gunicorn listens before its workers are there

    def kill(self) -> None:
        """Kill it and its workers at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    @property
    def threads(self) -> int:
        """How many threads the process has."""
        return len(os.listdir(f"/proc/{self._process.pid}/task"))  # noqa: PTH208 - of Linux

    def get(
        self, token: Token | None = None, path: str = STREAM, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Ask once, for what is answered whole."""
        return httpx.get(
            self.url + path, headers={**_authorization(token), **(headers or {})}, timeout=30, verify=PLAIN
        )


def _authorization(token: Token | None) -> dict[str, str]:
    return {"Authorization": f"Token {token.key}"} if token else {}


class EventSource:
    """Follows a stream as a browser does (WHATWG HTML, section 9.2), and comes back with what it has seen."""

    def __init__(self, server: Server, token: Token | None, query: str = "", *, cookies: dict[str, str] | None = None):
        self._server, self._query = server, query
        self._headers, self._cookies = _authorization(token), cookies
        self.last_event_id = ""
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.ended = 0
        self.is_open = False
        self.statuses: list[int] = []

    @property
    def positions(self) -> list[int]:
        return [event["position"] for event in self.events]

    async def once(self) -> None:
        """Connect, and read until the server ends it."""
        headers = {**self._headers, "Accept": "text/event-stream"}
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        async with (
            httpx.AsyncClient(timeout=20, cookies=self._cookies, verify=PLAIN) as client,
            client.stream("GET", self._server.url + STREAM + self._query, headers=headers) as response,
        ):
            self.statuses.append(response.status_code)
            if response.status_code != 200:
                return
            assert response.headers["Content-Type"] == "text/event-stream"
            await self._take(response.aiter_lines())
        self.ended += 1

    async def forever(self) -> None:
        """Connect again and again, whatever happens to the server."""
        while True:
            with suppress(httpx.TransportError):
                await self.once()
            self.is_open = False
            await asyncio.sleep(0.05)

    async def _take(self, lines: AsyncIterator[str]) -> None:
        identity, data = self.last_event_id, ""
        async for line in lines:
            self.lines.append(line)
            name, _, value = line.partition(":")
            if name == "id":
                identity = value.strip()
                self.is_open = True
            elif name == "data":
                data = value
            elif line == "":
                if not self.last_event_id or identity:
                    self.last_event_id = identity
                if data:
                    event = json.loads(data)
                    assert event["position"] == int(identity)
                    self.events.append(event)
                data = ""


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until something holds; how long that takes is no matter."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.02)


async def aside(job: Callable[[], T]) -> T:
    """Run what uses the database in a thread, with a connection that ends with it."""

    def run() -> T:
        try:
            return job()
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


def pay_in(wallet: Wallet, times: int = 1) -> None:
    """Write so many events of a wallet, in one commit."""
    for _ in range(times):
        wallet.add(Decimal(1))
    wallet.save()
