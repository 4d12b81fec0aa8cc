"""The steps of docs/adopting.md lead from an ordinary table to an event-sourced one, with real migrations.

A block of the page is a step if an HTML comment stands before its fence. Steps are done in the order of the page:

    <!-- step: shop/models.py -->     a file, written as it is; lines of mysite/settings.py are added
    <!-- step: console -->            commands after "$ ", each with the output that it must have, if any stands there
    <!-- step: shell -->              doctests, in a ``manage.py shell`` of their own
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from tests.conftest import ROOT
from tests.projects import fresh_project

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "adopting.md"
STEP = re.compile(
    r"^<!-- step: (?P<place>\S+) -->\n+(?P<fence>`{3,})\w*\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
INSERT_OF_OLD_CODE = """
>>> from django.db import connection
>>> with connection.cursor() as cursor:
...     done = cursor.execute(
...         "INSERT INTO shop_product (name, price, status, details, created_at, views)"
...         " VALUES ('Old', 1, 'draft', '{}', now(), 0)"
...     )
>>> from shop.models import Product
>>> Product.objects.get(name="Old").version
0
"""


def steps() -> list[tuple[str, str]]:
    text = PAGE.read_text("utf-8")
    found = [(match["place"], match["text"]) for match in STEP.finditer(text)]
    assert len(found) == text.count("<!-- step: ") > 10
    return found


@pytest.mark.timeout(600)  # some twenty processes
@pytest.mark.django_db
def test_the_steps_of_the_page_lead_to_an_event_sourced_table(tmp_path: Path) -> None:
    with fresh_project(tmp_path, app="shop") as project:
        for place, text in steps():
            project.do(place, text)
        project.run("manage.py", "makemigrations", "--check", "--dry-run")
        assert "0 differ" in project.run("manage.py", "rebuild", "shop.Product", "--check")
        assert "no fault" in project.run("manage.py", "verify_events")
        assert "W006" not in project.run("manage.py", "check", "--database", "default")
        if connection.vendor == "postgresql":  # what the page says about old code that still inserts
            (statement,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
            run = f">>> done = connection.cursor().execute({statement.strip()!r})"
            project.do("shell", INSERT_OF_OLD_CODE.replace(">>> with", f"{run}\n>>> with", 1))
            assert "1 row adopted" in project.run("manage.py", "adopt", "shop.Product")
