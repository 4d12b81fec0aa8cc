"""Columns and indexes of the log that differ between databases, behind one name each.

Named by migrations, so they stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.expressions import Col
from django.db.models.fields.json import KeyTransform

from eventsourcing_app.events import canonical

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.backends.ddl_references import Statement
    from django.db.models.sql.compiler import SQLCompiler

    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


_STRUCTURES, _CONSTANTS = ("{", "["), ("true", "false", "null")


class ByteOrderedCharField(_CharField):
    """Text compared and sorted by its bytes on every database, whatever the locale of the server."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters


class _JSONTextCol(Col):
    """A column of JSON text on PostgreSQL: queried as ``jsonb``, read as the text that was stored."""

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_context: object
    ) -> tuple[str, list[Any]]:
        sql, params = self.as_sql(compiler, connection)
        return f"({sql})::jsonb", list(params)

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> tuple[str, Any]:
        if compiler.connection.vendor != "postgresql":
            return sql, params
        if compiler.query.group_by is not None:
            return f"({sql})::text", params
        plain, params = self.as_sql(compiler, compiler.connection)
        return f"({plain})::text", params


class CanonicalJSONField(models.JSONField):
    """JSON kept as the very text that was hashed, and still open to Django's JSON lookups.

    On PostgreSQL the column has the type ``json``, which keeps the text; ``jsonb`` would rewrite numbers and keys.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "json" if connection.vendor == "postgresql" else super().db_type(connection)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if connection.vendor == "postgresql" or value is None or hasattr(value, "resolve_expression"):
            return super().get_db_prep_value(value, connection, prepared)
        return canonical.dumps(value)  # compared with the text that is stored

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        # SQLite gives the text "50.00" out of the JSON as 50.00: it must not be taken for a number.
        if isinstance(expression, KeyTransform) and connection.vendor == "sqlite" and isinstance(value, str):
            return canonical.loads(value) if value[:1] in _STRUCTURES or value in _CONSTANTS else value
        return super().from_db_value(value, expression, connection)

    def get_col(self, alias: str, output_field: models.Field[Any, Any] | None = None) -> Col:
        if alias == self.model._meta.db_table and output_field in (None, self):
            return self.cached_col
        return _JSONTextCol(alias, self, output_field)

    @property
    def cached_col(self) -> Col:
        return _JSONTextCol(self.model._meta.db_table, self)


class TimeIndex(models.Index):
    """An index for ranges of time over rows that arrive in order of time: BRIN on PostgreSQL, B-tree elsewhere.

    BRIN knows of new rows only when it is told to look at them: autovacuum does, without waiting for a vacuum.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Statement:
        if schema_editor.connection.vendor != "postgresql":
            return super().create_sql(model, schema_editor, using=using, **kwargs)
        statement = super().create_sql(model, schema_editor, using=" USING brin", **kwargs)
        statement.parts["extra"] = f" WITH (autosummarize = on){statement.parts['extra']}"  # type: ignore[assignment]
        return statement
