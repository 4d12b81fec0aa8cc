"""What an event says in one line, made from the beginning of its data: nobody reads more than that in a list."""

from __future__ import annotations

import json
from typing import Any, Final

from eventsourcing_app.admin.values import summary

LENGTH: Final = 1_000
"""How many characters of the data are needed for one line."""
_LONGEST_ESCAPE = 12
"""Characters of a surrogate pair in JSON, which the end may have cut in two."""
_decoder = json.JSONDecoder()


def summary_of(beginning: str) -> str:
    """One line of data of which these are the first ``LENGTH`` characters, or all."""
    try:
        return summary(json.loads(beginning))
    except ValueError:
        return summary(_members(beginning))


def _members(beginning: str) -> dict[str, Any]:
    """Return what can be read of an object that was cut off; the text of the last value as far as it goes.

    Canonical JSON has no white space between its parts.
    """
    members: dict[str, Any] = {}
    place = 1  # after the brace
    try:
        while True:
            name, place = _decoder.raw_decode(beginning, place)
            place += 1  # the colon
            members[name] = f"{_cut_off(beginning[place:])}…"
            value, place = _decoder.raw_decode(beginning, place)
            if place == len(beginning):  # a number may go on
                return members
            members[name] = value
            place += 1  # the comma
    except ValueError:
        return members


def _cut_off(text: str) -> str:
    if not text.startswith('"'):
        return text
    for fewer in range(_LONGEST_ESCAPE):
        try:
            return str(json.loads(f'{text[: len(text) - fewer]}"'))
        except ValueError:
            continue
    return text
