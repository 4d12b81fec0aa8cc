"""What clients of a stream share: rows are read once for all that ask the same, whoever asks and whoever goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from eventsourcing_app.access.follow import Window, question_of
from eventsourcing_app.access.visibility import visible_events
from eventsourcing_app.api.streaming.follower import Chunk
from eventsourcing_app.api.streaming.watch import Watch
from tests.api_client import user_with

if TYPE_CHECKING:
    from collections.abc import Hashable

done: Counter[str] = Counter()


class Reader:
    """Stands for a client; counts what is done for it."""

    def __init__(self, question: Hashable, viewer: Hashable) -> None:
        self.question, self.viewer = question, viewer

    def read(self, after: int, until: int) -> Window:
        done["read"] += 1
        return Window([], until)

    def render(self, window: Window) -> Chunk:
        done["rendered"] += 1
        return Chunk(str(self.viewer).encode(), window.reached)


def chunks(*readers: Any) -> list[Chunk]:
    async def ask() -> list[Chunk]:
        watch = Watch()
        gone = asyncio.create_task(watch.chunk(readers[0], 0, 5))
        await asyncio.sleep(0)
        gone.cancel()
        return await asyncio.gather(*(watch.chunk(reader, 0, 5) for reader in readers))

    done.clear()
    return asyncio.run(ask())


def test_rows_are_read_once_and_rendered_for_each_user() -> None:
    found = chunks(*(Reader("all", viewer) for viewer in "aabb" * 10))
    assert [chunk.text for chunk in found] == [b"a", b"a", b"b", b"b"] * 10
    assert done == {"read": 1, "rendered": 2}


def test_what_is_asked_differently_is_read_apart() -> None:
    chunks(Reader("all", "a"), Reader("some", "a"))
    assert done == {"read": 2, "rendered": 2}


@pytest.mark.django_db
def test_querysets_with_the_same_rows_ask_the_same() -> None:
    first, second = (visible_events(user_with("eventsourcing_app.view_storedevent", name=name)) for name in "ab")
    assert question_of(first) == question_of(second)
    assert question_of(first.filter(actor="x")) != question_of(second.filter(actor="y"))
    assert question_of(visible_events(user_with(name="c"))) != question_of(first)
