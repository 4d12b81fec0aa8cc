"""The demo bank in a real browser under a strict Content-Security-Policy, and what a page may not do there.

Set ``SCREENSHOTS`` to a directory to keep pictures of the pages: light, dark, and as wide as a phone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from pytest_django.live_server_helper import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest, HttpResponse
    from playwright.sync_api import Browser, ConsoleMessage, Page

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
NOT_OURS = {"exclude": [[".breadcrumbs"]]}
"""What Django's own templates and styles make, as axe-core takes it."""
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class StrictPolicy:
    """The policy that a careful project would set."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = CSP
        return response


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained about; a test ends with ``assert faults == []``."""
    return []


@pytest.fixture
def server(django_db_setup: None, browser: Browser, transactional_db: None, settings: Any) -> Iterator[str]:
    """The address of a server with the policy.

    The browser comes first and so ends last: its event loop has connections of its own, and the flush must run on them.
    """
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.StrictPolicy"]
    server = LiveServer("localhost")
    yield server.url
    server.stop()


@pytest.fixture
def page(browser: Browser, server: str, faults: list[str]) -> Iterator[Page]:
    """A page with scripts."""
    page = browser.new_page(base_url=server, viewport=DESKTOP)  # type: ignore[arg-type]  # a TypedDict
    _listen(page, faults)
    yield page
    page.close()


@pytest.fixture
def plain_page(browser: Browser, server: str, faults: list[str]) -> Iterator[Page]:
    """A page of a browser that runs no scripts."""
    page = browser.new_page(base_url=server, viewport=DESKTOP, java_script_enabled=False)  # type: ignore[arg-type]
    _listen(page, faults)
    yield page
    page.close()


def log_in(page: Page, name: str, password: str = "open-sesame") -> None:
    """Log in as a person would."""
    page.goto("/admin/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def check_accessible(page: Page) -> None:
    """Fail with what axe-core finds to be serious or critical on a page: light on a desk, and dark on a phone."""
    found = []
    for scheme, size in (("light", DESKTOP), ("dark", PHONE)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size(size)  # type: ignore[arg-type]
        _let_settle(page)
        # Style sheets that import others are not loaded once more: axe would do it by a style in the page.
        options = {"resultTypes": ["violations"], "preload": False}
        for fault in Axe().run(page, context=NOT_OURS, options=options).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                places = "; ".join(node["html"] for node in fault["nodes"][:3])
                found.append(f"{scheme} {size['width']}: {fault['id']}, {fault['help']}: {places}")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    assert not found, f"{page.url}\n" + "\n".join(found)


def check_fits(page: Page) -> None:
    """Fail if a page is wider than a desk or a phone, or a list on it wider than its place: then a part is cut off."""
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        assert too_wide(page) == [], f"{page.url} on {size['width']}"
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]


def too_wide(page: Page) -> list[str]:
    """What is wider than its place, as the browser shows it now: the page, or one of our own lists on it."""
    found: list[str] = page.evaluate(
        """() => [document.documentElement, ...document.querySelectorAll(".app-eventsourcing_app .results")]
            .filter(each => each.scrollWidth > each.clientWidth)
            .map(each => `${each.className || each.tagName}: ${each.scrollWidth} in ${each.clientWidth}`)"""
    )
    return found


def picture(page: Page, name: str) -> None:
    """Keep the page as it looks in light, in dark and on a phone, if somebody wants to see it."""
    directory = os.environ.get("SCREENSHOTS")
    if not directory:
        return
    for scheme, size in (("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size(size)  # type: ignore[arg-type]
        _let_settle(page)
        page.screenshot(path=Path(directory) / f"{name}-{scheme}-{size['width']}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]


def _let_settle(page: Page) -> None:
    """Wait for the admin's links to have the colours of the scheme: on the way they have those between."""
    page.evaluate("() => Promise.allSettled(document.getAnimations().map(each => each.finished))")


def _listen(page: Page, faults: list[str]) -> None:
    # The admin has no icon, and the browser asks for one anyhow.
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.on("console", lambda message: faults.append(message.text) if _is_fault(message) else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda answer: faults.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)


def _is_fault(message: ConsoleMessage) -> bool:
    """Whether the page is wrong. What axe-core injects tries styles of its own, and comes from no address."""
    return message.type in ("error", "warning") and bool(message.location["url"])
