"""The storm of deliveries: ``python -m tests.storm.delivery '{"seconds": 60, "seed": 1, "bug": "no_bug"}'``.

Starts a PostgreSQL server of its own that keeps what it has committed, lets processes pay, observe and react on it
while a nemesis kills them and the server, and has the checker judge what is left. Prints what was done and every
violation, and one JSON line at the end; exits with 1 if there was one, and then leaves its files behind. With a bug
(see ``bugs``) in all of its processes it shows what would be found.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import postgres

if TYPE_CHECKING:
    from tests.postgres import Embedded

ACCOUNTS = 24
FAILING = 0.03
REBUILT = "eventsourcing.projection_rebuilt"
CALM = 120.0
"""Seconds, besides those that the storm took, in which all that was left behind must have been delivered."""


def main() -> None:
    given: dict[str, Any] = {
        "seconds": 60.0,
        "seed": None,
        "bug": "no_bug",
        **json.loads(sys.argv[1] if sys.argv[1:] else "{}"),
    }
    seed = int(os.environ.get("STORM_SEED") or given["seed"] or secrets.randbelow(10**6))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends, too
    folder = Path(tempfile.mkdtemp(prefix="es-storm-")).resolve()
    folder.chmod(0o755)  # where root may not run a server, another user does
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the server's own end, which comes to it later
    server = start_server(folder)
    print(f"seed {seed}, {given['seconds']:g} s, in {folder}", flush=True)
    report = run(server, folder / "traces", float(given["seconds"]), seed, given["bug"])
    if report["violations"]:
        shutil.copy(folder / "pg" / "log", folder / "traces" / "server.log")
        report["kept"] = shutil.move(folder / "traces", tempfile.mkdtemp(prefix="es-storm-kept-"))
    print(json.dumps(report), flush=True)
    sys.exit(1 if report["violations"] else 0)


def start_server(folder: Path) -> Embedded:
    """Start a server, and let Django's settings find it and no other."""
    for name in (*postgres.ADDRESS_VARIABLES, "PGUSER", "PGPASSWORD", "DATABASE_URL", "TEST_DATABASE_NAME"):
        os.environ.pop(name, None)
    server = postgres.start_embedded(folder / "pg", durable=True)
    if server is None:
        print(json.dumps({"missing": os.environ[postgres.MISSING]}))
        sys.exit(1)
    os.environ["PGDATABASE"] = "postgres"
    os.environ["TEST_DATABASE"] = "postgres"
    os.environ["TEST_RUN_DIRECTORY"] = str(folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings_storm"
    return server


def run(server: Embedded, folder: Path, seconds: float, seed: int, bug: str) -> dict[str, Any]:
    """Set the scene, let the storm rage and calm down, and judge."""
    import django

    django.setup()
    # They need the apps.
    from django.core.management import call_command

    from eventsourcing_app.subscriptions.registry import registry
    from tests.storm import bank, collect, reactions
    from tests.storm.bugs import BUGS
    from tests.storm.checker import check
    from tests.storm.nemesis import Nemesis
    from tests.storm.supervisor import Supervisor

    folder.mkdir(mode=0o700)
    for definition in registry.all():
        registry.remove(definition.name)
    call_command("migrate", run_syncdb=True, verbosity=0)
    reactions.declare(folder, failing=FAILING)
    accounts = bank.open_accounts(ACCOUNTS)
    supervisor = Supervisor(folder, accounts, seed, BUGS[bug])
    nemesis = Nemesis(supervisor, server, seed)
    began = time.monotonic()
    try:
        nemesis.rage(seconds)
        raged = time.monotonic()
        rests = nemesis.calm(CALM + seconds)
    finally:
        supervisor.kill_everything()
    calmed = time.monotonic()
    facts = collect.everything(reactions.PROMISES, folder, accounts, broken=supervisor.broken, at_rest=True)
    violations = check(facts)
    for violation in violations[:50]:
        print(violation, flush=True)
    return {
        "seed": seed,
        "seconds": round(raged - began, 1),
        "calm_after": round(calmed - raged, 1),
        "at_rest": rests,
        "kills": supervisor.kills.total() + supervisor.failpoints.total() + supervisor.poisoned,
        "killed": dict(supervisor.kills),
        "failpoints": dict(supervisor.failpoints),
        "poisoned": supervisor.poisoned,
        "restarts": nemesis.restarts,
        "freezes": nemesis.freezes,
        "events": len(facts.log),
        "rebuilds": sum(row.type == REBUILT for row in facts.log),
        "deliveries": {each.name: len(each.delivered) for each in facts.watched if each.delivered is not None},
        "parked": {each.name: len(each.parked) for each in facts.watched if each.parked},
        "operations": collect.outcomes(facts),
        "observations": len(facts.observations),
        "violations": len(violations),
    }


if __name__ == "__main__":
    main()
