"""What a stream sends: without end under ASGI, or at least until its time is over, and once under WSGI."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

from eventsourcing_app.api.streaming.form import mark, opening
from eventsourcing_app.api.streaming.threads import give_thread_back, in_thread
from eventsourcing_app.api.streaming.watch import watch
from eventsourcing_app.conf import conf
from eventsourcing_app.log.settled import settled_position

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eventsourcing_app.api.streaming.follower import Follower
    from eventsourcing_app.api.streaming.places import Place

RETRY_SECONDS: Final = (1.0, 4.0)
"""How long a client waits before it comes back: each another time, so that not all come at once after a restart."""
RETRY_AFTER_WAIT_SECONDS: Final = 1.0


class Body:
    """The events for one client, as they are settled. Each part is made when the client has taken the one before."""

    def __init__(self, follower: Follower, after: int, place: Place) -> None:
        self._follower, self._position, self._place = follower, after, place

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    def close(self) -> None:
        """Give the place back; Django calls it when the response has ended, however it did."""
        self._place.leave()

    async def _parts(self) -> AsyncIterator[bytes]:
        clock, shared = asyncio.get_running_loop().time, watch()
        end = clock() + conf.STREAM_SECONDS * random.uniform(0.8, 1.0)
        check = clock() + conf.STREAM_HEARTBEAT_SECONDS
        shared.enter()
        try:
            await give_thread_back()
            yield opening(self._position, retry=random.uniform(*RETRY_SECONDS))
            while (now := clock()) < end:
                if now >= check:
                    if not await in_thread(self._follower.is_still_allowed):
                        return
                    check = clock() + conf.STREAM_HEARTBEAT_SECONDS
                    # Of a log in which nothing was for this client, it need not look through the same part again.
                    yield mark(self._position)
                settled = await shared.beyond(self._position, until=min(check, end))
                if settled > self._position and clock() < check:
                    chunk = await shared.chunk(self._follower, self._position, settled)
                    self._position = chunk.reached
                    if chunk.text:
                        yield chunk.text
            yield mark(self._position)
        finally:
            shared.leave()
            self._place.leave()


def waited_for(follower: Follower, after: int) -> bytes:
    """Return the next events for a client as soon as there are any, or none when the wait is over."""
    end = time.monotonic() + conf.STREAM_WAIT_SECONDS
    while True:
        settled = settled_position(beyond=after)
        while settled > after:
            chunk = follower.render(follower.read(after, settled))
            if chunk.text:
                return opening(after, retry=RETRY_AFTER_WAIT_SECONDS) + chunk.text + mark(chunk.reached)
            after = chunk.reached
        if (left := end - time.monotonic()) <= 0:
            return opening(after, retry=RETRY_AFTER_WAIT_SECONDS)
        time.sleep(min(conf.STREAM_POLL_SECONDS, left))
