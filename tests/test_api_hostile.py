"""Whatever a client sends, it is answered with a problem: by the views alone, and through a real server.

Nothing here breaks a request (5xx), is read without a bound, or comes back in full.
"""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

from demo_bank.models import Account
from eventsourcing_app.api.parsers import MAX_DEPTH
from eventsourcing_app.api.problems import problem_body
from eventsourcing_app.models import StoredEvent
from tests.api_client import PROBLEM, client_of, problem_of
from tests.hostile_bodies import BODIES, deep

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNTS = "/api/v1/accounts/"
LARGEST_ANSWER = 300_000
"""Bytes: a hundred errors of a thousand characters each, at two places."""


@pytest.fixture
def root() -> Any:  # its stubs know no bodies of bytes
    client = client_of(User.objects.create_superuser("root"))
    client.raise_request_exception = False
    return client


@pytest.fixture
def account() -> Account:
    return Account.objects.get(pk=Account.objects.perform_new(Account.open, owner="Ada", number="1").pk)


@pytest.mark.django_db
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_hostile_body_is_400_and_does_not_come_back(root: Any, body: bytes) -> None:
    response = root.generic("POST", ACCOUNTS, body, content_type="application/json")
    assert (response.status_code, response.headers["Content-Type"]) == (400, PROBLEM), response.content[:500]
    assert len(response.content) < LARGEST_ANSWER
    assert not StoredEvent.objects.exists()


@pytest.mark.django_db
def test_a_body_may_be_as_deep_as_the_limit_says(root: Any) -> None:
    for levels, said in ((MAX_DEPTH, False), (MAX_DEPTH + 1, True)):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            body = deep(levels, opening, closing)
            answer = root.generic("POST", ACCOUNTS, body, content_type="application/json")
            assert ("levels deep" in problem_of(answer, 400, "parse_error" if said else "invalid")["detail"]) is said
    quoted = json.dumps({"owner": "[{" * 5000 + '"\\'}).encode()
    assert "owner" in str(problem_of(root.generic("POST", ACCOUNTS, quoted, "application/json"), 400, "invalid"))


@pytest.mark.django_db
def test_of_many_errors_a_hundred_are_listed(root: Any) -> None:
    body = ("{" + ",".join(f'"n{n}":1' for n in range(15_000)) + "}").encode()
    problem = problem_of(root.generic("POST", ACCOUNTS, body, content_type="application/json"), 400, "invalid")
    assert len(problem["errors"]) == 100
    errors = [{"detail": "x" * 5000, "pointer": f"/{number}", "code": "invalid"} for number in range(150)]
    shown = problem_body(None, 400, "invalid", "\ud800", {"errors": errors})
    assert (len(shown["errors"]), shown["errors_left_out"], shown["detail"]) == (100, 50, "\\ud800")
    assert {len(error["detail"]) for error in shown["errors"]} == {1001}


ADDRESSES = (
    "?data__owner__startswith=A",
    "?owner__startswith=A",
    "?balance__gt=0",
    "?_connector=OR",
    "?_negated=1",
    "?pk__in=1,2",
    "?password=x",
    "?user__password__startswith=p",
    "?order=balance;DROP%20TABLE%20x",
    "?order=balance%20DESC",
    "?order=(SELECT%201)",
    "?order=?",
    "?order=owner__x",
    "?order=pk",
    "?limit=1000000000",
    "?limit=-1",
    f"?limit={'9' * 5000}",
    "?limit=1e9",
    "?after=%00",
    "?owner=%00",
    f"?owner={'x' * 10_000}",
    f"?search={'x' * 10_000}",
    f"?search={'a%20' * 3_000}",
    "?currency=NaN",
    f"?{'x' * 60_000}=1",
    "?" + "&".join(f"n{n}=1" for n in range(5000)),
    "?" + "&".join("owner=1" for _n in range(500)),
    "?" + "a[b]" * 1000,
    "?%ff=%ff",
    "?format=xml",
)


@pytest.mark.django_db
@pytest.mark.parametrize("query", ADDRESSES, ids=lambda query: query[:40])
def test_a_hostile_query_is_a_problem(root: Any, account: Account, query: str) -> None:
    response = root.get(f"{ACCOUNTS}{query}")
    assert (response.status_code in (400, 404), response.headers["Content-Type"]) == (True, PROBLEM), response.content
    assert len(response.content) < 10_000


@pytest.mark.django_db
@pytest.mark.parametrize(
    "rest", ["%ff/", "%00/", "%ED%A0%80/", "x" * 60_000 + "/", "../../etc/passwd", "%2e%2e%2f/", "1'--/", "a/b/c/"]
)
def test_a_hostile_path_is_not_found(root: Any, account: Account, rest: str) -> None:
    for more in ("", "events/", "deposit/"):
        response = root.get(f"{ACCOUNTS}{rest}{more}")
        assert (response.status_code in (404, 405), response.headers["Content-Type"]) == (True, PROBLEM)
        assert len(response.content) < 10_000


def json_with(header: str, value: str) -> dict[str, Any]:
    name = "CONTENT_TYPE" if header == "Content-Type" else f"HTTP_{header.upper().replace('-', '_')}"
    return {"CONTENT_TYPE": "application/json", name: value}


HEADERS = ("Accept", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Correlation-ID", "Cookie")


@pytest.mark.django_db
@pytest.mark.parametrize("header", [*HEADERS, "Authorization", "Accept-Language", "Referer"])
@pytest.mark.parametrize(
    "value", ["x" * 65_536, "\xff\xfe", ", " * 20_000, '"' * 20_000, "a/b;q=x," * 5_000, "Token \xff", ";;;=,=\x7f"]
)
def test_a_hostile_header_breaks_nothing(root: Any, account: Account, header: str, value: str) -> None:
    for response in (
        root.get(f"{ACCOUNTS}{account.pk}/", headers={header: value}),
        root.generic("POST", f"{ACCOUNTS}{account.pk}/deposit/", b'{"amount": "1"}', **json_with(header, value)),
    ):
        assert response.status_code < 500
        assert response.status_code < 400 or response.headers["Content-Type"] == PROBLEM
        assert len(response.content) < 10_000
        assert len(response.headers["X-Correlation-ID"]) <= 128


@pytest.mark.django_db
def test_a_body_is_judged_by_its_headers_before_it_is_read(root: Any) -> None:
    class Unread:
        def read(self, *_size: int) -> bytes:
            raise AssertionError("it was read")

        readline = read

    def posted(**environ: Any) -> Any:
        return root.generic("POST", ACCOUNTS, b"", **{"wsgi.input": Unread(), **environ})

    large = {"CONTENT_LENGTH": str(10**9), "CONTENT_TYPE": "application/json"}
    problem_of(posted(**large), 413, "body_too_large")
    problem_of(posted(**{**large, "CONTENT_LENGTH": "9" * 5000}), 413, "body_too_large")
    problem_of(posted(**{**large, "CONTENT_TYPE": "multipart/form-data; boundary=x"}), 413, "body_too_large")
    for content_type in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        answer = posted(CONTENT_LENGTH="1000", CONTENT_TYPE=content_type)
        problem_of(answer, 415, "unsupported_media_type")
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": ""}
    problem_of(posted(**chunked), 411, "length_required")
    packed = {"HTTP_CONTENT_ENCODING": "gzip", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "1000"}
    problem_of(posted(**packed), 415, "content_encoding_not_supported")


# Through a server


class Server:
    """gunicorn with one worker, behind a Unix socket."""

    def __init__(self, process: subprocess.Popen[bytes], address: Path) -> None:
        self.process = process
        self.address = address

    def send(self, request: bytes) -> tuple[int, str, bytes]:
        """Send raw bytes; return status, content type and body of the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.address))
            answer = b""
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer and hang up before it has read all
                connection.sendall(request)
            with suppress(ConnectionResetError):
                while part := connection.recv(65_536):
                    answer += part
        head, _separator, body = answer.partition(b"\r\n\r\n")
        status, *headers = head.decode("latin-1").split("\r\n")
        named = {name.lower(): value for name, _colon, value in (each.partition(": ") for each in headers)}
        return int(status.split(" ")[1]), named.get("content-type", ""), body

    def largest_memory(self) -> int:
        """The most that any of its processes has had, in kB."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii").split()
        lines = [line for pid in children for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines()]
        return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.fixture
def server(child_env: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    address = tmp_path / "s"
    command = [sys.executable, "-m", "gunicorn", "--bind", f"unix:{address}", "--workers", "1", "demo_bank.wsgi"]
    process = subprocess.Popen(command, env=child_env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = Server(process, address)
    try:
        while not address.exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def request_of(
    token: str, first: bytes, body: bytes = b"", *headers: bytes, length: int | None = -1, host: bytes = b"localhost"
) -> bytes:
    lines = [first, b"Host: " + host, b"Authorization: Token " + token.encode(), b"Connection: close", *headers]
    if length is not None:
        lines.append(b"Content-Length: %d" % (len(body) if length < 0 else length))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.django_db(transaction=True)
def test_a_real_server_answers_problems_and_keeps_its_memory(server: Server) -> None:
    token = Token.objects.create(user=User.objects.create_superuser("root")).key
    as_json = b"Content-Type: application/json"
    listing, posting = b"GET /api/v1/accounts/%s HTTP/1.1", b"POST /api/v1/accounts/ HTTP/1.1"

    def ask(first: bytes, body: bytes = b"", *headers: bytes, **more: Any) -> tuple[int, str, str]:
        status, kind, answer = server.send(request_of(token, first, body, *headers, **more))
        assert len(answer) < LARGEST_ANSWER
        return status, kind, json.loads(answer)["code"] if kind == PROBLEM else ""

    assert ask(listing % b"")[:2] == (200, "application/json")
    before = server.largest_memory()
    for name, content in BODIES.items():
        assert ask(posting, content, as_json)[:2] == (400, PROBLEM), name
    assert ask(posting, b"{}", as_json, length=10**9) == (413, PROBLEM, "body_too_large")
    chunked = b"Transfer-Encoding: chunked"
    assert ask(posting, b"2\r\n{}\r\n0\r\n\r\n", as_json, chunked, length=None) == (411, PROBLEM, "length_required")
    packed = gzip.compress(b"[" * 10_000_000)
    code = "content_encoding_not_supported"
    assert ask(posting, packed, as_json, b"Content-Encoding: gzip") == (415, PROBLEM, code)
    form = b"Content-Type: application/x-www-form-urlencoded"
    assert ask(posting, b"owner=Ada", form) == (415, PROBLEM, "unsupported_media_type")
    assert ask(b"FOO /api/v1/accounts/ HTTP/1.1") == (405, PROBLEM, "method_not_allowed")
    assert ask(listing % b"%ff/")[:2] == (404, PROBLEM)
    assert ask(listing % b"?%ff=1") == (400, PROBLEM, "unknown")
    assert ask(listing % b"?owner=%ff")[0] in (200, 400)
    assert ask(listing % b"", b"", b"X-Correlation-ID: \xff")[0] == 200
    assert ask(listing % b"", host=b"evil.example") == (400, PROBLEM, "host_not_allowed")
    assert ask(b"GET /api/nothing/ HTTP/1.1") == (404, PROBLEM, "not_found")
    # Those the server refuses itself.
    for refused in (
        request_of(token, listing % (b"x" * 65_536)),
        request_of(token, listing % b"\xff/"),
        request_of(token, listing % b"", b"", b"X-Long: " + b"x" * 65_536),
        request_of(token, posting, b"{}", as_json, chunked),
        request_of(token, b"POST /api/v1/accounts/ HTTP/1.1", b"{}", as_json, b"Content-Length: -1"),
    ):
        assert 400 <= server.send(refused)[0] < 500
    assert ask(listing % b"")[:2] == (200, "application/json")
    assert server.process.poll() is None
    # Bodies of 2.5 MB are read and parsed in one piece; a hundredth of what was declared or would be unpacked stays.
    assert server.largest_memory() - before < 150_000
