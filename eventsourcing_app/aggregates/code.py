"""Which code a rebuild was begun with: its result is that of one version, so another version begins anew."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from django.apps import apps

from eventsourcing_app.aggregates.dispatch import applies_of
from eventsourcing_app.events.declare import declaration_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventsourcing_app.aggregates.model import EventSourcedModel


def code_of(model: type[EventSourcedModel]) -> str:
    """Return a fingerprint of the source that makes this model's state of its events, as hexadecimal text.

    It covers the files of the model's app, and the modules of its base classes, its events and their upcasters. What
    those call elsewhere is not seen.
    """
    digest = sha256()
    for path in sorted(set(_files(model))):
        digest.update(str(path).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(model: type[EventSourcedModel]) -> Iterator[Path]:
    yield from Path(apps.get_app_config(model._meta.app_label).path).rglob("*.py")
    declarations = [declaration_of(event) for event in applies_of(model)]
    steps = [step for declaration in declarations for step in declaration.upcasters.values()]
    for part in (*model.__mro__, *applies_of(model), *steps):
        source = getattr(sys.modules.get(getattr(part, "__module__", "")), "__file__", None)
        if source and Path(source).is_file():
            yield Path(source)
