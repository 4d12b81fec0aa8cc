"""A server whose database is down answers its probes: at once, whoever asks, and without secrets."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(database_url: str, log: IO[str]) -> Iterator[str]:
    """The demo under gunicorn; it can neither read a session nor a token."""
    port = free_port()
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "demo_bank.settings", "DATABASE_URL": database_url, "DEBUG": "0"}
    env |= {"SECRET_KEY": "of-the-tests", "ALLOWED_HOSTS": "127.0.0.1"}
    command = [sys.executable, "-m", "gunicorn", "demo_bank.wsgi", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/api/v1/health/"
    finally:
        child.terminate()
        child.wait(10)


@pytest.mark.parametrize(
    "database_url",
    [
        "postgres://bank:s3cret@127.0.0.1:1/bank",
        "sqlite:////no/such/folder/s3cret.sqlite3",
        "sqlite:///{}/s3cret.sqlite3",  # it is there, and has no tables
    ],
)
def test_a_server_whose_database_is_down_says_so_to_everybody_without_secrets(
    database_url: str, tmp_path: Path
) -> None:
    database_url = database_url.format(tmp_path)
    with (tmp_path / "log").open("w") as log, server(database_url, log) as address:
        for headers in ({}, {"Authorization": "Token abc"}, {"Cookie": "sessionid=abcdefghijklmnopqrstuvwxyz012345"}):
            for method in ("GET", "HEAD"):
                request = urllib.request.Request(address, method=method, headers=headers)
                with pytest.raises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(request, timeout=20)
                with caught.value as answer:
                    body = answer.read().decode()
                assert answer.code == 503
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["Retry-After"] == "5"
                assert answer.headers["Content-Type"] == "application/problem+json"
                if method == "GET":
                    assert json.loads(body)["code"] == "database_unavailable"
                    assert not re.search("s3cret|127.0.0.1:1|Traceback|folder", body)
    told = (tmp_path / "log").read_text()
    assert "Traceback" not in told
    assert "s3cret" not in told
