"""Histories: one JSON line for each thing that a process does or is told, in a file of its own, read when all is over.

A process may be killed at any moment. A line is written by one call, so what is in the file has happened in this order;
one that was torn apart by a kill is passed over, as if the process had been killed just before.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class History:
    """A file to which lines are added, also by several processes at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, **line: Any) -> None:
        """Write down one thing."""
        self.add_all([line])

    def add_all(self, lines: list[dict[str, Any]]) -> None:
        """Write down several things that happened together."""
        # The first line break ends what a kill has torn.
        os.write(self._file, "\n".join(["", *map(json.dumps, lines), ""]).encode())


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a history, if there is one."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for text in file:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict):
                yield line
