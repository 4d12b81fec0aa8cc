"""Where streams of an event loop use the database: in a few threads for all of them, and in none while they wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import close_old_connections, connections

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

THREADS: Final = 4
"""So many connections to the database at most, however many clients come back at once after a restart."""
_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="eventsourcing-stream")


async def in_thread(job: Callable[[], T]) -> T:
    """Run what uses the database, with its connection opened and closed as Django does around a request."""

    def run() -> T:
        close_old_connections()
        try:
            return job()
        finally:
            close_old_connections()

    return await sync_to_async(run, thread_sensitive=False, executor=_executor)()


async def give_thread_back() -> None:
    """End the thread, and the connections, that Django keeps for a request until its response has ended.

    For a stream that would be a thread for each client. The next synchronous call of the request, at its end, starts
    another one.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or context not in SyncToAsync.context_to_thread_executor:
        return
    await sync_to_async(connections.close_all, thread_sensitive=True)()
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if isinstance(executor, ThreadPoolExecutor):
        executor.shutdown(wait=False)
