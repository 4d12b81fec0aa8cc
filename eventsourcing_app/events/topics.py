"""Topics: an event's topic is its wire name, words between dots; a pattern names many of them.

``*`` stands for one word and ``#`` for any number of words, none included, as in AMQP 0-9-1 (topic exchanges).
"""

from __future__ import annotations

from functools import lru_cache

from django.core.exceptions import ImproperlyConfigured

_MAX_PATTERN = 200
_WILD = ("*", "#")


def check_pattern(pattern: str) -> str:
    """Return ``pattern`` if it can match a topic: words between dots, each of them text, ``*`` or ``#``.

    Raises ``ImproperlyConfigured`` if it cannot.
    """
    words = pattern.split(".")
    wrong = [word for word in words if word not in _WILD and not word.replace("_", "a").replace("-", "a").isalnum()]
    if wrong or len(pattern) > _MAX_PATTERN:
        raise ImproperlyConfigured(
            f"{pattern!r} is no pattern of topics: write words between dots, '*' for one word, '#' for any number of "
            f"them ('bank.*', 'bank.#'), {_MAX_PATTERN} characters at most."
        )
    return pattern


@lru_cache(maxsize=4096)
def matches(pattern: str, topic: str) -> bool:
    """Whether a pattern names a topic."""
    # Step by step along the words of the pattern: at how many words of the topic each could have arrived.
    words = topic.split(".")
    reached = {0}
    for word in pattern.split("."):
        if word == "#":
            reached = set(range(min(reached, default=len(words) + 1), len(words) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(words) and word in ("*", words[at])}
    return len(words) in reached
