"""``Projection``: a read model kept up to date from events, exactly once, in tables of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.subscriptions.registry import Definition, registry

if TYPE_CHECKING:
    from django.db.models import Model

    from eventsourcing_app.subscriptions.registry import OnFailure, Start


_named: dict[str, type[Projection]] = {}


def projection_named(name: str) -> type[Projection] | None:
    """Return the projection with this name, if this code declares it."""
    found = _named.get(name)
    definition = registry.get(name)
    return found if definition is not None and found is not None and definition.place == place_of(found) else None


def place_of(projection: type[Projection]) -> str:
    """Return where a projection is declared."""
    return f"{projection.__module__}.{projection.__qualname__}"


class Projection:
    """Base of projections. A subclass has a ``name`` and methods marked with ``@handles``.

    Handlers run in the transaction that moves the checkpoint, in the order of each stream; they write only to the
    database of the log, and do not append. A subclass without a ``name`` is a base of others. The other attributes are
    those of ``@subscriber``, but for ``batch`` and ``transactional``.
    """

    name: ClassVar[str] = ""
    """Key of its checkpoint: it never changes."""
    models: ClassVar[tuple[type[Model], ...]] = ()
    """Its read models: the tables that it alone writes, which ``rebuild_projection`` builds again."""
    start: ClassVar[Start] = "beginning"
    """Where it begins when the database sees it first."""
    segments: ClassVar[int] = 1
    """Into how many shares it is divided; with more than one its handlers run side by side for different streams."""
    rate: ClassVar[str] = ""
    burst: ClassVar[int | None] = None
    on_failure: ClassVar[OnFailure] = "park"
    max_attempts: ClassVar[int | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not vars(cls).get("name"):
            return
        for option in ("batch", "transactional"):
            if hasattr(cls, option):
                raise ImproperlyConfigured(
                    f"{place_of(cls)} has {option!r}, which projections do not have: each of their handlers gets one "
                    "event, in the transaction that moves the checkpoint. See @subscriber."
                )
        projection = cls()
        handlers: dict[type | str, tuple[Any, ...]] = {}
        for base in cls.__mro__:
            for name, attribute in vars(base).items():
                method = getattr(projection, name) if hasattr(attribute, "__handles__") else None
                for event in getattr(attribute, "__handles__", ()):
                    if method not in handlers.get(event, ()):
                        handlers[event] = (*handlers.get(event, ()), method)
        registry.add(
            Definition(
                name=cls.name,
                kind="projection",
                place=place_of(cls),
                handlers=handlers,
                transactional=True,
                start=cls.start,
                segments=cls.segments,
                rate=cls.rate,
                burst=cls.burst,
                on_failure=cls.on_failure,
                max_attempts=cls.max_attempts,
            )
        )
        _named[cls.name] = cls
