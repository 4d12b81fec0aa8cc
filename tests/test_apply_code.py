"""The fingerprint of the code that folds events changes with whatever the fold depends on, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from django.apps.registry import Apps

from eventsourcing_app.aggregates.past.applycode import fingerprint_of
from eventsourcing_app.events import declare
from eventsourcing_app.events.registry import Registry
from tests.conftest import ROOT
from tests.samples.models import Book, Contract, Counter, Customer, Folder, Passport, Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = {
    "till_package": """
BESIDE = 1
__path__ = []
""",
    "till_package.late": """
AFTER = 1

def later(number):
    return number + AFTER
""",
    "till_package.inner": """
import sys
DEEP = 1
""",
    "till_late": """
TAX = 1
OTHER = 1
EARLY = 1

def taxed(number):
    return number * EARLY
""",
    "till_rules": """
import functools, re
from decimal import Decimal

RATE = Decimal("0.10")
STEPS = {"small": (1, 2), "large": [3]}
WORDS = frozenset({"one", "two", "three"})
CODE = re.compile("[a-z]+")
UNUSED = 1

def unused():
    return UNUSED

def rounded(amount, places=2):
    return round(amount, places)

def fee(amount):
    return rounded(amount * RATE)

@functools.cache
def cached(word):
    return word in WORDS

class Scale:
    step = 1

    def next(self, number):
        return number + self.step

SCALE = Scale()
""",
    "till_events": """
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from eventsourcing_app import event

class Kind(Enum):
    CASH = "cash"
    CARD = "card"

@dataclass(frozen=True)
class Line:
    article: str
    count: int = 1

def _bring_up(data):
    return {**data, "lines": []}

@event("till.sold", version=2, aliases=("till.bought",), upcasters={1: _bring_up})
class Sold:
    amount: Decimal
    lines: list[Line]
    kind: Kind = Kind.CASH

    @property
    def total(self):
        return self.amount + 0

@event("till.closed", ends=True)
class Closed:
    pass
""",
    "till_models": """
import till_rules as rules
from decimal import Decimal
from till_events import Closed, Sold
from till_rules import SCALE, STEPS
from django.db import models
from eventsourcing_app import CommandRejected, applies, command
from eventsourcing_app.models import EventSourcedModel

SURPLUS = 0

def by_hand(method):
    def call(self, event):
        return method(self, event)
    call.__applies__ = (Closed,)
    return call

class Counting(EventSourcedModel):
    class Meta:
        abstract = True
        app_label = "till"

    def _count(self, by):
        self.sold += by

class Till(Counting):
    stream_type = "till.till"
    LIMIT = 10

    class Mood(models.TextChoices):
        GOOD = "good"
        BAD = "bad"

    owner = models.CharField("owner", max_length=20, default="nobody", help_text="Whose it is.")
    takings = models.DecimalField(max_digits=12, decimal_places=2, default=Decimal(0))
    sold = models.IntegerField(default=0)
    mood = models.CharField(max_length=4, choices=Mood.choices, default=Mood.GOOD)
    note = models.CharField(max_length=20, default="")

    class Meta:
        app_label = "till"
        apps = APPS

    @command
    def sell(self, amount: Decimal) -> None:
        if amount > self.LIMIT:
            raise CommandRejected("Too much.")
        self.record(Sold(amount=amount, lines=[]))

    @applies(Sold)
    def _sold(self, event):
        # What is kept is what came in, less the fee.
        self._count(SCALE.next(len(event.lines)) + STEPS["small"][0] + SURPLUS)
        self.takings += event.total - rules.fee(event.amount) if rules.cached("one") else 0
        if any(rules.CODE.match(line.article) for line in event.lines):
            self.mood = self.Mood.GOOD

    @by_hand
    def _closed(self, event):
        from till_late import TAX, taxed as with_tax
        from till_package import late
        import till_package.inner as inside

        def count(number):
            import till_package
            import no_such_module
            from django.conf import settings
            return number + till_package.BESIDE

        self.mood = self.Mood.BAD
        self.sold = with_tax(count(TAX + late.later(inside.DEEP)))
""",
}


@pytest.fixture
def fingerprint(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Returns the fingerprint of the till after a text in one of the sources has been replaced."""

    def make(old: str = "", new: str = "") -> bytes:
        monkeypatch.setattr(declare, "registry", Registry())
        names = {"APPS": Apps()}
        changed = 0
        for name, source in SOURCES.items():
            module = ModuleType(name)
            vars(module).update(names)
            package, _, last = name.rpartition(".")
            if package:
                setattr(sys.modules[package], last, module)
            monkeypatch.setitem(sys.modules, name, module)
            changed += bool(old) and old in source
            text = source.replace(old, new) if old else source
            exec(compile(text, f"{name}.py", "exec"), vars(module))
        assert changed == bool(old), "the text to be replaced stands in one source"
        return fingerprint_of.__wrapped__(sys.modules["till_models"].Till)

    return make


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Mood.BAD\n", "Mood.GOOD\n"),  # an @applies method, behind a decorator that hides it
        ("self.sold += by", "self.sold -= by"),  # a method of a base
        ("LIMIT = 10", "LIMIT = 11"),  # a constant of the class
        ("SURPLUS = 0", "SURPLUS = 1"),  # of its module
        ('Decimal("0.10")', 'Decimal("0.1")'),  # of another module, by way of a function
        ('"small": (1, 2)', '"small": (2, 1)'),
        ('"two", "three"', '"two"'),
        ('compile("[a-z]+")', 'compile("[a-z]*")'),
        ("rounded(amount * RATE)", "rounded(amount * RATE * 1)"),  # a function of another module
        ("amount, places=2", "amount, places=3"),  # a default argument
        ("round(amount, places)", "round(places, amount)"),  # a function by way of a function
        ("return word in WORDS", "return word not in WORDS"),  # one that is cached
        ("step = 1", "step = 2"),  # of the class of an object
        ("number + self.step", "number - self.step"),
        ('GOOD = "good"', 'GOOD = "fine"'),
        ("TAX = 1", "TAX = 2"),  # imported inside a function
        ("EARLY = 1", "EARLY = 2"),  # by way of a function that is
        ("DEEP = 1", "DEEP = 2"),  # of a module of a package
        ("AFTER = 1", "AFTER = 2"),
        ("BESIDE = 1", "BESIDE = 2"),  # inside a function inside it
        ('version=2, aliases=("till.bought",)', 'version=2, aliases=("till.given",)'),
        ('aliases=("till.bought",), ', ""),
        ("ends=True", "ends=False"),
        ('{**data, "lines": []}', '{"lines": [], **data}'),  # an upcaster
        ("kind: Kind = Kind.CASH", "kind: Kind = Kind.CARD"),  # of an event
        ("lines: list[Line]", "lines: tuple[Line, ...]"),
        ("self.amount + 0", "self.amount + 1"),
        ("count: int = 1", "count: int = 2"),  # of what is in an event
        ("count: int = 1", "count: float = 1"),
        ('CARD = "card"', 'CARD = "kard"'),
        ('default="nobody"', 'default="somebody"'),  # of a field
        ("decimal_places=2", "decimal_places=3"),
        ("sold = models.IntegerField", "sold = models.BigIntegerField"),
        ('    note = models.CharField(max_length=20, default="")\n', ""),
        ('stream_type = "till.till"', 'stream_type = "till.till"\n    unrecorded = ("note",)'),
        ('stream_type = "till.till"', 'stream_type = "till.till"\n    snapshot_version = 2'),
    ],
)
def test_it_changes_with_whatever_the_fold_depends_on(fingerprint: Callable[..., bytes], old: str, new: str) -> None:
    assert fingerprint(old, new) != fingerprint()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        # What is kept is what came in, less the fee.\n", ""),
        ("def unused():\n    return UNUSED\n", ""),
        ("UNUSED = 1\n", "UNUSED = 2\n"),
        ("OTHER = 1\n", "OTHER = 2\n"),
        ("Whose it is.", "Who owns it."),
        ('CharField("owner"', 'CharField("keeper"'),
        ('        app_label = "till"\n        apps = APPS', '        app_label = "till"\n        apps = APPS\n\n\n'),
    ],
)
def test_it_stays_with_what_makes_no_difference(fingerprint: Callable[..., bytes], old: str, new: str) -> None:
    assert fingerprint(old, new) == fingerprint()


def test_it_is_32_bytes_and_each_model_has_its_own() -> None:
    models = (Wallet, Counter, Book, Contract, Folder, Passport)
    assert {len(fingerprint_of(model)) for model in models} == {32}
    assert len({fingerprint_of(model) for model in models}) == len(models)


def test_a_proxy_that_adds_nothing_folds_alike() -> None:
    class Purse(Wallet):
        class Meta:
            proxy = True
            app_label = "samples"
            apps = Apps()

    assert fingerprint_of(Purse) == fingerprint_of(Wallet)


def test_another_models_relation_to_it_makes_no_difference() -> None:
    before = fingerprint_of.__wrapped__(Passport)
    assert Customer._meta.related_objects
    type.__setattr__(Passport, "visas", type(Customer).__dict__.get("visas", Customer.__dict__["contracts"]))
    try:
        assert fingerprint_of.__wrapped__(Passport) == before
    finally:
        type.__delattr__(Passport, "visas")


PRINT = """
import django, sys
django.setup()
from eventsourcing_app.aggregates.past.applycode import _Walk, fingerprint_of
from demo_bank.models import Account
from tests.samples.models import Contract, Passport, Wallet

def named(word):
    return word in {"one", "two", "three", "four"} or KINDS

KINDS = {Passport, Wallet, named, ("a", 1), ("b", 2), Passport.Status.LOST, Passport.Status.VALID}
walk = _Walk()
walk.add(named)
print(walk.digest().hex(), *[fingerprint_of(model).hex() for model in (Account, Contract, Passport, Wallet)])
"""


def test_it_is_the_same_in_every_process() -> None:
    printed = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PRINT],
            cwd=ROOT,
            env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.add(done.stdout.strip())
    assert len(printed) == 1
    assert printed.pop().split()[2:] == [fingerprint_of(model).hex() for model in (Contract, Passport, Wallet)]
