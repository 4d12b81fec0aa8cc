"""Rebuilding rows from history, or only comparing them: every aggregate of a model, or a part of them, or a sample.

A part is rebuilt in one pass over its events, with one query for the rows of each page of aggregates. Memory stays
constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from eventsourcing_app.aggregates.keys import pk_of, stream_key_of
from eventsourcing_app.aggregates.past.fold import fold
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.aggregates.rebuild.drift import Drift, drifts
from eventsourcing_app.log.streams import sample, windows, with_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.log.streams import Row

T = TypeVar("T")

_PAGE = 200
"""Aggregates whose rows are fetched at a time."""


class Stopped(Exception):
    """The rebuild was asked to stop, between two windows of events; what it was at is done again another time."""


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild has gone through so far."""

    aggregates: int = 0
    events: int = 0


def _go_on() -> bool:
    return False


def _ignore(_drift: Drift) -> None:
    """Keep nothing."""


def rebuild_streams(
    model: type[EventSourcedModel],
    *,
    check: bool,
    seen: Rebuilt,
    after_key: str = "",
    until_key: str | None = None,
    keep: Callable[[Drift], None] = _ignore,
    stop: Callable[[], bool] = _go_on,
) -> Iterator[Drift]:
    """Fold aggregates of ``model`` again and yield those whose rows differ; repair them unless ``check``.

    They are those whose keys are above ``after_key``, up to and including ``until_key``. ``keep`` is called
    with each difference in the transaction of its repair. Raises ``Stopped`` when ``stop`` says so.
    """
    events = windows(model.stream_type, after_key=after_key, until_key=until_key)
    states = fold(model, _counted(events, seen, stop))
    for page in _pages(states, _PAGE):
        seen.aggregates += len(page)
        yield from drifts(page, check=check, keep=keep)


def rows_without_history(
    model: type[EventSourcedModel],
    *,
    after_key: str = "",
    until_key: str | None = None,
    keep: Callable[[Drift], None] = _ignore,
    stop: Callable[[], bool] = _go_on,
) -> Iterator[Drift]:
    """Yield the rows without history, of those whose keys are above ``after_key``, up to and including ``until_key``.

    The order of these keys is the one that the database has for the primary key.
    """
    mine = plain_rows(model).order_by("pk")
    if until_key is not None:
        mine = mine.filter(pk__lte=pk_of(model, until_key))
    while not stop():
        page = mine.filter(pk__gt=pk_of(model, after_key)) if after_key else mine
        keys = [stream_key_of(model, pk) for pk in page.values_list("pk", flat=True)[:_PAGE]]
        if not keys:
            return
        known = with_history(model.stream_type, keys)
        for key in keys:
            if key not in known:
                drift = Drift(pk=pk_of(model, key), fields={}, version=None, position=None, problem="unknown")
                keep(drift)
                yield drift
        after_key = keys[-1]
    raise Stopped


def check_sample(
    model: type[EventSourcedModel],
    *,
    size: int | None = None,
    share: float | None = None,
    seen: Rebuilt | None = None,
    stop: Callable[[], bool] = _go_on,
) -> Iterator[Drift]:
    """Compare aggregates picked at random, each with the same chance: ``size`` of them, or a ``share`` (0 to 1).

    They are picked by their first events, without counting or reading the log, so rows without history are not among
    them. Raises ``Stopped`` when ``stop`` says so.
    """
    seen = Rebuilt() if seen is None else seen
    for keys in _pages(iter(sample(model.stream_type, size=size, share=share)), _PAGE):
        events = (
            window
            for key in keys
            for window in windows(model.stream_type, after_key=key, after_version=0, until_key=key)
        )
        states = list(fold(model, _counted(events, seen, stop)))
        seen.aggregates += len(states)
        yield from drifts(states, check=True)


def _counted(events: Iterable[list[Row]], seen: Rebuilt, stop: Callable[[], bool]) -> Iterator[list[Row]]:
    for window in events:
        if stop():
            raise Stopped
        seen.events += len(window)
        yield window


def _pages(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while page := list(islice(items, size)):
        yield page
