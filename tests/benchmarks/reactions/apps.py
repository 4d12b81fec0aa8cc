"""The app's configuration. Its module ``reactions`` is found as that of any app."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created

from tests.benchmarks import journal
from tests.benchmarks.job import given

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper


class ReactionsConfig(AppConfig):
    """Installed in the processes of the benchmark only."""

    name = "tests.benchmarks.reactions"
    label = "benchmark_reactions"

    def ready(self) -> None:
        mine = given().reactions
        if mine is not None and mine.counted and journal.VARIABLE in os.environ:
            connection_created.connect(_count_queries, dispatch_uid=self.name)


def _count_queries(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    if _written_down not in connection.execute_wrappers:
        connection.execute_wrappers.append(_written_down)


def _written_down(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    journal.write(0, 0)
    return execute(sql, params, many, context)
