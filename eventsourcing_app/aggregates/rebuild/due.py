"""Models that migrations have marked: rebuilt when ``migrate`` is done, or named until somebody does it.

A mark goes only when a rebuild that began after it has gone through every row, so it outlives whatever happens between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations import RenameModel

from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.aggregates.rebuild.rebuilder import Ears, run_rebuild
from eventsourcing_app.aggregates.rebuild.records import DueRebuild
from eventsourcing_app.aggregates.rebuild.runs import stored
from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import RebuildRunning

if TYPE_CHECKING:
    from collections.abc import Callable


def due() -> list[str]:
    """Return the marked models as ``app_label.modelname``, as they were called; none if the table is not there yet."""
    connection = connections[conf.DATABASE]
    if DueRebuild._meta.db_table not in connection.introspection.table_names():
        return []
    return list(stored(DueRebuild).order_by("model").values_list("model", flat=True))


def rebuild_due(say: Callable[[str], None]) -> None:
    """Rebuild the marked models whose apps are fully migrated; ``say`` is told what is done and what has to wait.

    Raises what a rebuild raises; the mark stays then.
    """
    marked = due()
    if not marked:
        return
    executor = MigrationExecutor(connections[conf.DATABASE])
    for label in marked:
        app_label = label.partition(".")[0]
        targets = executor.loader.graph.leaf_nodes(app_label)
        if targets and executor.migration_plan(targets):
            say(f"{label} is to be rebuilt once every migration of {app_label} is applied.")
            continue
        model = _find(_renamed(executor, label))
        if model is None:
            stored(DueRebuild).filter(model=label).delete()
            say(f"{label} needs no rebuild: this code has no event-sourced model of that name.")
            continue
        if model._meta.label_lower != label:
            _remark(label, model._meta.label_lower)
        if conf.REBUILD_AT_MIGRATE:
            _rebuild(model, say)
        else:
            say(f"{model._meta.label} is to be rebuilt: run manage.py rebuild {model._meta.label}")


def _rebuild(model: type[EventSourcedModel], say: Callable[[str], None]) -> None:
    name = model._meta.label
    say(f"Rebuilding {name} from its events…")
    try:
        counts = run_rebuild(model, check=False, ears=Ears(note=say))
    except RebuildRunning as error:
        say(f"{error} {name} stays marked: run manage.py rebuild {name} after it.")
        return
    assert counts is not None, "nobody stops it"
    left = f", {counts.left} not repaired: see manage.py rebuild {name} --check" if counts.left else ""
    say(f"Rebuilt {name}: {counts.aggregates} aggregates, {counts.events} events, {counts.drifted} differed{left}.")


def _find(label: str) -> type[EventSourcedModel] | None:
    try:
        model = apps.get_model(label)
    except LookupError:
        return None
    return model if issubclass(model, EventSourcedModel) else None


def _renamed(executor: MigrationExecutor, label: str) -> str:
    """Follow a model through the ``RenameModel`` of its app's migrations, in their order."""
    app_label, _, name = label.partition(".")
    graph = executor.loader.graph
    for leaf in graph.leaf_nodes(app_label):
        for key in graph.forwards_plan(leaf):
            for operation in graph.nodes[key].operations if key[0] == app_label else ():
                if isinstance(operation, RenameModel) and operation.old_name_lower == name:
                    name = operation.new_name_lower
    return f"{app_label}.{name}"


def _remark(old: str, new: str) -> None:
    for mark in stored(DueRebuild).filter(model=old):
        stored(DueRebuild).update_or_create(model=new, defaults={"marked_at": mark.marked_at})
        mark.delete()
