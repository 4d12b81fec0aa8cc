"""Lists of the past: every aggregate of a model as it was at one moment, page by page, in constant memory.

A row that has not changed since then is the state then. Only the others are folded, a page at a time, from their
snapshots. Aggregates whose rows have gone since are found in the log, by the event that ended them.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from django.db import models
from django.db.models import Case, F, Value, When
from django.db.models.functions import Cast, Collate

from eventsourcing_app.aggregates.dispatch import ending_names
from eventsourcing_app.aggregates.keys import key_field, stream_key_of
from eventsourcing_app.aggregates.past.fold import Fold, Readers, blank
from eventsourcing_app.aggregates.past.history import as_past, from_snapshot
from eventsourcing_app.aggregates.past.snapshots import Keeper, newest_of
from eventsourcing_app.aggregates.plain_rows import plain_rows
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import PastFilterRefused
from eventsourcing_app.log.connection import log_connection
from eventsourcing_app.log.horizon import is_final
from eventsourcing_app.log.names import names_of
from eventsourcing_app.log.records import StoredEvent
from eventsourcing_app.log.spans import read_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from eventsourcing_app.aggregates.model import EventSourcedModel

M = TypeVar("M", bound="EventSourcedModel")

PAGE = 500
"""Aggregates that are looked at together; what is held in memory at a time."""
_EVENTS = 2000
"""Events that are fetched at a time."""
_NO_DOORS = frozenset({"as_manager", "resolve_expression"})
"""What querysets have, but is no question to the database."""
_NUMBERS = (models.IntegerField, models.DecimalField)
"""Keys that have another order as numbers than as text."""


_INSTEAD = (
    "Iterate over it (limit=… and after=… cut out a page), choose among the instances in Python, name aggregates with "
    "as_of(…, pks=[…]), or keep a projection of what is asked often."
)


class _NoSequence(PastFilterRefused, TypeError, AttributeError):
    """Also what ``list()`` and the templates of Django take for "it has none", before they iterate."""


def _refusal(door: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise PastFilterRefused(
            f"as_of(…).{door}() is refused: the database knows the columns of now, not those of then. {_INSTEAD}"
        )

    refuse.__name__ = door
    return refuse


class AsOf(Generic[M]):
    """All aggregates of a model as they were at a moment: read-only instances, in the order of their keys.

    Made by ``objects.as_of(when)``. It asks the database anew whenever it is iterated.
    """

    def __init__(
        self,
        model: type[M],
        when: datetime,
        *,
        pks: Iterable[Any] | None = None,
        after: Any = None,
        limit: int | None = None,
    ) -> None:
        self.model, self.when = model, when
        self._key = key_field(model)
        self._attname = model._meta.pk.attname
        self._names = names_of(model.stream_type)
        self._pks = None if pks is None else sorted({self._plain(pk) for pk in pks})
        self._after = None if after is None else self._plain(after)
        self._limit = limit
        self._final: bool | None = None

    def __iter__(self) -> Iterator[M]:
        return self.iterator()

    def iterator(self, chunk_size: int = PAGE) -> Iterator[M]:
        """Yield the instances, of which no more than ``chunk_size`` are in memory at a time."""
        if chunk_size < 1:
            raise ValueError(f"iterator(chunk_size={chunk_size}): a chunk has at least one aggregate.")
        self._final = self._final or is_final(self.when)  # before anything is read; what is final stays final
        if self._limit is not None:
            return islice(self._all(min(chunk_size, max(self._limit, 1))), self._limit)
        return self._all(chunk_size)

    @property
    def is_final(self) -> bool:
        """Whether no open append can still change the list: what was found before it was last iterated, or now."""
        if self._final is None:
            self._final = is_final(self.when)
        return self._final

    def __repr__(self) -> str:
        return f"<{self.model.__name__} as of {self.when}>"

    if not TYPE_CHECKING:  # a type checker refuses all of it

        def __getattr__(self, name: str) -> Callable[..., NoReturn]:
            """Refuse whatever a queryset can do."""
            if name.startswith("_") or name in _NO_DOORS or not callable(getattr(models.QuerySet, name, None)):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            return _refusal(name)

        @property
        def __len__(self) -> NoReturn:
            raise _NoSequence(f"as_of(…) has no len(): it is not made before it is iterated. {_INSTEAD}")

        def __getitem__(self, place: object) -> NoReturn:
            raise _NoSequence(f"as_of(…)[…] is refused: it is not made before it is iterated. {_INSTEAD}")

    def _plain(self, pk: Any) -> Any:
        value = self._key.to_python(pk)
        return str.__str__(value) if isinstance(value, str) else value

    def _all(self, size: int) -> Iterator[M]:
        for rows, gone in self._pages(size):
            yield from self._states(rows, gone)

    def _pages(self, size: int) -> Iterator[tuple[dict[Any, M], list[Any]]]:
        """Yield, in the order of the keys, the rows of a page, and the keys of those whose rows have gone."""
        if self._pks is not None:
            keys = iter(self._pks if self._after is None else [pk for pk in self._pks if pk > self._after])
            while chunk := list(islice(keys, size)):
                rows = self._rows().in_bulk(chunk)
                yield {pk: rows[pk] for pk in chunk if pk in rows}, [pk for pk in chunk if pk not in rows]
            return
        after = self._after
        while True:
            page = self._page(after, size)
            last = next(reversed(page)) if len(page) == size else None
            # Looked for after the rows: one that goes in between was among them, or is found here.
            gone = (pk for pk in self._gone(after, last, size) if pk not in page)
            yield from _split(page, gone, size)
            if last is None:
                return
            after = last

    def _rows(self) -> models.QuerySet[M]:
        return plain_rows(self.model).exclude(changed_at=None)

    def _page(self, after: Any, size: int) -> dict[Any, M]:
        order: Any = F(self._attname)
        if isinstance(self._key, models.CharField | models.TextField):  # in the order that it has in the log
            order = Collate(order, "C" if log_connection().vendor == "postgresql" else "BINARY")
        rows = self._rows().alias(_order=order)
        if after is not None:
            rows = rows.filter(_order__gt=after)
        return {row.pk: row for row in rows.order_by("_order")[:size]}

    def _gone(self, after: Any, until: Any, size: int) -> Iterator[Any]:
        """Yield the keys above ``after``, up to ``until``, of aggregates that have ended since, row or no row."""
        names = ending_names(self.model)
        if not names:
            return
        ended = StoredEvent.objects.using(conf.DATABASE).filter(
            stream_type__in=self._names, type__in=names, recorded_at__gt=self.when, version__isnull=False
        )
        order: Any = F("stream_key")
        if isinstance(self._key, _NUMBERS):
            # The keys of other streams are no numbers; nobody says in which order a database looks at conditions.
            number = Cast("stream_key", self._number())
            order = Case(When(stream_type__in=self._names, then=number), default=Value(None))
        ended = ended.annotate(_order=order).order_by("_order")
        if until is not None:
            ended = ended.filter(_order__lte=self._in_log(until))
        while True:
            part = ended if after is None else ended.filter(_order__gt=self._in_log(after))
            keys = [self._key.to_python(key) for key in part.values_list("stream_key", flat=True)[:size]]
            yield from keys
            if len(keys) < size:
                return
            after = keys[-1]

    def _in_log(self, pk: Any) -> Any:
        return pk if isinstance(self._key, _NUMBERS) else stream_key_of(self.model, pk)

    def _number(self) -> models.Field[Any, Any]:
        if isinstance(self._key, models.DecimalField):
            return models.DecimalField(max_digits=self._key.max_digits, decimal_places=self._key.decimal_places)
        return models.BigIntegerField()

    def _states(self, rows: dict[Any, M], gone: list[Any]) -> Iterator[M]:
        later = [pk for pk, row in rows.items() if row.changed_at is None or row.changed_at > self.when]
        folded = self._fold([stream_key_of(self.model, pk) for pk in (*later, *gone)])
        moved = set(later)
        for pk in merge(rows, gone):
            if pk in rows and pk not in moved:
                row = rows[pk]
                yield as_past(row, final=row.ended or bool(self._final))
                continue
            state = folded.pop(stream_key_of(self.model, pk), None)
            # One that had ended by then, and whose row has gone, had gone by then.
            if state is not None and (pk in rows or not state.ended):
                yield as_past(state, final=pk in moved or bool(self._final))

    def _fold(self, stream_keys: list[str]) -> dict[str, M]:
        """Return the states then of those that existed, by stream key."""
        folds: dict[str, Fold[M]] = {}
        readers = Readers(self.model)
        keeper = Keeper(self.model, defers=False)
        snapshots = newest_of(self.model, stream_keys, until_time=self.when)
        since = {key: snapshots[key].version if key in snapshots else 1 for key in stream_keys}
        while since:
            again: dict[str, int] = {}
            for recorded in read_until(self.model.stream_type, since, until_time=self.when, window=_EVENTS):
                key = recorded.stream_key
                if key in snapshots:
                    state = from_snapshot(self.model, snapshots.pop(key), recorded)
                    if state is None:
                        again[key] = 1
                    else:
                        folds[key] = Fold(state, key, readers)
                elif key not in again:
                    folding = folds.get(key)
                    if folding is None:
                        folding = folds[key] = Fold(blank(self.model, key), key, readers)
                    folding.add_recorded(recorded)
                    keeper.passed(folding.state, recorded)
            since = again | dict.fromkeys(snapshots, 1)  # those whose snapshot was of other events, or of none
            snapshots.clear()
        keeper.close()
        return {key: folding.state for key, folding in folds.items()}


def _split(rows: dict[Any, M], gone: Iterator[Any], size: int) -> Iterator[tuple[dict[Any, M], list[Any]]]:
    keys = merge(rows, gone)
    while chunk := list(islice(keys, size)):
        yield {pk: rows[pk] for pk in chunk if pk in rows}, [pk for pk in chunk if pk not in rows]
