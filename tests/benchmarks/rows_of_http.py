"""The rows about HTTP: what the API costs beside plain views of Django REST framework."""

from __future__ import annotations

from tests.benchmarks.row import Contestant, Row
from tests.benchmarks.stores import Store
from tests.benchmarks.targets import Faster, Slower, Within

_SEEDS = "ours_seeds"


def _asked(work: str, who: str, key: str, content: str, use: str = "") -> Contestant:
    return Contestant(key=key, who=who, work=f"ours_http.{work}", store=Store(_SEEDS, content, use), prepared=True)


HTTP_ROWS = (
    Row(
        name="http-deposit",
        title="a deposit over HTTP against an update of a plain row by DRF's ModelViewSet",
        unit="requests/s",
        contestants=(
            _asked("deposit", "ours, prepared: POST …/deposit/", "ours", "accounts", "http"),
            _asked("plain_update", "DRF, prepared: PATCH of a plain model", "plain", "accounts", "http_plain"),
        ),
        targets=(Faster("plain", 0.7),),
        writes=False,
        rounds=3,
    ),
    Row(
        name="http-events",
        title="a page of 100 events of the large log against one of a plain table of its size",
        unit="requests/s",
        contestants=(
            _asked("page", "ours, prepared: GET events/", "ours", "log"),
            _asked("plain_page", "DRF, prepared: list of a plain model, CursorPagination", "plain", "log"),
        ),
        targets=(Faster("plain", 0.9),),
        writes=False,
        rounds=3,
    ),
    Row(
        name="http-growth",
        title="a page of 100 events of the large log against one of a small log",
        unit="requests/s",
        contestants=(
            _asked("page", "large log", "ours", "log"),
            _asked("page", "small log", "small", "small_log"),
        ),
        targets=(Slower("small", 1.2),),
        writes=False,
        rounds=3,
    ),
    Row(
        name="http-hostile",
        title="bodies that are refused: ten thousand levels, a million digits, 2 MB of text and the like",
        unit="requests/s",
        contestants=(_asked("hostile", "ours, prepared: POST accounts/", "ours", "small_log"),),
        targets=(Within("slowest", 100),),
        writes=False,
        rounds=3,
        more="ms",
    ),
)
