"""The queryset of event-sourced models: an ordinary one to read with; writes that leave no event are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from django.db import models
from django.db.models.query import RawQuerySet

from eventsourcing_app.aggregates.recording import forget_computed, outside_fields, unrecorded_names
from eventsourcing_app.exceptions import DirectWriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

M = TypeVar("M", bound=models.Model, covariant=True)


def _refuse(door: str) -> Callable[..., NoReturn]:
    def refuse(self: models.QuerySet[Any], *_args: object, **_kwargs: object) -> NoReturn:
        raise DirectWriteRefused(
            f"{self.model.__name__}.objects.{door} is refused: it would leave no event behind. Use "
            f"objects.perform(pk, {self.model.__name__}.some_command, …), objects.perform_new(…) to create, or "
            "objects.save_all(…) for many."
        )

    refuse.__name__ = door.partition("(")[0]
    refuse.alters_data = True  # type: ignore[attr-defined]  # no template calls it
    return refuse


def _refuse_raw(self: models.QuerySet[Any], *_args: object, **_kwargs: object) -> NoReturn:
    """Refuse what ``Model.save_base()`` of Django calls, and with that ``loaddata``."""
    raise DirectWriteRefused(
        f"{self.model.__name__}: writing a row as it is (loaddata, save_base()) is refused: it would leave no event "
        f"behind. Run commands: objects.perform(pk, {self.model.__name__}.some_command, …), perform_new(…) to create."
    )


class EventSourcedRawQuerySet(RawQuerySet):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """Instances to read: SQL may give a column any value, and nothing tells it from the one that is stored."""

    def iterator(self) -> Iterator[Any]:
        """Yield instances that are spent already."""
        for instance in super().iterator():
            instance._recording.spend("it was loaded by raw(), whose columns need not hold what is stored")
            yield instance

    def using(self, alias: str | None) -> EventSourcedRawQuerySet:
        """Return the same of another database."""
        found: Any = super().using(alias)
        found.__class__ = type(self)  # Django names its own
        return found  # type: ignore[no-any-return]


class EventSourcedQuerySet(models.QuerySet[M]):
    """Reads, filters and locks like any queryset."""

    create = _refuse("create()")
    bulk_create = _refuse("bulk_create()")
    get_or_create = _refuse("get_or_create()")
    update_or_create = _refuse("update_or_create()")
    delete = _refuse("delete()")
    _raw_delete = _refuse("delete()")
    _update = _refuse_raw
    _insert = _refuse_raw

    def raw(self, *args: Any, **kwargs: Any) -> EventSourcedRawQuerySet:
        """Read by SQL of one's own. Its instances cannot be saved: load them again with ``get()``."""
        found: Any = super().raw(*args, **kwargs)
        found.__class__ = EventSourcedRawQuerySet
        return found  # type: ignore[no-any-return]

    def extra(self, select: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> Any:
        """Add SQL to the query. Raises ``ValueError``, as ``annotate()`` does, if it gives a field another value."""
        fields = {name for field in self.model._meta.concrete_fields for name in (field.name, field.attname)}
        taken = sorted(fields & set(select or ()))
        if taken:
            raise ValueError(
                f"{self.model.__name__}.objects.extra(select=…): {', '.join(taken)} conflicts with a field on the "
                "model, whose value would pass for what is stored. Use another name."
            )
        return super().extra(select, *args, **kwargs)

    def update(self, **values: Any) -> int:
        """Write columns listed in ``unrecorded``; every other column is refused."""
        self._require_unrecorded("update", values)
        return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(self, objs: Iterable[M], fields: Iterable[str], batch_size: int | None = None) -> int:
        """Write columns listed in ``unrecorded`` of many rows; every other column is refused."""
        objs, fields = tuple(objs), tuple(fields)
        self._require_unrecorded("bulk_update", fields)
        written = super().bulk_update(objs, fields, batch_size)
        columns = {field.attname for field in outside_fields(self.model) if {field.name, field.attname} & set(fields)}
        for instance in objs:
            forget_computed(instance, written=columns)
            # Written: a later save() has no reason to write them once more, over what somebody else wrote since.
            instance._recording.settle(instance, only=columns)  # type: ignore[attr-defined]
        return written

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def _require_unrecorded(self, door: str, names: Collection[str]) -> None:
        recorded = sorted(set(names) - unrecorded_names(self.model))
        if recorded:
            raise DirectWriteRefused(
                f"{self.model.__name__}.objects.{door}({', '.join(recorded)}=…) is refused: it would leave no event "
                f"behind. Use objects.perform(pk, {self.model.__name__}.some_command, …)."
            )
