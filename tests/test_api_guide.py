"""docs/api.md is true: what it tells a reader to type is typed, and each answer is the one that it shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from demo_bank.demo.logins import ensure_logins
from demo_bank.demo.seed import seed
from eventsourcing_app.log.settled import last_position
from eventsourcing_app.subscriptions.runtime import wait_for
from tests.conftest import ROOT, missing
from tests.guide import Example, differences, examples
from tests.web_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_django import Settings

pytestmark = pytest.mark.timeout(300)

PAGE = ROOT / "docs" / "api.md"
ADDRESS = "http://127.0.0.1:8000"
"""Where the reader's server is."""
TOKENS = {"TOKEN": "teller", "AUDITOR": "auditor", "OPERATOR": "admin"}
"""What the reader pastes from what the demo has printed, and whose token it is."""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "server",
    # A page takes a while to be typed: each server once, each database once.
    [
        pytest.param("gunicorn", marks=pytest.mark.needs_sqlite),
        pytest.param("uvicorn", marks=pytest.mark.needs_postgres),
    ],
)
def test_every_command_of_the_guide_is_answered_as_it_is_shown(
    server: str, child_env: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            missing(f"No {program}: install it (apt install {program}).")
    settings.DEBUG = True  # the logins have known passwords
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "CLOCK": "demo_bank.clock.now"}
    logins = ensure_logins()
    seed(actor=f"user:{logins['teller'].user.pk}")
    tokens = {name: logins[login].token for name, login in TOKENS.items()}
    env = {**child_env, "DJANGO_SETTINGS_MODULE": "tests.settings_guide"}

    with reacting(env), serving(server, env, tmp_path / "server.log") as address:
        wait_for(last_position(), timeout=120)  # as a reader does not type while the bank is still being seeded
        shown = [_as_typed(example, address, tokens) for example in examples(PAGE.read_text("utf-8"))]
        came = answers([example.typed for example in shown], tmp_path)

    wrong = [
        f"docs/api.md:{example.line}: {difference}"
        for example, answer in zip(shown, came, strict=True)
        for difference in differences(example.shown, answer)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_command_that_asks_the_server_shows_what_it_is_answered() -> None:
    found = examples(PAGE.read_text("utf-8"))
    assert len(found) > 40
    for example in found:
        quiet = re.search(r"=\$\(|\(\) \{", example.typed)  # its answer goes into a variable, or it is a function
        assert example.shown or quiet or "curl" not in example.typed, f"docs/api.md:{example.line} shows no answer"


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": 1, "b": 2, …}', '{"a": 1}'),
        ('{"a": "1"}', '{"a": 1}'),
        ('{"a": true}', '{"a": 1}'),
        ('{"a": "x…z"}', '{"a": "xy"}'),
        ('{"a": [1]}', '{"a": [1, 2]}'),
        ('{"a": [1, 2, …]}', '{"a": [1]}'),
        ('HTTP/1.1 200 OK\n\n{"a": 1}', 'HTTP/1.1 201 Created\n\n{"a": 1}'),
        ('HTTP/1.1 200 OK\nETag: "1"\n\n…', 'HTTP/1.1 200 OK\n\n{"a": 1}'),
        ('HTTP/1.1 200 OK\nETag: "1"\n\n…', 'HTTP/1.1 200 OK\nETag: "2"\n\n{"a": 1}'),
        ("HTTP/1.1 304 Not Modified", 'HTTP/1.1 304 Not Modified\n\n{"a": 1}'),
        ("id: 1\n…\nid: 3", "id: 1\nid: 2"),
        ("", "curl: (7) Failed to connect"),
    ],
)
def test_an_answer_that_differs_from_the_one_shown_is_noticed(shown: str, came: str) -> None:
    assert differences(shown, came)


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ('{"a": "…", "b": [{"c": …}, …], …}', '{"a": "x", "b": [{"c": 1}, 2], "d": null}'),
        ("HTTP/1.1 200 OK\nETag: …\n\n{…}", 'HTTP/1.1 200 OK\r\netag: "1"\r\nDate: now\r\n\r\n{"a": 1}\n'),
        ("id: …\n…\nid: 3", "id: 1\nid: 2\n\nid: 3"),
    ],
)
def test_what_is_left_out_may_be_anything(shown: str, came: str) -> None:
    assert differences(shown, came) == []


def answers(typed: list[str], place: Path) -> list[str]:
    """What each of the commands prints, typed one after the other into one shell."""
    end = "--- the next one ---"
    script = place / "typed.sh"
    script.write_text("".join(f"{text}\nprintf '\\n{end}\\n'\n" for text in typed), encoding="utf-8")
    # Without the settings of this process: the reader has none.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "TEST", "PYTHON"))}
    done = subprocess.run(
        ["bash", script],
        cwd=place,
        env={**env, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},  # noqa: PTH120
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    *came, rest = done.stdout.split(f"\n{end}\n")
    assert (len(came), rest) == (len(typed), ""), done.stdout
    return came


@contextmanager
def reacting(env: Mapping[str, str]) -> Iterator[None]:
    """Run the subscriptions meanwhile, as the demo does."""
    command = [sys.executable, "-m", "django", "run_subscriptions"]
    with subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL) as worker:
        try:
            yield
        finally:
            worker.terminate()


def _as_typed(example: Example, address: str, tokens: Mapping[str, str]) -> Example:
    typed, shown = (text.replace(ADDRESS, address) for text in (example.typed, example.shown))
    for name, token in tokens.items():
        typed = re.sub(rf"^{name}=…", f"{name}={token}", typed, flags=re.MULTILINE)
    assert "…" not in typed, f"docs/api.md:{example.line} has something for the reader to fill in that nobody knows"
    return Example(line=example.line, typed=typed, shown=shown)
