"""``manage.py demo`` shows the whole bank, checks it, and leaves no process behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

MARK = "DEMO_TEST_RUN"
LOOKS = {
    *("history delivered", "admin pages", "API endpoints", "requests delivered", "books balance", "audit complete"),
    *("state is its history", "events are genuine"),
}


@pytest.fixture
def demo_env(child_env: dict[str, str]) -> Iterator[dict[str, str]]:
    """Environment of the demo; whatever process still has it at the end was left behind."""
    mark = uuid4().hex
    yield {**child_env, "DJANGO_SETTINGS_MODULE": "tests.demo_bank.settings", MARK: mark}
    left = processes(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def processes(mark: str) -> list[int]:
    """Return the processes that run with this mark in their environment, where the system tells."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in place.read_bytes():
                found.append(int(place.parent.name))
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


def start(env: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start the demo."""
    return subprocess.Popen(
        [sys.executable, "-m", "django", "demo", *arguments],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def checked(env: dict[str, str]) -> dict[str, Any]:
    """Run the check and return what it found."""
    demo = start(env, "--no-serve", "--json")
    said, errors = demo.communicate(timeout=100)
    assert demo.returncode == 0, said + errors
    found: dict[str, Any] = json.loads(said)
    return found


def test_the_bank_is_found_in_order_each_time_until_a_balance_is_changed_by_hand(
    demo_env: dict[str, str],
) -> None:
    first = checked(demo_env)

    assert first["ok"]
    assert first["seeded"]["fresh"]
    assert {finding["name"] for finding in first["findings"]} == LOOKS
    visits = {finding["name"]: finding["facts"].get("visits", []) for finding in first["findings"]}
    assert "GET /admin/demo_bank/account/ 200" in visits["admin pages"]
    assert "GET /admin/eventsourcing_app/storedevent/ 200" in visits["admin pages"]
    deposit = re.compile(r"POST /api/v1/accounts/[-0-9a-f]+/deposit/ 20\d")
    assert any(map(deposit.fullmatch, visits["API endpoints"]))
    for visit in ("POST /api/v1/batch/ 200", "GET /api/v1/health/ 200", "GET /api/v1/subscriptions/bank.audit/ 200"):
        assert visit in visits["API endpoints"]

    second = checked(demo_env)

    assert second["ok"]
    assert not second["seeded"]["fresh"]
    assert second["seeded"]["events"] == first["seeded"]["events"] + 8

    with connection.cursor() as cursor:
        cursor.execute("UPDATE demo_bank_account SET balance = balance + 1 WHERE number = 'DEMO-0001'")

    demo = start(demo_env, "--no-serve", "--json")
    said, errors = demo.communicate(timeout=100)

    assert demo.returncode == 1
    assert "Off: books balance, state is its history" in errors
    assert not json.loads(said)["ok"]


def test_it_serves_until_it_is_told_to_end_and_leaves_no_process_behind(demo_env: dict[str, str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        demo, said = serving(demo_env)
        assert "password demo-admin" in said
        assert len(re.findall(r"^ +token \w{40}$", said, re.MULTILINE)) == 4
        assert "docs/api.md" in said
        token, address = re.search(r"Token (\w+)", said), re.search(r"http://\S+/accounts/", said)
        assert token is not None
        assert address is not None
        request = urllib.request.Request(address[0], headers={"Authorization": f"Token {token[1]}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

        demo.send_signal(number)
        rest, errors = demo.communicate(timeout=100)

        assert demo.returncode == 0, errors
        assert "Stopped." in rest
        assert processes(demo_env[MARK]) == []


def serving(env: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """Start the demo and return it with what it said once it serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    demo = start(env, "--port", str(port))
    assert demo.stdout is not None
    said = ""
    while "Ctrl-C ends it" not in said:
        line = demo.stdout.readline()
        assert line, demo.communicate()[1]
        said += line
    return demo, said


def test_it_ends_early_without_a_process_left_if_it_is_told_to_while_it_checks(demo_env: dict[str, str]) -> None:
    demo = start(demo_env, "--no-serve")
    assert demo.stdout is not None
    assert demo.stdout.readline().startswith("Seeded")
    demo.terminate()

    errors = demo.communicate(timeout=100)[1]

    assert demo.returncode == 130, errors
    assert "Asked to stop" in errors


def test_a_port_that_is_taken_is_an_ordinary_error(demo_env: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        demo = start(demo_env, "--port", str(taken.getsockname()[1]))
        errors = demo.communicate(timeout=100)[1]

    assert demo.returncode == 1
    assert "choose another with --port" in errors


def test_it_refuses_to_run_where_its_logins_would_be_dangerous() -> None:
    with pytest.raises(CommandError, match="needs DEBUG"):
        call_command("demo", "--no-serve")
