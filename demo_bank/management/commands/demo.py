"""``manage.py demo``: the whole of the demo bank, to be looked at or (``--no-serve``) to be checked."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from demo_bank.demo.checkup import Finding, audited, books_balance, caught_up, commanded, toured
from demo_bank.demo.logins import Login, ensure_logins
from demo_bank.demo.processes import Child
from demo_bank.demo.seed import Seeded, seed
from demo_bank.demo.visits import visit_admin, visit_api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOPPED_BY_SIGNAL = 130
_SERVER_SECONDS = 30.0


class Command(BaseCommand):
    """Migrates, seeds, starts a qcluster and a web server; ends both on Ctrl-C, SIGTERM or SIGHUP."""

    help = "Seed a bank with a year of history, then serve it, or check everything with --no-serve."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-serve", action="store_true", help="check everything and end, without a web server")
        parser.add_argument("--json", action="store_true", help="with --no-serve: one JSON object on stdout")
        parser.add_argument("--port", type=int, default=8000, help="of the web server (%(default)s)")
        parser.add_argument(
            "--timeout", type=float, default=120.0, help="seconds for subscriptions to catch up (%(default)s)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo makes logins with known passwords and a past: it needs DEBUG=1.")
        if options["json"] and not options["no_serve"]:
            raise CommandError("--json goes with --no-serve.")
        self.asked_to_stop = threading.Event()
        before = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        try:
            if options["no_serve"]:
                self._check(as_json=options["json"], timeout=options["timeout"])
            else:
                self._serve(options["port"])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, *_signal: object) -> None:
        # Only a flag: an exception here could come between the start of a child and the note of who it is.
        self.asked_to_stop.set()

    def _prepare(self) -> tuple[Seeded, dict[str, Login]]:
        call_command("migrate", verbosity=0, interactive=False)
        logins = ensure_logins()
        return seed(actor=f"user:{logins['teller'].user.pk}"), logins

    # To be looked at

    def _serve(self, port: int) -> None:
        _require_free(port)
        seeded, logins = self._prepare()
        self.stdout.write(_seeded_in_words(seeded))
        with ExitStack() as running:
            cluster = running.enter_context(Child("qcluster", quiet=False))
            web = running.enter_context(Child("runserver", "--noreload", str(port), quiet=False))
            self._wait_for_server(web, port)
            if not self.asked_to_stop.is_set():
                self._welcome(port, logins)
            while not self.asked_to_stop.wait(0.5):
                for child in (cluster, web):
                    if child.ended is not None:
                        raise CommandError(f"{child.name} has ended with exit code {child.ended}.")
        self.stdout.write("Stopped.")

    def _wait_for_server(self, web: Child, port: int) -> None:
        end = time.monotonic() + _SERVER_SECONDS
        while not self.asked_to_stop.is_set():
            if web.ended is not None:
                raise CommandError(
                    f"The web server has ended with exit code {web.ended}. Is port {port} taken? Try --port."
                )
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if time.monotonic() > end:
                raise CommandError(f"The web server did not answer within {_SERVER_SECONDS:.0f} s.")
            self.asked_to_stop.wait(0.1)

    def _welcome(self, port: int, logins: dict[str, Login]) -> None:
        base = f"http://127.0.0.1:{port}"
        lines = ["", "The bank is open:", f"  admin     {base}/admin/", f"  API       {base}/api/v1/accounts/"]
        lines += [f"  docs      {base}/api/v1/docs/ (log in first), docs/api.md", f"  mails     {settings.SENT_MAIL}"]
        lines += ["", "Logins:"]
        for name, login in logins.items():
            lines += [f"  {name:<9} password {login.password:<13} {login.may}", f"  {'':<9} token {login.token}"]
        lines += [
            "",
            "Try:",
            f'  curl -H "Authorization: Token {logins["teller"].token}" {base}/api/v1/accounts/',
            "",
            "Ctrl-C ends it.",
            "",
        ]
        self.stdout.write("\n".join(lines))

    # To be checked

    def _check(self, *, as_json: bool, timeout: float) -> None:
        begun = time.monotonic()
        seeded, logins = self._prepare()
        if not as_json:
            self.stdout.write(_seeded_in_words(seeded))
        findings: list[Finding] = []
        with Child("qcluster", quiet=True) as cluster:
            for look in self._looks(cluster, logins, timeout):
                if self.asked_to_stop.is_set():
                    break
                findings.append(look())
                if not as_json:
                    self.stdout.write(_finding_in_words(findings[-1]))
        stopped = self.asked_to_stop.is_set()
        ok = not stopped and all(finding.ok for finding in findings)
        seconds = time.monotonic() - begun
        if as_json:
            self.stdout.write(_as_json(seeded, findings, ok=ok, seconds=seconds))
        else:
            self.stdout.write(
                f"{'All is well' if ok else 'Something is off'} on {connection.vendor} ({seconds:.1f} s)."
            )
        if stopped:
            raise CommandError("Asked to stop.", returncode=_STOPPED_BY_SIGNAL)
        if not ok:
            raise CommandError("Off: " + ", ".join(finding.name for finding in findings if not finding.ok))

    def _looks(self, cluster: Child, logins: dict[str, Login], timeout: float) -> Iterator[Callable[[], Finding]]:
        def delivered(name: str) -> Finding:
            return caught_up(cluster, name=name, timeout=timeout, stopped=self.asked_to_stop.wait)

        yield lambda: delivered("history delivered")
        yield lambda: toured("admin pages", lambda: visit_admin(logins["admin"].user))
        yield lambda: toured("API endpoints", lambda: visit_api(logins["teller"].token))
        yield lambda: delivered("requests delivered")
        yield books_balance
        yield audited
        yield lambda: commanded("state is its history", "rebuild", "demo_bank.Account", "--check")
        yield lambda: commanded("events are genuine", "verify_events")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise CommandError(f"Something answers at port {port} already: choose another with --port.")


def _seeded_in_words(seeded: Seeded) -> str:
    what = f"{seeded.accounts} accounts, {seeded.events:,} events"
    if not seeded.fresh:
        return f"Already seeded: {what}."
    return f"Seeded {what} in {seeded.seconds:.1f} s; {seeded.refused} commands were refused."


def _finding_in_words(finding: Finding) -> str:
    return f"{'ok ' if finding.ok else 'OFF'}  {finding.name:<22}{finding.seconds:6.1f} s  {finding.detail}"


def _as_json(seeded: Seeded, findings: list[Finding], *, ok: bool, seconds: float) -> str:
    return json.dumps(
        {
            "ok": ok,
            "database": connection.vendor,
            "seconds": round(seconds, 3),
            "seeded": asdict(seeded),
            "findings": [asdict(finding) for finding in findings],
        }
    )
