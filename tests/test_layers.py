"""The direction of imports: a layer imports only from layers above it, and the demo only what is public.

The table is the whole rule. A package or module of ``eventsourcing_app`` that is missing in it fails too, so that
nobody adds a layer without saying where it stands.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "eventsourcing_app"

# From top to bottom. Modules of one layer may import each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("exceptions", "conf", "identifiers", "denied", "context", "signals", "failpoints"),
    ("events",),
    ("operations",),
    ("log",),
    ("aggregates",),
    ("subscriptions",),
    ("projections",),
    ("access",),
    ("integrity",),
    ("brokers",),
    ("tasks",),
)
# The edges stand below all layers, and each knows only these other edges.
EDGES: dict[str, tuple[str, ...]] = {
    "models": (),
    "middleware": (),
    "checks": ("models",),
    "apps": ("checks", "models"),
    "admin": ("models",),
    "api": ("models",),
    "urls": ("api",),
    "templatetags": ("admin",),
    "management": ("models",),
    "testing": ("models",),
}
# Folders whose __init__ holds a docstring and nothing else; the others are public modules.
BARE_FOLDERS = (
    *("events", "log", "projections", "access", "integrity", "brokers"),
    *("aggregates", "aggregates/saving", "aggregates/past", "aggregates/rebuild", "aggregates/adoption"),
)
# The one door to the queue.
QUEUE, QUEUE_DOORS = "django_q", ("tasks.py", "subscriptions/wake.py")
PUBLIC_MODULES = (
    *("models", "exceptions", "signals", "middleware", "operations"),
    *("subscriptions", "admin", "api", "testing"),
)


@dataclass(frozen=True)
class Import:
    """One imported name: where it stands and what it means."""

    file: str
    line: int
    target: str  # dotted module; the façade itself is the bare package name
    word: str  # the name taken from it, or ""
    in_function: bool

    def breaks(self, rule: str) -> str:
        what = f"{self.target}.{self.word}" if self.word else self.target
        return f"{self.file}:{self.line} imports {what}: {rule}"


def imports_of(root: Path, folder: str) -> Iterator[Import]:
    """Every import in every file below ``folder``, those under TYPE_CHECKING too; migrations are frozen history."""
    for path in sorted((root / folder).rglob("*.py")):
        if "migrations" not in path.relative_to(root).parts:
            yield from _imports_in(root, path)


def _imports_in(root: Path, path: Path) -> Iterator[Import]:
    file = path.relative_to(root).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=file)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    package = path.relative_to(root).parent.parts  # a module's and an __init__'s package alike
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, "", id(node) in inside)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            for alias in node.names:
                target, word = _resolve(root, module, alias.name)
                yield Import(file, node.lineno, target, word, id(node) in inside)


def _resolve(root: Path, module: str, name: str) -> tuple[str, str]:
    """``from a import b`` names the module ``a.b`` if there is one, unless the façade has a word of that name."""
    place = root.joinpath(*module.split("."), name)
    is_module = place.is_dir() or place.with_suffix(".py").is_file()
    if is_module and not (module == PACKAGE and name in facade_words(root)):
        return f"{module}.{name}", ""
    return module, name


def facade_words(root: Path) -> tuple[str, ...]:
    """What the package's ``__init__`` lists in ``__all__``."""
    for node in ast.parse((root / PACKAGE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return tuple(ast.literal_eval(node.value))
    return ()


def unit_of(dotted: str) -> str:
    """The part of the package that a module belongs to: ``eventsourcing_app.log.append`` is ``log``."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def layer_problems(root: Path) -> list[str]:
    """Imports inside the package that go the wrong way."""
    problems = []
    for found in imports_of(root, PACKAGE):
        if found.file == f"{PACKAGE}/__init__.py" or found.target.split(".")[0] != PACKAGE:
            continue
        source = unit_of(found.file.removesuffix(".py").replace("/", "."))
        rule = _rule_broken(source, unit_of(found.target))
        if rule is None and found.in_function:
            rule = "an import inside a function hides a circle; move what both need up a layer"
        if rule is not None:
            problems.append(found.breaks(rule))
    return problems


def _rule_broken(source: str, target: str) -> str | None:
    if not target:
        return "the façade is for users; import the module that defines it"
    height = {unit: number for number, layer in enumerate(LAYERS) for unit in layer}
    for unit in (source, target):
        if unit not in height and unit not in EDGES:
            return f"{unit!r} has no place in the table of layers"
    if source in EDGES:
        if target in EDGES and target != source and target not in EDGES[source]:
            return f"the edge {source!r} may not know the edge {target!r}"
    elif target in EDGES:
        return f"{source!r} is a layer and may not know the edge {target!r}"
    elif height[target] > height[source]:
        return f"{source!r} stands above {target!r}; only a layer below may import it"
    return None


def queue_problems(root: Path) -> list[str]:
    """Imports of the queue anywhere but at its doors."""
    doors = {f"{PACKAGE}/{door}" for door in QUEUE_DOORS}
    return [
        found.breaks(f"only {', '.join(sorted(doors))} may know the queue")
        for found in imports_of(root, PACKAGE)
        if found.target.split(".")[0] == QUEUE and found.file not in doors
    ]


def folder_problems(root: Path) -> list[str]:
    """Folders whose ``__init__`` does more than say what they are for."""
    problems = []
    for folder in BARE_FOLDERS:
        init = root / PACKAGE / folder / "__init__.py"
        if init.is_file():
            tree = ast.parse(init.read_text(encoding="utf-8"))
            if ast.get_docstring(tree) is None or len(tree.body) != 1:
                problems.append(f"{PACKAGE}/{folder}/__init__.py: it holds a docstring and nothing else")
    return problems


def demo_problems(root: Path) -> list[str]:
    """Imports of the demo that are not public."""
    public = {PACKAGE, *(f"{PACKAGE}.{name}" for name in PUBLIC_MODULES)}
    problems = []
    for found in imports_of(root, "demo_bank"):
        if found.target.split(".")[0] != PACKAGE:
            continue
        if found.target not in public:
            problems.append(found.breaks(f"the demo may import {PACKAGE} and its {', '.join(PUBLIC_MODULES)} only"))
        elif found.target == PACKAGE and found.word and found.word not in facade_words(root):
            problems.append(found.breaks("it is not one of the façade's words (__all__)"))
    return problems


def test_a_layer_imports_only_from_layers_above_it() -> None:
    assert not layer_problems(ROOT), "\n".join(layer_problems(ROOT))


def test_the_queue_is_imported_at_its_doors_only() -> None:
    assert not queue_problems(ROOT), "\n".join(queue_problems(ROOT))


def test_the_init_of_a_folder_holds_a_docstring() -> None:
    assert not folder_problems(ROOT), "\n".join(folder_problems(ROOT))


def test_the_demo_uses_public_words_only() -> None:
    assert not demo_problems(ROOT), "\n".join(demo_problems(ROOT))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package in good order, to be broken."""
    files = {
        f"{PACKAGE}/__init__.py": 'from eventsourcing_app.context import context\n__all__ = ["context"]\n',
        f"{PACKAGE}/context.py": "from .conf import conf\n",
        f"{PACKAGE}/conf.py": "import django\nconf = 1\n",
        f"{PACKAGE}/log/__init__.py": '"""The log."""\n',
        f"{PACKAGE}/log/append.py": "from ..context import context\nfrom . import read\n",
        f"{PACKAGE}/log/read.py": "",
        f"{PACKAGE}/subscriptions/__init__.py": "from .wake import wake\n",
        f"{PACKAGE}/subscriptions/wake.py": "import django_q.tasks\n",
        f"{PACKAGE}/models.py": "from eventsourcing_app.log.append import append\n",
        f"{PACKAGE}/admin/__init__.py": "from eventsourcing_app import models\n",
        f"{PACKAGE}/migrations/0001_initial.py": "import eventsourcing_app.admin\n",
        "demo_bank/models.py": "from eventsourcing_app import context, models\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def problems_in(root: Path) -> list[str]:
    return [*layer_problems(root), *queue_problems(root), *folder_problems(root), *demo_problems(root)]


def test_a_tree_in_good_order_has_no_problems(tree: Path) -> None:
    assert problems_in(tree) == []


@pytest.mark.parametrize(
    ("file", "statement", "part_of_the_message"),
    [
        ("conf.py", "from eventsourcing_app.log.append import append", "'conf' stands above 'log'"),
        ("conf.py", "from .log import append", "'conf' stands above 'log'"),
        ("conf.py", "import eventsourcing_app.log", "'conf' stands above 'log'"),
        ("log/read.py", "from ..subscriptions.wake import wake", "'log' stands above 'subscriptions'"),
        ("log/read.py", "if TYPE_CHECKING:\n    from ..models import StoredEvent", "may not know the edge 'models'"),
        ("log/read.py", "def f():\n    from ..conf import conf", "inside a function"),
        ("log/read.py", "from eventsourcing_app import context", "the façade is for users"),
        ("models.py", "from . import admin", "the edge 'models' may not know the edge 'admin'"),
        ("misc.py", "from .conf import conf", "'misc' has no place"),
        ("log/read.py", "from django_q.tasks import async_task", "may know the queue"),
        ("log/__init__.py", "x = 1", "a docstring and nothing else"),
        ("../demo_bank/models.py", "from eventsourcing_app.log.append import append", "the demo may import"),
        ("../demo_bank/models.py", "from eventsourcing_app.subscriptions import wake", "the demo may import"),
        ("../demo_bank/models.py", "from eventsourcing_app import conf", "the demo may import"),
        ("../demo_bank/models.py", "from eventsourcing_app import secret", "not one of the façade's words"),
    ],
)
def test_each_kind_of_break_is_found_and_named(tree: Path, file: str, statement: str, part_of_the_message: str) -> None:
    path = (tree / PACKAGE / file).resolve()
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{before}{statement}\n", encoding="utf-8")
    (problem,) = problems_in(tree)
    assert part_of_the_message in problem
    assert problem.startswith(path.relative_to(tree).as_posix())
