"""The rows about the admin: each page with a large log beside the same page with a small one."""

from __future__ import annotations

from tests.benchmarks.row import Contestant, Row
from tests.benchmarks.stores import Store
from tests.benchmarks.targets import NotBehind

_MOST = 1.5
"""How many times as long a page may take."""


def _row(name: str, work: str, title: str, large: str, small: str, pages: tuple[str, ...]) -> Row:
    return Row(
        name=name,
        title=title,
        unit="pages/s",
        contestants=(
            _asked(work, large, "ours", "large_office"),
            _asked(work, small, "small", "small_office"),
        ),
        targets=tuple(NotBehind("small", page, _MOST) for page in pages),
        writes=False,
        more="ms",
    )


def _asked(work: str, who: str, key: str, content: str) -> Contestant:
    return Contestant(key=key, who=who, work=f"ours_admin.{work}", store=Store("ours_office", content), prepared=True)


ADMIN_ROWS = (
    _row(
        "admin-events",
        "events",
        "the list of events in the admin, newest first, each page as rendered HTML",
        "large log",
        "small log",
        (
            *("newest", "middle", "type", "rare type", "stream type", "rare stream type", "type of stream type"),
            *("aggregate", "stream key", "actor", "rare actor", "correlation", "period", "search", "tail"),
        ),
    ),
    _row(
        "admin-pages",
        "pages",
        "other pages of the admin about the log",
        "large log, many subscriptions",
        "small log, few subscriptions",
        ("overview", "event", "correlation", "operator log"),
    ),
    _row(
        "admin-account",
        "account",
        "the pages of one account, its stream long or short, opened before",
        "long stream, large log",
        "short stream, small log",
        ("state", "trail", "trail, middle", "past", "past, time", "slider"),
    ),
    _row(
        "admin-account-first",
        "account_first",
        "the same before there are snapshots",
        "long stream, large log",
        "short stream, small log",
        (),
    ),
    _row(
        "admin-operators",
        "operators",
        "subscriptions and parked events, many or as many as a page shows",
        "many",
        "one page",
        ("subscriptions", "subscription", "parked", "parked of one"),
    ),
)
