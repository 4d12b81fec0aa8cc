"""Where a process that builds a projection begins: it imports no model, since Django is not set up there yet."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import django
from django.db import connections
from django.utils.module_loading import import_string

from eventsourcing_app.exceptions import RebuildFailed

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from uuid import UUID


class Setting(NamedTuple):
    """What a process has to know of the one that started it."""

    settings: str
    alias: str
    database: Any
    """Name of the database, which may be another one than that of the settings (a test's)."""
    projection: str
    until: int
    token: UUID
    at: Any
    since: Any
    """Shared with who watches over it, as ``Signs`` has them, which cannot be imported yet."""


def main(pipe: Connection[Any, Any], setting: Setting) -> None:
    """Set Django up and build, until all is done, or something comes through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    outcome: dict[str, Any] = {"error": "", "finished": False}
    try:
        os.environ["DJANGO_SETTINGS_MODULE"] = setting.settings
        django.setup()
        connections[setting.alias].settings_dict["NAME"] = setting.database
        outcome["finished"] = import_string("eventsourcing_app.projections.builders.serve")(setting, pipe.poll)
    except RebuildFailed as error:
        outcome["error"] = str(error)
    except Exception:  # noqa: BLE001 - whatever it is, it is told where somebody reads it
        outcome["error"] = traceback.format_exc()
    finally:
        connections.close_all()
    with suppress(OSError):
        pipe.send(outcome)
