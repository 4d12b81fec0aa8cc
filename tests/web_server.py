"""Real servers of the demo's addresses, as child processes that work in the running test's database."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECONDS = 20.0
ARGUMENTS = {
    "gunicorn": ("gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "--threads", "8", "demo_bank.wsgi"),
    "uvicorn": (
        "uvicorn",
        "--port",
        "{port}",
        "--log-level",
        "warning",
        "--lifespan",
        "off",
        "demo_bank.asgi:application",
    ),
}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(kind: str, env: Mapping[str, str], log: Path, *, port: int | None = None) -> Iterator[str]:
    """Serve with ``gunicorn`` or ``uvicorn`` and give the address; what the server says goes to ``log``."""
    port = port or free_port()
    module, *arguments = (argument.format(port=port) for argument in ARGUMENTS[kind])
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env=dict(env), stdout=output, stderr=output
        )
    try:
        end = time.monotonic() + _SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < end, log.read_text("utf-8")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
