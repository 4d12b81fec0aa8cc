"""What a function imports when it is called: it names the code of these modules, as it does that of its own.

Found in its bytecode, since no namespace holds it before the call.
"""

from __future__ import annotations

import dis
import importlib
import importlib.util
import sys
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOREIGN = sys.stdlib_module_names | {"django", "eventsourcing_app"}


def is_foreign(module: str | None) -> bool:
    """Whether a module is one whose inside is not looked into: its version counts."""
    return (module or "builtins").partition(".")[0] in _FOREIGN


def imports(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what a function imports when it is called: each module, with its leading dots, and what is taken of it."""
    done = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
    for place, step in enumerate(done):
        if step.opname == "IMPORT_NAME":
            level, taken = (before.argval for before in done[place - 2 : place])
            yield "." * level + step.argval, tuple(taken or ())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from imports(constant)


def imported(name: str, taken: tuple[str, ...], package: str | None) -> Iterator[ModuleType]:
    """Import a module as the function will, and yield it and the packages that it is in, unless they are foreign."""
    whole = importlib.util.resolve_name(name, package)
    if is_foreign(whole):
        return
    module = importlib.import_module(whole)
    for part in taken:
        if not hasattr(module, part):  # a module of the package, then
            importlib.import_module(f"{whole}.{part}")
    parts = whole.split(".")
    yield from (sys.modules[".".join(parts[:count])] for count in range(1, len(parts) + 1))
