"""The databases of a run, each made and filled when it is first asked for."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.crew import Crew
from tests.benchmarks.job import Job

if TYPE_CHECKING:
    from tests.benchmarks.job import Place, Scale
    from tests.benchmarks.server import Server


SEEDERS = {"log": 2, "large_office": 2}
"""Processes that fill a database together, where one would take long. Not on SQLite, which has one writer."""


class Store(NamedTuple):
    """What a database is: whose tables it has, what is in it, and for whom it is."""

    seeds: str
    """The module of ``sides`` that makes its tables and fills it."""
    content: str
    use: str = ""
    sqlite: bool = False

    @property
    def label(self) -> str:
        return "_".join(filter(None, (self.seeds.removesuffix("_side"), self.content, self.use, "lite" * self.sqlite)))


class Stores:
    """Makes each store once. A store is filled anew, and its tables are copied from the first of their kind."""

    def __init__(self, server: Server, scale: Scale) -> None:
        self._server, self._scale = server, scale
        self._places: dict[Store, Place] = {}

    def place(self, store: Store) -> Place:
        """Return the database of this store."""
        if store not in self._places:
            began = time.perf_counter()
            self._places[store] = self._make(store)
            print(f"made {store.label} in {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
        return self._places[store]

    def _make(self, store: Store) -> Place:
        blank = store._replace(content="schema", use="")
        template = None if store == blank else self.place(blank)
        create = self._server.create_file if store.sqlite else self._server.create
        place = create(store.label, template=template)
        seeders = SEEDERS.get(store.content, 1)
        work = f"{store.seeds}.{store.content}"
        crew = Crew([Job(work=work, place=place, scale=self._scale, worker=n, workers=seeders) for n in range(seeders)])
        try:
            crew.wait_until_ready()
            crew.end()
        finally:
            crew.discard()
        self._server.settle(place)
        return place
