"""Ending waits: what has failed is tried again at once, with the attempts that it has had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from eventsourcing_app.conf import conf
from eventsourcing_app.subscriptions.parking import parked_of, summarize
from eventsourcing_app.subscriptions.records import ParkedEvent, Segment

if TYPE_CHECKING:
    from collections.abc import Collection


def hurry(names: Collection[str]) -> None:
    """Let the waits of these subscriptions be over, those of their parked events included; dead ones stay dead."""
    rows = Segment.objects.using(conf.DATABASE).filter(subscription__in=names)
    waiting = rows.filter(Q(retry_at__isnull=False) | Q(parked__gt=0))
    with transaction.atomic(using=conf.DATABASE):
        # All of them are locked before the first is changed, in the order in which everybody locks them.
        locked = dict(waiting.select_for_update(no_key=True).order_by("pk").values_list("pk", "parked"))
        rows.filter(pk__in=locked).update(retry_at=None)
        for segment in (pk for pk, parked in locked.items() if parked):
            parked_of(segment).filter(state=ParkedEvent.State.FAILED).update(retry_at=Now())
            summarize(segment)
