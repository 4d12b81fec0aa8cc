"""django-q2 by itself: tasks that do nothing, by the ORM broker in the same database, enqueued in bulk.

The time is that from the start of the first task until the last one is acknowledged; its cluster runs by then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import connection
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from tests.benchmarks import journal
from tests.benchmarks.hosts import hosting
from tests.benchmarks.work import Done, Sample

if TYPE_CHECKING:
    from tests.benchmarks.job import Job


def stored(job: Job) -> int:
    count: int = OrmQ.objects.count()
    return count


def tasks(job: Job) -> Sample:
    """Work off a queue."""
    packages = [_package(number) for number in range(job.scale.tasks)]

    def sample() -> Done:
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {OrmQ._meta.db_table}")
        now = timezone.now()
        OrmQ.objects.bulk_create(
            [OrmQ(key=Conf.CLUSTER_NAME, payload=package, lock=now) for package in packages], batch_size=1_000
        )
        with hosting("qcluster") as host:
            host.until(lambda: not OrmQ.objects.exists(), "the queue is empty")
            ended = time.monotonic()
            (began,) = journal.read(host.journal)
        return Done(len(packages), span=(began.at, ended))

    return sample


def _package(number: int) -> str:
    task = {
        "id": f"{number:032x}",
        "name": f"task {number}",
        "func": "tests.benchmarks.reactions.handlers.task",
        "args": (number,),
        "kwargs": {},
        "started": timezone.now(),
        "ack_failure": True,
    }
    package: str = SignedPackage.dumps(task)
    return package
