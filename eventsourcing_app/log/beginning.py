"""The beginning of a JSON column's text, so that a list need not fetch all that large events say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Func, TextField

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


class Beginning(Func):
    """The first ``length`` characters of what a column of ``CanonicalJSONField`` holds, as text."""

    output_field = TextField()
    arity = 1

    def __init__(self, column: str, length: int) -> None:
        super().__init__(column)
        self.length = length

    def as_sql(  # type: ignore[override]  # it has one form only
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_context: object
    ) -> tuple[str, list[Any]]:
        # Past the vendor's form of the column, which would turn the text into something else first.
        column, params = self.get_source_expressions()[0].as_sql(compiler, connection)
        text = f"({column})::text" if connection.vendor == "postgresql" else column
        return f"SUBSTR({text}, 1, %s)", [*params, self.length]
