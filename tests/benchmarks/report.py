"""The table and the JSON of a run. A target that was missed is marked, and a row that failed says why."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks.row import Row
    from tests.benchmarks.server import Server
    from tests.benchmarks.targets import Figure, Verdict

PACKAGES = ("Django", "psycopg", "msgspec", "django-q2", "eventsourcing", "django-simple-history")
COLUMNS = ("work", "who", "dispatcher", "median", "min..max", "ours ÷ it", "CPU µs", "memory", "also", "target")
DIFFERENCES = (
    "Ours and the floor store an event in 14 columns (about 200 bytes of canonical JSON, 100 of metadata, actor,",
    "correlation id, hash), under triggers and seven indexes, and with it the row of the account. eventsourcing stores",
    "one text with the time, and no row, metadata, actor or hash; its writers lock the table until they commit.",
    "django-simple-history stores the columns of the account, and no metadata, actor or hash.",
    'Prepared: ours with "prepare_threshold": 5, as docs/operating.md recommends; eventsourcing and the floor by',
    "themselves. By Django's default, nothing is.",
    "CPU µs: what a unit costs the client's processes, the database not counted. It bears a busy machine best.",
)


@dataclass(frozen=True, slots=True)
class Result:
    """A row as it was measured."""

    row: Row
    figures: dict[str, Figure] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    """By the contestant beside whom they are shown."""
    error: str = ""
    """Why the row could not be measured."""


def header(server: Server, *, runs: int, scale: object) -> dict[str, Any]:
    """What was measured where: versions, machine, and what the server does to keep its promises."""
    versions = {"Python": platform.python_version(), "PostgreSQL": server.version, "SQLite": sqlite3.sqlite_version}
    return {
        "versions": versions | {name: version for name in PACKAGES if (version := _version(name))},
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "platform": platform.platform(terse=True),
            "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        },
        "PostgreSQL settings": server.settings,
        "runs": runs,
        "scale": {name: getattr(scale, name) for name in scale.__struct_fields__},  # type: ignore[attr-defined]
    }


def lines(result: Result) -> list[str]:
    """Return a row's lines of the table."""
    return [f"| {' | '.join(cells)} |" for cells in _cells(result)]


def as_text(head: dict[str, Any], results: Sequence[Result]) -> str:
    """Return the report in Markdown."""
    text = [f"{name}: {_pairs(value)}" for name, value in head.items()]
    text += ["", *DIFFERENCES, ""]
    text += [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---:|---|---:|---:|---:|---|---|"]
    for result in results:
        text += lines(result)
    missed = sum(not verdict.met for result in results for some in result.verdicts.values() for verdict in some)
    failed = [result.row.name for result in results if result.error]
    text += ["", f"{missed} targets missed." + (f" Not measured: {', '.join(failed)}." if failed else "")]
    return "\n".join(text)


def as_json(head: dict[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        "header": head,
        "rows": [
            {
                "name": result.row.name,
                "title": result.row.title,
                "unit": result.row.unit,
                "memory": result.row.memory,
                "more": result.row.more,
                "error": result.error,
                "figures": {key: asdict(figure) | {"median": figure.rate} for key, figure in result.figures.items()},
                "verdicts": [
                    {"beside": beside, **asdict(verdict)}
                    for beside, some in result.verdicts.items()
                    for verdict in some
                ],
            }
            for result in results
        ],
    }


def _cells(result: Result) -> Iterator[tuple[str, ...]]:
    title = f"`{result.row.name}` {result.row.title}"
    if result.error:
        yield (title, f"**NOT MEASURED**: {result.error}", *[""] * (len(COLUMNS) - 2))
        return
    ours = result.figures["ours"]
    for key, figure in result.figures.items():
        yield (
            title,
            figure.who,
            figure.dispatcher,
            f"{_number(figure.rate)} {result.row.unit}",
            f"{_number(min(figure.rates))}..{_number(max(figure.rates))}",
            "" if key == "ours" else _number(ours.rate / figure.rate),
            _number(figure.cpu),
            "" if figure.peak is None else f"{figure.peak:.0f} MB {result.row.memory}",
            _also(figure, result.row),
            "; ".join(map(_shown, result.verdicts.get(key, []))),
        )
        title = ""


def _also(figure: Figure, row: Row) -> str:
    values = ", ".join(f"{name} {_number(value)}" for name, value in figure.more.items())
    return f"{values} {row.more}" if row.more and values else ""


def _shown(verdict: Verdict) -> str:
    if verdict.met:
        return f"{verdict.target}: met"
    return f"{verdict.target}: **MISSED** ({_number(verdict.measured)})"


def _number(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _pairs(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def progress(text: str) -> None:
    """Tell what goes on, beside the report."""
    print(text, file=sys.stderr, flush=True)
