"""Who acts in a management command: whom ``--actor`` names, or else the login name."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser


def add_actor(parser: ArgumentParser) -> None:
    """Give a command the option ``--actor``."""
    parser.add_argument("--actor", help="Who acts; it is kept in the log. Default: shell:<login name>.")


def actor_or_login(actor: str | None) -> str:
    """Return the actor for the context of the command."""
    return actor or f"shell:{_login_name()}"


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number only
        return str(os.getuid())
