"""What all streams of one event loop share: one look at the settled position, and the windows read for several."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import Error

from eventsourcing_app.api.streaming.threads import in_thread
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import EventSourcingError
from eventsourcing_app.log.settled import settled_position

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from eventsourcing_app.api.streaming.follower import Chunk, Follower

logger = logging.getLogger(__name__)
T = TypeVar("T")

_LONGEST_PAUSE = 5.0
_KEPT = 16


class Watch:
    """Asks how far the log is settled while somebody listens, and wakes those who wait for more."""

    def __init__(self) -> None:
        self._position = 0
        self._listeners = 0
        self._moved = asyncio.Event()
        self._poll: asyncio.Task[None] | None = None
        self._shared: OrderedDict[Hashable, asyncio.Future[Any]] = OrderedDict()

    def enter(self) -> None:
        """Listen; the first one starts the watch."""
        self._listeners += 1
        if self._poll is None or self._poll.done():
            self._position = 0  # of the database as it is now, whatever happened to it since
            # With a context of its own: it outlives the request that starts it.
            self._poll = asyncio.get_running_loop().create_task(self._ask(), context=contextvars.Context())

    def leave(self) -> None:
        """Listen no more; the last one ends the watch."""
        self._listeners -= 1
        if not self._listeners and self._poll is not None:
            self._poll.cancel()
            self._poll = None
            self._shared.clear()

    async def beyond(self, position: int, *, until: float) -> int:
        """Return the settled position, once it lies beyond ``position`` or the loop's clock has come to ``until``."""
        loop = asyncio.get_running_loop()
        while self._position <= position and (left := until - loop.time()) > 0:
            try:
                await asyncio.wait_for(self._moved.wait(), left)
            except TimeoutError:
                break
        return self._position

    async def chunk(self, follower: Follower, after: int, until: int) -> Chunk:
        """Return what comes next for a client. Rows are read once for all that ask the same, and rendered for each."""
        asked = (follower.question, after, until)
        window = await self._once(asked, partial(follower.read, after, until))
        return await self._once((follower.viewer, *asked), partial(follower.render, window))

    async def _ask(self) -> None:
        pause = conf.STREAM_POLL_SECONDS
        while True:
            try:
                settled = await in_thread(partial(settled_position, beyond=self._position))
            except (Error, EventSourcingError):
                logger.exception("Streams cannot tell how far the log is settled; they wait.")
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = conf.STREAM_POLL_SECONDS
                if settled > self._position:
                    self._position = settled
                    moved, self._moved = self._moved, asyncio.Event()
                    moved.set()
            await asyncio.sleep(pause)

    async def _once(self, key: Hashable, job: Callable[[], T]) -> T:
        task = self._shared.get(key)
        if task is None:
            task = self._shared[key] = asyncio.ensure_future(in_thread(job))
            while len(self._shared) > _KEPT:
                self._shared.popitem(last=False)
        # Shielded: whoever asked first may go before it is done, and others wait for it too.
        try:
            found: T = await asyncio.shield(task)
        except Exception:
            if self._shared.get(key) is task:
                del self._shared[key]
            raise
        return found


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


def watch() -> Watch:
    """Return the watch of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _watches:
        _watches[loop] = Watch()
    return _watches[loop]
