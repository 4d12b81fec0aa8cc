"""How much memory processes hold, as Linux tells it; elsewhere nothing is told (``None``)."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")
_MB = 1024  # the kernel counts in KiB, and calls them kB


def now(pid: int | str = "self") -> float | None:
    """Resident memory of a process in MB."""
    return _read(pid, "VmRSS:")


def peak(pid: int | str = "self") -> float | None:
    """The most that a process has held since it began, in MB."""
    return _read(pid, "VmHWM:")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for each in found:  # grows as children are found
        for tasks in (_PROC / str(each) / "task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:  # it has ended meanwhile
                continue
    return found


def _read(pid: int | str, line: str) -> float | None:
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return None
    for each in status.splitlines():
        if each.startswith(line):
            return int(each.split()[1]) / _MB
    return None
