"""``Rate``: how many events a subscription may handle in a time, as people write it (``"50/s"``)."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

_WRITTEN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Rate(NamedTuple):
    """A token bucket: it is refilled at ``per_second`` and holds ``burst`` tokens at most; each event takes one.

    Source: the token bucket of RFC 2697, with events for bytes.
    """

    per_second: float
    burst: int

    @classmethod
    def parse(cls, text: str, burst: int | None = None) -> Rate:
        """Read ``"50/s"``, ``"100/m"`` or ``"1000/h"``; a burst left out is what comes in a second, 1 at least.

        Raises ``ImproperlyConfigured`` for anything else.
        """
        match = _WRITTEN.fullmatch(text) if isinstance(text, str) else None
        per_second = float(match[1]) / _SECONDS[match[2]] if match else 0.0
        if per_second <= 0:
            raise ImproperlyConfigured(f"{text!r} is no rate: write '50/s', '100/m' or '1000/h', above 0.")
        if burst is None:
            burst = max(1, math.ceil(per_second))
        if type(burst) is not int or burst < 1:
            raise ImproperlyConfigured(f"{burst!r} is no burst: it is a whole number of events above 0.")
        return cls(per_second, burst)
