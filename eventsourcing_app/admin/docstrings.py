"""What a command's docstring says for people: of the command, and of each argument in the usual styles.

:param amount: How much.          (Sphinx)

Args:                             (Google)
    amount: How much.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PARAM = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?(?P<name>\w+)\s*:\s*(?P<text>.*)")
_OTHER = re.compile(r":\w+.*?:")
_SECTION = re.compile(r"(?P<title>[A-Z][A-Za-z ]*):\s*")
_ENTRY = re.compile(r"(?P<name>\w+)(?:\s*\([^)]*\))?\s*:\s*(?P<text>.*)")
_ARGUMENTS = ("Args", "Arguments", "Parameters")
_OTHERS = ("Raises", "Returns", "Yields", "Example", "Examples", "Note", "Notes")


def explained_arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the docstring says of each argument that it speaks of."""
    found: dict[str, list[str]] = {}
    section, name, indent = "", "", 0
    for line in _text_of(function).splitlines():
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if not text:
            name = ""
        elif parameter := _PARAM.fullmatch(text):
            name, indent = parameter["name"], depth
            found[name] = [parameter["text"]]
        elif name and depth > indent:
            found[name].append(text)
        elif depth == 0:
            heading = _SECTION.fullmatch(text)
            section, name = heading["title"] if heading else "", ""
        elif section in _ARGUMENTS and (entry := _ENTRY.fullmatch(text)):
            name, indent = entry["name"], depth
            found[name] = [entry["text"]]
        else:
            name = ""
    return {name: " ".join(lines).strip() for name, lines in found.items()}


def paragraphs_of(function: Callable[..., Any]) -> list[str]:
    """Return what the docstring says of the whole, without the sections for programmers."""
    return list(_paragraphs(_text_of(function)))


def _text_of(function: Callable[..., Any]) -> str:
    return inspect.getdoc(function) or ""


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        first = paragraph.strip().partition("\n")[0].strip()
        heading = _SECTION.fullmatch(first)
        if _OTHER.match(first) or (heading and heading["title"] in (*_ARGUMENTS, *_OTHERS)):
            return
        if first:
            yield " ".join(paragraph.replace("``", "").split())
