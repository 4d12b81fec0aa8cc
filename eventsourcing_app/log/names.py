"""The names of streams: a history goes on when the model that it belongs to gives its streams another name.

The log is immutable, so older events keep the older name. Whoever reads a stream by one of its names gets all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Iterator


def names_of(stream_type: str) -> tuple[str, ...]:
    """Return every name of the streams that are, or once were, called ``stream_type``: the present one first.

    A name that no installed model lists in ``stream_type_aliases``, such as a topic, stands for itself alone.
    """
    return next((names for names in renamed() if stream_type in names), (stream_type,))


def renamed() -> Iterator[tuple[str, ...]]:
    """Yield the names of all streams that have more than one, the present one first."""
    # Asked each time: it costs less than the query that follows, and can never be out of date.
    for model in apps.get_models():
        older: tuple[str, ...] = getattr(model, "stream_type_aliases", ())
        if older and not model._meta.proxy:
            yield (model.stream_type, *older)  # type: ignore[attr-defined]  # who lists older names has a present one
