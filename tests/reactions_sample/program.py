"""Programs that run as processes of their own: ``python -m tests.reactions_sample.program <name>``."""

from __future__ import annotations

import os
import signal
import sys

import django


def die() -> None:
    """End where a wake would be asked for: after the commit, before anybody is told."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(name: str) -> None:
    django.setup()
    # They need the apps.
    from eventsourcing_app.subscriptions import drain, wake
    from tests.reactions_sample.scene import wallet

    if name == "drain":
        print(drain.drain().handled)
    elif name == "append and die":
        wake.DISPATCHERS["django_q"] = "tests.reactions_sample.program.die"
        wallet(adds=2)


if __name__ == "__main__":
    main(sys.argv[1])
