"""Reads a page of commands and answers, and compares an answer that is shown with one that came.

A fenced block ``sh`` is what the reader types; the fenced block after it, if only text stands between, is the answer.
In an answer ``…`` stands for anything: for a value, for a part of a text, and alone for further members, items, or
lines. An answer that begins with a status line has the headers that are worth showing after it, then the body.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY: Final = "…"
_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_TEXT_OR_ANY = re.compile(r'"(?:[^"\\]|\\.)*"|…')


@dataclass(frozen=True)
class Example:
    """What the reader types, and the answer that the page shows; it is empty where nothing is printed."""

    line: int
    typed: str
    shown: str


def examples(page: str) -> list[Example]:
    """The examples of a page, in order."""
    found: list[Example] = []
    open_one = False
    for match in _BLOCK.finditer(page):
        line = page.count("\n", 0, match.start()) + 1
        if match["language"] == "sh":
            found.append(Example(line=line, typed=match["text"], shown=""))
            open_one = True
        elif match["language"] in ("json", "text"):
            if not open_one:
                raise ValueError(f"The block in line {line} answers no command.")
            found[-1] = Example(line=found[-1].line, typed=found[-1].typed, shown=match["text"])
            open_one = False
    return found


def differences(shown: str, came: str) -> list[str]:
    """What of an answer is not as it is shown."""
    shown, came = shown.strip(), came.replace("\r\n", "\n").strip()
    if not shown.startswith("HTTP/"):
        return list(_of_bodies(shown, came))
    head, _, body = shown.partition("\n\n")
    came_head, _, came_body = came.partition("\n\n")
    return [*_of_heads(head.splitlines(), came_head.splitlines()), *_of_bodies(body.strip(), came_body.strip())]


def _of_heads(shown: list[str], came: list[str]) -> Iterator[str]:
    if not came or shown[0].split(" ", 2)[1] != came[0].split(" ", 2)[1]:
        yield f"status: {shown[0]!r} is shown, {came[:1]} came"
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in came[1:])}
    for line in shown[1:]:
        name, _, value = line.partition(":")
        if not _matches(value.strip(), headers.get(name.lower(), "")) or name.lower() not in headers:
            yield f"{name}: {value.strip()!r} is shown, {headers.get(name.lower())!r} came"


def _of_bodies(shown: str, came: str) -> Iterator[str]:
    if shown == ANY:
        return
    try:
        wanted = _read(shown)
    except ValueError:
        if not _lines_match(shown.splitlines(), came.splitlines()):
            yield f"text: {shown!r} is shown, {came!r} came"
        return
    try:
        body = json.loads(came)
    except ValueError:
        yield f"JSON is shown, {came!r} came"
        return
    yield from _of_values(wanted, body, "")


def _read(shown: str) -> Any:
    """JSON in which a bare … may stand for a value, an item, or a member."""

    def quoted(match: re.Match[str]) -> str:
        if match[0] != ANY:
            return match[0]
        before = shown[: match.start()].rstrip()
        is_value = before.endswith((":", "[")) or _innermost(before) == "["
        return f'"{ANY}"' if is_value else f'"{ANY}": "{ANY}"'

    return json.loads(_TEXT_OR_ANY.sub(quoted, shown))


def _innermost(before: str) -> str:
    opened = []
    for character in re.sub(r'"(?:[^"\\]|\\.)*"', "", before):
        if character in "[{":
            opened.append(character)
        elif character in "]}":
            opened.pop()
    return opened[-1] if opened else ""


def _of_values(shown: Any, came: Any, place: str) -> Iterator[str]:
    if shown == ANY:
        return
    if isinstance(shown, dict) and isinstance(came, dict):
        yield from _of_members(shown, came, place)
    elif isinstance(shown, list) and isinstance(came, list):
        yield from _of_items(shown, came, place)
    elif isinstance(shown, str) and isinstance(came, str):
        if not _matches(shown, came):
            yield f"{place}: {shown!r} is shown, {came!r} came"
    elif type(shown) is not type(came) or shown != came:
        yield f"{place}: {shown!r} is shown, {came!r} came"


def _of_members(shown: dict[str, Any], came: dict[str, Any], place: str) -> Iterator[str]:
    missing = shown.keys() - came.keys() - {ANY}
    extra = set() if ANY in shown else came.keys() - shown.keys()
    if missing or extra:
        yield f"{place or '/'}: {sorted(missing)} did not come, {sorted(extra)} came and are not shown"
    for name in shown.keys() & came.keys():
        yield from _of_values(shown[name], came[name], f"{place}/{name}")


def _of_items(shown: list[Any], came: list[Any], place: str) -> Iterator[str]:
    others = bool(shown) and shown[-1] == ANY
    wanted = shown[:-1] if others else shown
    if len(came) < len(wanted) or (len(came) > len(wanted) and not others):
        yield f"{place or '/'}: {len(wanted)} items are shown, {len(came)} came"
    for number, (one, other) in enumerate(zip(wanted, came, strict=False)):
        yield from _of_values(one, other, f"{place}/{number}")


def _matches(shown: str, came: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split(ANY))), came, re.DOTALL) is not None


def _lines_match(shown: list[str], came: list[str]) -> bool:
    if not shown:
        return not came
    if shown[0] == ANY:
        return any(_lines_match(shown[1:], came[skipped:]) for skipped in range(len(came) + 1))
    return bool(came) and _matches(shown[0], came[0]) and _lines_match(shown[1:], came[1:])
