"""What all tests share: which database they run on, and what they need from the machine.

Something that is missing (a server, a browser, a data file) fails the run in CI and skips the test elsewhere, with a
word on what to install.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from unittest import mock

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import Client, TransactionTestCase
from django.test.utils import override_settings

from tests import flushing, postgres
from tests.browsing import faults, page, plain_page, server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from pytest_django import DjangoDbBlocker

    from tests.reactions_sample.scene import Children

__all__ = ["faults", "page", "plain_page", "server"]

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "eventsourcing_app.testing.plugin"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_configure(config: pytest.Config) -> None:
    """Make the run's directory, and load the package's own plugin where the source tree is not installed."""
    Path(settings.RUN_DIRECTORY).mkdir(mode=0o700, exist_ok=True)
    installed = config.pluginmanager.has_plugin("eventsourcing_app")
    if not installed and find_spec("eventsourcing_app.testing") and find_spec(PLUGIN):
        config.pluginmanager.import_plugin(PLUGIN)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the second of two runs."""
    parser.addoption(
        "--only-database", action="store_true", help="Leave out the tests that use no database, or a browser."
    )


def pytest_report_header() -> str:
    """Say on which database the run is."""
    database = os.environ.get("TEST_DATABASE", "sqlite")
    return f"database: {database}{' (none found)' if os.environ.get(postgres.MISSING) else ''}"


@pytest.hookimpl(trylast=True)  # once pytest-django has marked the test cases of Django
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what belongs to the other database, and everything where there is no server."""
    if config.getoption("--only-database"):
        left_out = [item for item in items if not uses_database(item)]
        items[:] = [item for item in items if uses_database(item)]
        config.hook.pytest_deselected(items=left_out)
    on_postgres = os.environ.get("TEST_DATABASE", "sqlite") == "postgres"
    other = "needs_sqlite" if on_postgres else "needs_postgres"
    run = "TEST_DATABASE=sqlite" if on_postgres else "TEST_DATABASE=postgres"
    skip_other = pytest.mark.skip(reason=f"{other}: covered by the run with {run}")
    missing = os.environ.get(postgres.MISSING)
    for item in items:
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))
        elif item.get_closest_marker(other):
            item.add_marker(skip_other)
    # Those that may take minutes begin, so that no worker is left alone with one of them at the end.
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def uses_database(item: pytest.Item) -> bool:
    """Whether a test may come out differently on another database; in a browser it is the pages that matter."""
    if "browser" in getattr(item, "fixturenames", ()):
        return False
    if issubclass(getattr(item, "cls", None) or object, TransactionTestCase):
        return True
    fixtures = {"db", "transactional_db", "django_db_setup", "child_env"} & set(getattr(item, "fixturenames", ()))
    return bool(fixtures or any(item.iter_markers("django_db")) or any(item.iter_markers("needs_postgres")))


def missing(what: str) -> NoReturn:
    """Fail in CI, skip elsewhere; ``what`` says what is missing and how to get it."""
    if postgres.is_ci():
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Make the database, and empty after each test only what it wrote to."""
    with ExitStack() as stack:
        with django_db_blocker.unblock():
            stack.enter_context(flushing.only_what_was_written())
        yield


@pytest.fixture(autouse=True)
def no_fingerprint_of_patched_code(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget what code that a test has patched was taken for: it is cached by model."""
    yield
    if "monkeypatch" in request.fixturenames:
        from eventsourcing_app.aggregates.past.applycode import fingerprint_of  # once Django is set up

        fingerprint_of.cache_clear()


@pytest.fixture
def root(db: None) -> Client:
    """A client of the superuser "root"."""
    from django.contrib.auth.models import User  # once Django is set up

    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture(scope="session")
def ledger_csv() -> Path:
    """The real ledger of a bank; it is not part of the repository."""
    path = Path(os.environ.get("LEDGER_CSV") or ROOT.parent / "shared" / "data" / "berka_ledger.csv")
    if not path.is_file():
        missing(f"No ledger at {path}: set LEDGER_CSV to the file berka_ledger.csv.")
    return path


@pytest.fixture
def child_env(db: None) -> dict[str, str]:
    """Environment for a child process that shall work in the database of the running test.

    The child sees only what is committed: the test needs ``transaction=True``.
    """
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
    }


@pytest.fixture
def own_subscriptions() -> Iterator[None]:
    """The test declares its own subscriptions, and what they fail on is tried again when it says so.

    Full jitter may choose a wait of nearly nothing; here it is the longest.
    """
    from tests.reactions_sample.scene import no_subscriptions  # once Django is set up

    longest = mock.patch("eventsourcing_app.subscriptions.failures.random.uniform", lambda _low, high: high)
    waits = {"DISPATCHER": "none", "RETRY_SECONDS": (60.0, 3600.0)}
    with no_subscriptions(), override_settings(EVENTSOURCING=waits), longest:
        yield


@pytest.fixture
def children(child_env: dict[str, str], tmp_path: Path) -> Iterator[Children]:
    """Processes that react, none of which outlives the test."""
    from tests.reactions_sample.scene import Children  # once Django is set up

    children = Children(child_env, tmp_path / "journal")
    yield children
    children.kill_all()


@pytest.fixture
def prepared_transactions(db: None) -> None:
    """Two-phase commit, which PostgreSQL has only if its configuration says so."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_prepared_transactions")
        if cursor.fetchone() == ("0",):
            missing("The server allows no prepared transactions: set max_prepared_transactions = 10 and restart it.")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The system's Chromium, or the browser named by ``CHROMIUM``."""
    for name in (os.environ.get("CHROMIUM"), *BROWSERS):
        if name and (path := shutil.which(name)):
            return path
    missing("No Chromium: install it (apt install chromium), or set CHROMIUM to a browser of that family.")


@pytest.fixture
def browser(chromium_path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """A headless Chromium. Its event loop runs in the test's thread, where Django would refuse the ORM."""
    from playwright.sync_api import sync_playwright

    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, and containers have a small /dev/shm.
        chromium = playwright.chromium.launch(
            executable_path=chromium_path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()
        # With an event loop in the thread Django opens connections of another context; nobody else would close them.
        connections.close_all()
