"""The queryset of event-sourced models: an ordinary one to read with; writes that leave no event are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from django.db import models

from eventsourcing_app.exceptions import DirectWriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable

M = TypeVar("M", bound=models.Model, covariant=True)


def _refuse(door: str) -> Callable[..., NoReturn]:
    def refuse(self: models.QuerySet[Any], *_args: object, **_kwargs: object) -> NoReturn:
        raise DirectWriteRefused(
            f"{self.model.__name__}.objects.{door} is refused: it would leave no event behind. Use "
            f"objects.perform(pk, {self.model.__name__}.some_command, …), objects.perform_new(…) to create, or "
            "objects.save_all(…) for many."
        )

    refuse.__name__ = door
    return refuse


class EventSourcedQuerySet(models.QuerySet[M]):
    """Reads, filters and locks like any queryset."""

    create = _refuse("create()")
    bulk_create = _refuse("bulk_create()")
    get_or_create = _refuse("get_or_create()")
    update_or_create = _refuse("update_or_create()")
    bulk_update = _refuse("bulk_update()")
    delete = _refuse("delete()")
    _raw_delete = _refuse("delete()")
    _update = _refuse("update()")  # as Model.save_base() of Django calls it, and with that loaddata
    _insert = _refuse("insert()")

    def update(self, **values: Any) -> int:
        """Write columns listed in ``unrecorded``; every other column is refused."""
        recorded = sorted(set(values) - set(getattr(self.model, "unrecorded", ())))
        if recorded:
            raise DirectWriteRefused(
                f"{self.model.__name__}.objects.update({', '.join(recorded)}=…) is refused: it would leave no event "
                f"behind. Use objects.perform(pk, {self.model.__name__}.some_command, …)."
            )
        return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]
