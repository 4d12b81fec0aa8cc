"""The library's reader: ``python -m tests.storm.settled_reader '{"pause": 0.002}'``, on the settings of the tests."""

from __future__ import annotations

import json
import select
import sys

import django
from django.db import connection

django.setup()

from eventsourcing_app.log.settled import last_position, settled_position  # noqa: E402  it imports models
from tests.storm.readers import Seen, follow  # noqa: E402
from tests.storm.sql import READ  # noqa: E402


def main() -> None:
    pause = json.loads(sys.argv[1])["pause"]

    def step(seen: Seen) -> bool:
        settled = settled_position(beyond=seen.checkpoint)
        if settled > seen.checkpoint:
            with connection.cursor() as cursor:
                cursor.execute(READ, [seen.checkpoint, settled])
                seen.add(cursor.fetchall(), upto=settled)
        if pause:
            select.select([sys.stdin], [], [], pause)
        return seen.checkpoint < last_position()

    follow(Seen(settled_position()), step)
    connection.close()


if __name__ == "__main__":
    main()
