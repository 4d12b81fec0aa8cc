"""How Sphinx builds these pages. They are plain Markdown that reads the same on a forge; a build fetches nothing.

The links of index.md are the table of contents: its sections become the groups of the side bar, and a page that it does
not name comes last.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import eventsourcing_app

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "django-eventsourcing-app"
author = "The django-eventsourcing-app authors"
project_copyright = author
release = version = eventsourcing_app.__version__

extensions = ["myst_parser"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # an "…" in an example stands for what was left out

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_copy_source = False

_INDEX = "index"
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s:#]+\.[a-z]+)(?P<anchor>#[^)\s]*)?\)")
_SECTION = re.compile(r"^## (?P<title>.+)\n(?P<body>(?:(?!^## ).*\n?)*)", re.MULTILINE)


def setup(app: Sphinx) -> None:
    """Prepare each page as it is read."""
    app.connect("source-read", _prepare)


def _prepare(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = _LINK.sub(lambda link: _inside(page, link), source[0])
    if page == _INDEX:
        source[0] += _contents(source[0], app.env.found_docs)


def _inside(page: str, link: re.Match[str]) -> str:
    """Keep a link within docs/. The README's place is taken by the index; other files have none among the pages."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link["target"]))
    if not target.startswith(".."):
        return link[0]
    if target == "../README.md":
        return f"[{link['text']}]({posixpath.relpath(_INDEX, posixpath.dirname(page) or '.')}.md)"
    return link["text"]


def _contents(index: str, pages: set[str]) -> str:
    groups = {
        section["title"]: [Path(link["target"]).with_suffix("").as_posix() for link in _LINK.finditer(section["body"])]
        for section in _SECTION.finditer(index)
    }
    named = {_INDEX, *(page for group in groups.values() for page in group)}
    groups["More"] = sorted(pages - named)
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(group) + "\n```\n"
        for title, group in groups.items()
        if group
    )
