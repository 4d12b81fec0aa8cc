"""Where a worker process of a rebuild begins: it imports no model, since Django is not set up there yet."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import django
from django.db import connections
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class Setting(NamedTuple):
    """What a worker has to know of the process that started it."""

    settings: str
    alias: str
    database: Any
    """Name of the database, which may be another one than that of the settings (a test's)."""
    model: str
    check: bool


class Outcome(NamedTuple):
    """What became of a part."""

    part: int
    aggregates: int = 0
    events: int = 0
    error: str = ""
    """The traceback, if it failed."""
    passing: bool = False
    """Whether it may succeed another time: a lock that was not given, a server that restarted."""


def main(pipe: Connection[Any, Any], setting: Setting) -> None:
    """Set Django up and work off what comes through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    try:
        os.environ["DJANGO_SETTINGS_MODULE"] = setting.settings
        django.setup()
        connections[setting.alias].settings_dict["NAME"] = setting.database
        import_string("eventsourcing_app.aggregates.rebuild.workers.serve")(pipe, setting)
    except Exception:  # noqa: BLE001 - whatever it is, it is told where somebody reads it
        with suppress(OSError):
            pipe.send(Outcome(0, error=traceback.format_exc()))
    finally:
        connections.close_all()
