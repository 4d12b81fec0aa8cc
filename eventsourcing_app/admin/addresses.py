"""The addresses of the pages of one object, in the site of its admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse
from django.utils.http import urlencode

from eventsourcing_app.aggregates.model import EventSourcedModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.contrib.admin import AdminSite, ModelAdmin


class Addresses:
    """The pages of one object. That of an event-sourced model has its trail in the place of Django's history."""

    def __init__(self, model_admin: ModelAdmin[Any], object_id: str) -> None:
        options, self._site = model_admin.opts, model_admin.admin_site
        self._names, self._object_id = f"admin:{options.app_label}_{options.model_name}", object_id
        self._trail = "history" if issubclass(model_admin.model, EventSourcedModel) else "trail"

    def of(self, name: str) -> str:
        """A page by its name: ``change``, ``history``, ``trail``, ``past``."""
        site: AdminSite = self._site
        return reverse(f"{self._names}_{name}", args=[self._object_id], current_app=site.name)

    def past(self, more: Mapping[str, int], version: int | None) -> str:
        """The state at a version, or of now."""
        query = {**({} if version is None else {"version": version}), **more}
        return f"{self.of('past')}?{urlencode(query)}" if query else self.of("past")

    def before_and_after(self, version: int) -> str:
        """The state at a version, compared with that before it."""
        return self.past({"compare": version - 1} if version > 1 else {}, version)

    def context(self, *, has_row: bool) -> dict[str, str | None]:
        """What templates know of it."""
        return {
            "change_url": self.of("change") if has_row else None,
            "trail_url": self.of(self._trail),
            "past_url": self.of("past"),
        }
