"""Identifiers: UUIDv7 (RFC 9562), which sort by the time they were made, so that indexes grow at one end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

if sys.version_info >= (3, 14):
    from uuid import uuid7 as _uuid7
else:
    from uuid_utils.compat import uuid7 as _uuid7


def uuid7() -> UUID:
    """A new UUIDv7. The default of keys and event ids; named by migrations, so it stays where it is."""
    return _uuid7()
