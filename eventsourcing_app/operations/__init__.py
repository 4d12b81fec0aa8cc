"""Migration operations. ``MakeAppendOnly`` lets rows of a table be added, and never changed or removed, by triggers;
``RebuildState``, from its own file, lets rows be rebuilt after their columns changed.

The SQL of a version is frozen: a migration that has been published keeps doing what it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import NotSupportedError, connections, models, transaction
from django.db.backends.utils import split_identifier, truncate_name
from django.db.migrations.operations.base import Operation, OperationCategory

from eventsourcing_app.operations.append_only_sql import (
    APPEND_ONLY,
    CONFLICT,
    POSITION_TYPE,
    SQL,
    SQLITE_MARK,
    TRIGGER,
    TRIGGER_TYPES,
)
from eventsourcing_app.operations.rebuild_state import RebuildState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


__all__ = ["MakeAppendOnly", "RebuildState", "protect", "triggers_missing"]


class MakeAppendOnly(Operation):
    """Let rows of a model's table be added, and refuse every other write, on PostgreSQL and SQLite.

    ``position`` names the model's automatic key, if nobody may choose its value. ``conflict`` names the unique key
    whose violation is a lost race and no attack; on SQLite the marker ``eventsourcing:conflict`` tells it apart.
    Applying it again replaces what is there: end each migration that touches the table with it, since SQLite rebuilds
    a table to alter it and silently drops its triggers. ``sql_version`` names the frozen SQL.

    Raises ``NotSupportedError`` on other databases, and on SQLite for unique keys that a guard could not repeat.
    """

    reversible = True
    category = OperationCategory.ALTERATION

    def __init__(
        self, model_name: str, *, position: str | None = None, conflict: Sequence[str] = (), sql_version: int = 1
    ) -> None:
        if sql_version not in SQL:
            raise ValueError(f"MakeAppendOnly knows the sql_version {', '.join(map(str, SQL))}, not {sql_version!r}.")
        self.model_name = model_name
        self.position = position
        self.conflict = tuple(conflict)
        self.sql_version = sql_version

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Leave out what has its default."""
        kwargs: dict[str, Any] = {"model_name": self.model_name}
        if self.position is not None:
            kwargs["position"] = self.position
        if self.conflict:
            kwargs["conflict"] = self.conflict
        if self.sql_version != 1:
            kwargs["sql_version"] = self.sql_version
        return type(self).__name__, [], kwargs

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Nothing: triggers are no part of a model's state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Create the triggers, replacing older ones."""
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            self._run(schema_editor, self.forwards_sql(schema_editor.connection, model))

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Drop the triggers."""
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            self._run(schema_editor, self.backwards_sql(schema_editor.connection, model))

    def describe(self) -> str:
        """Say what it does."""
        return f"Make {self.model_name} append-only"

    @property
    def migration_name_fragment(self) -> str:
        """The part of a migration's file name."""
        return f"{self.model_name.lower()}_append_only"

    def references_model(self, name: str, app_label: str) -> bool:
        """Whether it is about this model."""
        return name.lower() == self.model_name.lower()

    @staticmethod
    def _run(schema_editor: BaseDatabaseSchemaEditor, statements: list[str]) -> None:
        with transaction.atomic(using=schema_editor.connection.alias):
            for statement in statements:
                # The statements hold percent signs of their own; without parameters nobody interpolates.
                schema_editor.execute(statement, params=None)

    def forwards_sql(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> list[str]:
        """Return the statements that protect the table."""
        self._check_vendor(connection)
        if connection.vendor == "postgresql":
            return [self._postgresql(SQL[self.sql_version].forwards, connection, model)]
        return [*self.backwards_sql(connection, model), *self._sqlite_triggers(connection, model).values()]

    def backwards_sql(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> list[str]:
        """Return the statements that end the protection."""
        self._check_vendor(connection)
        if connection.vendor == "postgresql":
            return [self._postgresql(SQL[self.sql_version].backwards, connection, model)]
        names = dict.fromkeys(kind for version in SQL.values() for kind in version.sqlite)
        quote = connection.ops.quote_name
        return [f"DROP TRIGGER IF EXISTS {quote(_sqlite_name(connection, model, kind))}" for kind in names]

    def damage(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> list[str]:
        """Return, in words, which parts of the protection of an existing table are missing, disabled or altered."""
        self._check_vendor(connection)
        if connection.vendor == "postgresql":
            return self._postgresql_damage(connection, model)
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            found: dict[str, str] = dict(cursor.fetchall())
        return [
            f"{name} is {'altered' if name in found else 'missing'}"
            for name, sql in self._sqlite_triggers(connection, model).items()
            if found.get(name) != sql
        ]

    def _check_vendor(self, connection: BaseDatabaseWrapper) -> None:
        if connection.vendor not in {"postgresql", "sqlite"}:
            raise NotSupportedError(
                f"MakeAppendOnly cannot protect {self.model_name} on {connection.display_name} (database "
                f"{connection.alias!r}): only PostgreSQL and SQLite refuse every change by triggers. Keep the model "
                "out of that database with a router's allow_migrate()."
            )

    def _postgresql(self, template: str, connection: BaseDatabaseWrapper, model: type[models.Model]) -> str:
        table = model._meta.db_table
        function = truncate_name(f"{split_identifier(table)[1]}_append_only", connection.ops.max_name_length())
        return template.format(
            table=_literal(connection.ops.quote_name(table)),
            position="NULL" if self.position is None else _literal(_column(model, self.position)),
            function=_literal(function),
            body=_literal(SQL[self.sql_version].function),
        )

    def _postgresql_damage(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT tgname, tgenabled = 'A', tgtype, tgattr::text = '', tgqual IS NULL, prosrc,"
                " pg_get_triggerdef(t.oid) FROM pg_catalog.pg_trigger t"
                " JOIN pg_catalog.pg_proc p ON p.oid = tgfoid WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal",
                [connection.ops.quote_name(model._meta.db_table)],
            )
            found = {row[0]: row[1:] for row in cursor.fetchall()}
        types = dict(TRIGGER_TYPES)
        if self.position is not None:
            types["position"] = POSITION_TYPE
        damage = []
        for kind, tgtype in types.items():
            name = f"{TRIGGER}_{kind}"
            if name not in found:
                damage.append(f"{name} is missing")
                continue
            always, *shape, definition = found[name]
            whole = [tgtype, True, kind != "position", SQL[self.sql_version].function]
            if shape != whole or (kind == "position" and " IS DISTINCT FROM currval(" not in definition):
                damage.append(f"{name} is altered")
            elif not always:
                damage.append(f"{name} is disabled (or not ENABLE ALWAYS)")
        return damage

    def _sqlite_triggers(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> dict[str, str]:
        quote, table = connection.ops.quote_name, model._meta.db_table
        drawn = _drawn_key(model)
        words = {
            "table": quote(table),
            "guards": self._sqlite_guards(connection, model),
            "update": _literal(f"{APPEND_ONLY}: UPDATE on {table} refused: its rows are only added, never changed."),
            "delete": _literal(f"{APPEND_ONLY}: DELETE on {table} refused: its rows are only added, never removed."),
            "chosen": _literal(
                f"{APPEND_ONLY}: INSERT on {table} refused: positions are drawn by the database, never chosen."
            ),
        }
        kinds = ["update", "delete", "insert"]
        if self.position is not None:
            kinds.append("position")
            words["position"] = quote(_column(model, self.position))
        elif drawn is not None:
            kinds.append("drawn")
            words["drawn"] = quote(drawn)
        templates = SQL[self.sql_version].sqlite
        names = {kind: _sqlite_name(connection, model, kind) for kind in kinds}
        return {names[kind]: templates[kind].format(name=quote(names[kind]), **words) for kind in kinds}

    def _sqlite_guards(self, connection: BaseDatabaseWrapper, model: type[models.Model]) -> str:
        quote, table = connection.ops.quote_name, model._meta.db_table
        taken = f"{APPEND_ONLY}: INSERT on {table} refused: a row with the same key is already there."
        keys = dict.fromkeys(_unique_keys(model), _literal(taken))
        if self.conflict:
            conflict = tuple(_column(model, name) for name in self.conflict)
            mine = next((key for key in keys if set(key) == set(conflict)), None)
            if mine is None:
                raise ValueError(f"MakeAppendOnly: {self.model_name} has no unique key ({', '.join(self.conflict)}).")
            del keys[mine]
            # A row that breaks several keys is a lost race first: it was meant for a version that is taken.
            keys = {mine: _literal(f"{CONFLICT}: {table} ({', '.join(mine)})"), **keys}
        guard = SQL[self.sql_version].sqlite_guard
        return "".join(
            guard.format(
                message=message,
                table=quote(table),
                # NULL equals nothing, here as in a unique key.
                same=" AND ".join(f"{quote(column)} = NEW.{quote(column)}" for column in key),
            )
            for key, message in keys.items()
        )


PROTECTED = (
    (
        "eventsourcing_app",
        MakeAppendOnly("storedevent", position="position", conflict=("stream_type", "stream_key", "version")),
    ),
)
"""The protection that the newest migrations leave behind: (app label, operation)."""


def triggers_missing(connection: BaseDatabaseWrapper, model: type[models.Model]) -> list[str]:
    """Return, in words, what is missing, disabled or altered in the protection of one of this app's own models."""
    for app_label, operation in PROTECTED:
        if apps.get_model(app_label, operation.model_name) is model:
            return operation.damage(connection, model)
    raise LookupError(f"{model._meta.label} is not among the models that this app protects.")


def protect(using: str) -> None:
    """Apply the protection of this app's own tables again, after a table was rebuilt, restored or meddled with."""
    connection = connections[using]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        for app_label, operation in PROTECTED:
            for statement in operation.forwards_sql(connection, apps.get_model(app_label, operation.model_name)):
                cursor.execute(statement)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _column(model: type[models.Model], name: str) -> str:
    for field in model._meta.concrete_fields:
        if field.name == name:
            return str(field.column)
    raise FieldDoesNotExist(f"MakeAppendOnly: {model._meta.label} has no column for a field {name!r}.")


def _sqlite_name(connection: BaseDatabaseWrapper, model: type[models.Model], kind: str) -> str:
    return truncate_name(f"{model._meta.db_table}{SQLITE_MARK}{kind}", connection.ops.max_name_length())


def _drawn_key(model: type[models.Model]) -> str | None:
    key = model._meta.pk
    return key.column if isinstance(key, models.AutoField | models.BigAutoField | models.SmallAutoField) else None


def _unique_keys(model: type[models.Model]) -> list[tuple[str, ...]]:
    """Return the columns of every unique key; refuse keys that a guard could not repeat."""
    options = model._meta
    names: list[Sequence[str]] = [[field.name for field in options.pk_fields]]
    names += [[field.name] for field in options.local_concrete_fields if field.unique and not field.primary_key]
    names += options.unique_together
    for constraint in options.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            if constraint.condition is not None or constraint.expressions:
                raise NotSupportedError(
                    f"MakeAppendOnly cannot protect {options.label} on SQLite: REPLACE would get past the conditional "
                    f"or functional unique constraint {constraint.name!r}."
                )
            names.append(constraint.fields)
    return list(dict.fromkeys(tuple(_column(model, name) for name in key) for key in names))
