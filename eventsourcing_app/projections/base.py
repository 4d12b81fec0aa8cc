"""``Projection``: a read model kept up to date from events, exactly once, in tables of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from eventsourcing_app.subscriptions.registry import Definition, Start, registry


class Projection:
    """Base of projections. A subclass has a ``name`` and methods marked with ``@handles``.

    Handlers run in the transaction that moves the checkpoint, in the order of each stream; they write only to the
    database of the log, and do not append. A subclass without a ``name`` is a base of others.
    """

    name: ClassVar[str] = ""
    """Key of its checkpoint: it never changes."""
    start: ClassVar[Start] = "beginning"
    """Where it begins when the database sees it first."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not vars(cls).get("name"):
            return
        projection = cls()
        handlers: dict[type, tuple[Any, ...]] = {}
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
                place=f"{cls.__module__}.{cls.__qualname__}",
                handlers=handlers,
                transactional=True,
                start=cls.start,
            )
        )
