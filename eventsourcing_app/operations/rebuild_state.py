"""``RebuildState``: a migration that changes an event-sourced model's columns marks its rows as no longer the fold.

The rebuild itself never runs inside a migration, whose models are historical and have no events, but once ``migrate``
is done, with the code of today.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.operations.fields import FieldOperation

from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState

_APP, _MARKS, _LOG = "eventsourcing_app", "duerebuild", "storedevent"
TABLE_MADE_BY = "0003_rebuilds"
"""The migration of this app that makes the table of the marks."""

_NOW = {"postgresql": "clock_timestamp()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')"}
# Without an event there is nothing to fold: a fresh database is not marked. (On SQLite an upsert from a SELECT needs a
# WHERE, too.)
_MARK = (
    "INSERT INTO {marks} (model, marked_at) SELECT '{model}', {now} WHERE EXISTS (SELECT 1 FROM {log})"
    " ON CONFLICT (model) DO UPDATE SET marked_at = excluded.marked_at"
)


class RebuildState(Operation):
    """Let the rows of an event-sourced model be rebuilt from its events after this migration.

    Use it beside ``AddField``, ``AlterField``, ``RenameField`` or ``RemoveField`` of the model, in any order, once a
    migration. It stores a mark; ``migrate`` rebuilds marked models when it is done, or only says so if
    ``EVENTSOURCING["REBUILD_AT_MIGRATE"]`` is ``False``. Backwards it marks too: older code has its state as well.

    The migration depends on ``("eventsourcing_app", "0003_rebuilds")``; ``ImproperlyConfigured`` without it.
    """

    __module__ = "eventsourcing_app.operations"  # what squashed migrations import it from

    reversible = True
    category = OperationCategory.PYTHON

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return what it is written as."""
        return type(self).__name__, [], {"model_name": self.model_name}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Nothing: what a row holds is no part of a model's state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Store the mark, if the model belongs to the database of the log."""
        connection = schema_editor.connection
        model = to_state.apps.get_model(app_label, self.model_name)
        if connection.alias != conf.DATABASE or not self.allow_migrate_model(connection.alias, model):
            return
        if (_APP, _MARKS) not in to_state.models:
            raise ImproperlyConfigured(
                f"RebuildState({self.model_name!r}) in a migration of {app_label!r} needs a table that is not there "
                f'yet: add ("{_APP}", "{TABLE_MADE_BY}") to the dependencies of that migration.'
            )
        tables = {
            name: connection.ops.quote_name(to_state.apps.get_model(_APP, model_name)._meta.db_table)
            for name, model_name in (("marks", _MARKS), ("log", _LOG))
        }
        sql = _MARK.format(model=f"{app_label}.{self.model_name.lower()}", now=_NOW[connection.vendor], **tables)
        schema_editor.execute(sql, params=None)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Store the mark: the rows have to be those of the older code."""
        self.database_forwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        """Say what it does."""
        return f"Rebuild the rows of {self.model_name} from its events, after the migrations"

    @property
    def migration_name_fragment(self) -> str:
        """The part of a migration's file name."""
        return f"rebuild_{self.model_name.lower()}"

    def references_model(self, name: str, app_label: str) -> bool:
        """Whether it is about this model."""
        return name.lower() == self.model_name.lower()

    def reduce(self, operation: Operation, app_label: str) -> bool | list[Operation]:
        """Two marks of a model are one, whatever happens to its fields between them."""
        if isinstance(operation, RebuildState) and operation.references_model(self.model_name, app_label):
            return [operation]
        return super().reduce(operation, app_label) or isinstance(operation, FieldOperation)
