"""django-simple-history: an ordinary model whose every save leaves a row of history.

It stores no payload, metadata, hash or correlation id; who did it is left empty, as outside a request.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import transaction
from simple_history.utils import bulk_create_with_history

from tests.benchmarks.plain_bank.models import PlainAccount
from tests.benchmarks.work import AMOUNT, REFERENCE, Done, Sample, repeated, turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.job import Job


def stored(job: Job) -> int:
    found: int = PlainAccount.history.count()
    return found


def schema(job: Job) -> Sample:
    """Make the tables: those of users first, because history points at them."""
    call_command("migrate", verbosity=0, stdout=StringIO())
    call_command("migrate", run_syncdb=True, verbosity=0, stdout=StringIO())
    return _nothing


def accounts(job: Job) -> Sample:
    """Many accounts with one row of history."""
    opened = [PlainAccount(owner=f"owner {number}") for number in range(job.scale.accounts)]
    bulk_create_with_history(opened, PlainAccount, batch_size=500)
    return _nothing


def command(job: Job) -> Sample:
    """Load, change, save: row and history in one transaction."""
    keys = _keys(job)

    def act() -> None:
        with transaction.atomic():
            _deposit(next(keys))

    return repeated(act, job)


def command_apart(job: Job) -> Sample:
    """The same in autocommit: the row is committed before its history."""
    keys = _keys(job)
    return repeated(lambda: _deposit(next(keys)), job)


def _deposit(key: Any) -> None:
    account = PlainAccount.objects.get(pk=key)
    account.balance += AMOUNT
    account.amount = AMOUNT
    account.reference = REFERENCE
    account.save()


def _keys(job: Job) -> Iterator[Any]:
    return turns(list(PlainAccount.objects.order_by("pk").values_list("pk", flat=True)), job)


def _nothing() -> Done:
    return Done(0)
