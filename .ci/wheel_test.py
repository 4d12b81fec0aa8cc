"""Builds the wheel, looks into it, installs it into a clean venv and runs the README's example from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "eventsourcing_app"
EXTRAS = "api,integrity,postgres"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="wheel-") as made:
        place = Path(made)
        wheel = build(place / "dist")
        look_into(wheel)
        python = install(wheel, place / "venv")
        # Copied out of the checkout, so that nothing but the wheel can be imported.
        for path in (ROOT / "README.md", ROOT / ".ci" / "readme_example.py"):
            shutil.copy(path, place)
        call(python, "-c", f"import {PACKAGE}; assert 'site-packages' in {PACKAGE}.__file__, {PACKAGE}", cwd=place)
        call(python, place / "readme_example.py", place / "README.md", cwd=place)
    print(f"The wheel is sound: {wheel.name}")


def build(target: Path) -> Path:
    """The wheel, built in isolation."""
    call(sys.executable, "-m", "build", "--wheel", "--outdir", target, ROOT, quiet=True)
    (wheel,) = target.glob("*.whl")
    return wheel


def look_into(wheel: Path) -> None:
    """It holds every file of the package (types, migrations, templates, static, locale), its licence, and no more."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {name for name in names if ".dist-info/" not in name}
    if shipped != source:
        raise SystemExit(f"missing in the wheel: {sorted(source - shipped)}\ntoo much: {sorted(shipped - source)}")
    migrations = [name for name in shipped if name.startswith(f"{PACKAGE}/migrations/0")]
    if f"{PACKAGE}/py.typed" not in shipped or not migrations:
        raise SystemExit("the wheel has no py.typed or no migrations")
    for needed in ("/locale/de/LC_MESSAGES/django.mo", "/licenses/LICENSE", "/entry_points.txt"):
        if not any(name.endswith(needed) for name in names):
            raise SystemExit(f"the wheel has no {needed}")


def install(wheel: Path, target: Path) -> Path:
    """A clean venv with the wheel and its extras; returns its interpreter."""
    venv.create(target, with_pip=True)
    python = target / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[{EXTRAS}]", cwd=target)
    call(python, "-m", "pip", "check", cwd=target)
    return python


def call(*command: str | Path, cwd: Path = ROOT, quiet: bool = False) -> None:
    """Run a command without the paths of this process; ``quiet`` shows its output only if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, check=False, text=True, stdin=subprocess.DEVNULL, capture_output=quiet
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout or ''}{done.stderr or ''}{' '.join(map(str, command))}: {done.returncode}")


if __name__ == "__main__":
    main()
