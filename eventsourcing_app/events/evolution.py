"""Old events stay readable: their plain data is brought up version by version, and is never rewritten in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.events import canonical, codec
from eventsourcing_app.events.registry import registry
from eventsourcing_app.exceptions import EventRefused, EventUnreadable, NewerEventVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventsourcing_app.events.registry import Declaration


def read(type: str, schema_version: int, text: str) -> object:
    """Return the event that was stored under this wire name, in this version, as this text.

    Raises ``UnknownEventType``, ``NewerEventVersion`` or, for anything else that is wrong, ``EventUnreadable``.
    """
    try:
        declaration = registry.get(type)
    except ImproperlyConfigured as error:
        raise EventUnreadable(str(error)) from error
    if schema_version == declaration.version:
        return codec.decode(declaration, text)
    _check_version(declaration, schema_version)
    try:
        data = canonical.loads(text)
    except EventUnreadable as error:
        raise EventUnreadable(f"{type} version {schema_version} is unreadable: {error}") from error
    if not isinstance(data, dict):
        raise EventUnreadable(f"{type} version {schema_version} is unreadable: its text is not an object.")
    current = canonical.dumps(upcast(declaration, schema_version, data))
    return codec.decode(declaration, current, stored_version=schema_version)


def upcast(declaration: Declaration, schema_version: int, data: Mapping[str, object]) -> dict[str, object]:
    """Bring plain data of an older version up to the current one. ``data`` stays as it is.

    Each upcaster gets a copy of its own, made as if the step before had been stored, so it may change it freely.
    """
    _check_version(declaration, schema_version)
    current = _stored(declaration, schema_version, schema_version, dict(data))
    for version in range(schema_version, declaration.version):
        step = declaration.upcasters.get(version)
        if step is None:
            raise EventUnreadable(
                f"{declaration.name} version {schema_version} is unreadable: no upcaster leads from version {version} "
                f"to {version + 1}. Add upcasters={{{version}: …}} to @event."
            )
        try:
            made: object = step(current)
        except Exception as error:
            raise EventUnreadable(
                f"{declaration.name} version {schema_version} is unreadable: its upcaster from version {version} "
                f"raised {type(error).__name__}: {error}"
            ) from error
        current = _stored(declaration, schema_version, version + 1, made)
    return current


def gaps(declaration: Declaration) -> list[int]:
    """Return the versions that no upcaster leads on from."""
    return [version for version in range(1, declaration.version) if version not in declaration.upcasters]


def _check_version(declaration: Declaration, schema_version: int) -> None:
    if schema_version > declaration.version:
        raise NewerEventVersion(
            f"{declaration.name} was stored in version {schema_version}, but this code knows it up to version "
            f"{declaration.version}. Run the newer code."
        )
    if schema_version < 1:
        raise EventUnreadable(f"{declaration.name}: there is no version {schema_version}; versions start at 1.")


def _stored(declaration: Declaration, schema_version: int, version: int, data: object) -> dict[str, object]:
    if not isinstance(data, dict):
        raise EventUnreadable(
            f"{declaration.name} version {schema_version} is unreadable: as version {version} its data must be a dict, "
            f"not {type(data).__name__}. An upcaster returns the new dict."
        )
    try:
        return cast("dict[str, object]", canonical.loads(canonical.dumps(data, subject=f"version {version}")))
    except EventRefused as error:
        raise EventUnreadable(f"{declaration.name} version {schema_version} is unreadable: {error}") from error
