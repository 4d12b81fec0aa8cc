"""One process of the benchmark. It prepares its work, says so, and then does what each line of its input asks for.

``run`` takes a sample, ``profile`` takes one under cProfile, ``count`` tells how many events are stored. Each answer is
one line of JSON. It ends with its input.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import django
import msgspec

from tests.benchmarks import memory
from tests.benchmarks.job import given

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.work import Done

DJANGO_SIDES = frozenset(
    {
        *(
            "ours",
            "ours_admin",
            "ours_http",
            "ours_office",
            "ours_long",
            "ours_reactions",
            "ours_running",
            "ours_seeds",
        ),
        *("django_q_side", "simple_history_side"),
    }
)


class Report(msgspec.Struct, kw_only=True):
    """The answer to ``run``."""

    start: float
    end: float
    """On the clock that all processes of the machine share."""
    units: int
    cpu: float
    """Processor seconds of this process and of those that it started and waited for."""
    peak: float | None
    """Memory in MB: of the largest process that the sample started or, without one, what this one took beyond idle."""
    more: dict[str, float] = {}
    """What else was measured."""


def main() -> None:
    job = given()
    if job.side in DJANGO_SIDES:
        django.setup()
    module = import_module(f"tests.benchmarks.sides.{job.side}")
    prepare: Callable[..., Callable[[], Done]] = getattr(module, job.work.partition(".")[2])
    sample = prepare(job)
    idle = memory.now()
    _say("ready")
    for line in sys.stdin:
        match line.strip():
            case "run":
                _say(_run(sample, idle))
            case "count":
                _say(module.stored(job))
            case "profile":
                _say(_profile(sample))


def _run(sample: Callable[[], Done], idle: float | None) -> Report:
    before, start = os.times(), time.monotonic()
    done = sample()
    end, after = time.monotonic(), os.times()
    if done.span is not None:
        start, end = done.span
    highest = memory.peak()
    grown = None if highest is None or idle is None else highest - idle
    return Report(
        start=start,
        end=end,
        units=done.units,
        cpu=sum(after[:4]) - sum(before[:4]),  # of user and system, here and in children
        peak=grown if done.peak is None else done.peak,
        more=dict(done.more),
    )


def _profile(sample: Callable[[], Done]) -> str:
    profiler = cProfile.Profile()
    profiler.runcall(sample)
    text = io.StringIO()
    figures = pstats.Stats(profiler, stream=text).strip_dirs()
    figures.sort_stats("tottime").print_stats(30)
    figures.sort_stats("cumulative").print_stats(40)
    return text.getvalue()


def _say(answer: Any) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
