"""Rounds of the loop: who has something to do, in which order, and how many of them at a time.

A round looks, moves past what has nothing for a segment, and serves the others, the longest unserved first. Segments
that are quick are claimed together and given back together; one that is slow, or that something went wrong with, alone.
"""

from __future__ import annotations

import logging
import random
import time
import traceback
from typing import TYPE_CHECKING, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError
from django.db.models import Case, When
from django.db.models.functions import Now

from eventsourcing_app.conf import conf
from eventsourcing_app.signals import subscription_caught_up
from eventsourcing_app.subscriptions import claim
from eventsourcing_app.subscriptions.definitions import ensure, segments_of, stored
from eventsourcing_app.subscriptions.failures import storable
from eventsourcing_app.subscriptions.look import look, next_due
from eventsourcing_app.subscriptions.records import Segment, Subscription
from eventsourcing_app.subscriptions.registry import registry
from eventsourcing_app.subscriptions.subscribed import definition_of
from eventsourcing_app.subscriptions.windows import Share
from eventsourcing_app.subscriptions.work import work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventsourcing_app.subscriptions.claim import Claim
    from eventsourcing_app.subscriptions.look import Waiting
    from eventsourcing_app.subscriptions.registry import Definition
    from eventsourcing_app.subscriptions.worker import Worker

logger = logging.getLogger("eventsourcing_app.subscriptions")

TOGETHER = 50
"""How many segments are claimed together."""
WHOLE_LOOK_SECONDS, IDLE_LOOK_SECONDS = 1.0, 5.0
"""How often a paced worker looks at every segment, and moves those for which nothing came; while nothing comes at all,
it looks that seldom whether an operator has been there, or another worker has died."""
_ASK_SECONDS = 1.0
_BROKEN_SECONDS = 30.0
_LOOK_LASTS = 1.0
"""After so long a worker looks again, also in the middle of a round: others may have waited longer by then."""


class Count(Protocol):
    """What a run of the loop counts."""

    handled: int
    errors: list[Exception]


class Rounds:
    """See the module."""

    def __init__(
        self,
        worker: Worker,
        definitions: Sequence[Definition] | None,
        *,
        paced: bool,
        over: Callable[[], bool],
        overloaded: Callable[[], None] | None = None,
    ) -> None:
        self.worker = worker
        self._restricted = definitions is not None
        given = registry.all() if definitions is None else definitions
        self._definitions = ensure(given)
        self.left_to_others = sorted({each.name for each in given} - self._definitions.keys())
        """What this code knows, but is too old for: see ``ensure``."""
        self._paced, self._over, self._overloaded = paced, over, overloaded
        self._asked_at = -_ASK_SECONDS
        self._looked_whole_at = self._look_whole_at = -IDLE_LOOK_SECONDS
        self._complete_until = -1
        self._again: set[str] = set()
        """Those that had something to do in the last round, and may not be through."""
        self._absent: set[str] = set()
        """Those whose handlers this code does not have."""
        if definitions is None:
            self._load_all_stored()

    @property
    def names(self) -> tuple[str, ...]:
        """The subscriptions that this worker handles, or would if it had their handlers."""
        return tuple({**self._definitions, **dict.fromkeys(self._absent)})

    def is_complete(self, settled: int) -> bool:
        """Whether every segment has been looked at since ``settled`` was known, and has nothing left to do now."""
        return self._complete_until >= settled

    def run(self, settled: int, count: Count) -> bool:
        """Look once and serve what was found; return whether anything was done."""
        whole = self._is_time_for_whole_look(settled)
        found = self._look(settled, whole=whole)
        idle: list[Waiting] = []
        busy: list[Waiting] = []
        for each in found:
            definition = self._definitions[each.subscription]
            share = Share(each.number, each.segments)
            may_pass = not each.careful and not each.parked_is_due
            passes = may_pass and self.worker.windows.is_idle(definition, share, each.checkpoint, settled)
            (idle if passes else busy).append(each)
        if whole:
            claim.pass_by(idle, until=settled)
        served = self._serve(busy, settled, count)
        self._again = {each.subscription for each in busy}
        if whole and not busy:
            self._complete_until = settled
            if self._paced:
                self._look_whole_at = time.monotonic() + min(IDLE_LOOK_SECONDS, next_due(settled, only=self.names))
        self._say_caught_up(served | {each.subscription for each in idle if whole}, settled)
        return bool(busy) and bool(served)

    def _is_time_for_whole_look(self, settled: int) -> bool:
        due = self._look_whole_at
        if settled > self._complete_until:
            due = min(due, self._looked_whole_at + WHOLE_LOOK_SECONDS)
        return not self._paced or time.monotonic() >= due

    def _look(self, settled: int, *, whole: bool) -> list[Waiting]:
        windows = self.worker.windows
        only = self.names if self._restricted else None
        if not whole:
            came = windows.advance(settled, oldest=settled)
            matching = {name for name, each in self._definitions.items() if any(map(each.handlers_of, came))}
            only = tuple(matching | self._again)
            if not only:
                return []
        rows = [each for each in look(settled, only=only) if self._is_mine(each)]
        if whole:
            self._looked_whole_at = time.monotonic()
            self._look_whole_at = self._looked_whole_at + WHOLE_LOOK_SECONDS
            windows.advance(settled, oldest=min((each.checkpoint for each in rows), default=settled))
        return rows

    def _is_mine(self, each: Waiting) -> bool:
        definition = self._definitions.get(each.subscription)
        if self.worker.leaves(each.segment):
            return False
        if definition is None or definition.fingerprint != each.fingerprint:
            stored_only = each.is_stored and registry.get(each.subscription) is None and not self._restricted
            definition = self._load(each) if stored_only else None
        return definition is not None

    def _serve(self, busy: Sequence[Waiting], settled: int, count: Count) -> set[str]:
        served: set[str] = set()
        began = time.monotonic()
        groups, following = list(_groups(busy)), 0
        for number in range(len(groups)):
            if number and self._overloaded is not None and time.monotonic() - self._asked_at >= _ASK_SECONDS:
                self._asked_at = time.monotonic()
                self._overloaded()
            if self._over() or (served and time.monotonic() - began > _LOOK_LASTS):
                break
            mine = self._take_turns(groups.pop(following), settled, count)
            served |= mine
            # Where another worker was first it goes on elsewhere: or they would run after one another all the way.
            following = 0 if mine or not groups else random.randrange(len(groups))
        return served

    def _take_turns(self, group: Sequence[Waiting], settled: int, count: Count) -> set[str]:
        """Claim a group and handle it, all of it within one turn."""
        worker, done = self.worker, []
        claims = claim.claim(group, token=worker.token, until=settled)
        worker.held = tuple(claimed.segment for claimed in claims)
        worker.begin_turn()
        for number, claimed in enumerate(claims):
            if number and (worker.is_over or self._over()):
                claim.leave(claims[number:], token=worker.token)
                break
            worker.at = claimed.segment
            worker.watched(worker.at)
            try:
                turn = work(worker, self._definitions[claimed.subscription], claimed)
            except (OperationalError, InterfaceError):
                raise  # the database went away, for all of them
            except Exception as error:
                # No handler's: those are parked. Whatever it is, the other subscriptions must not wait for it.
                logger.exception("%s could not be served at #%d.", claimed.subscription, claimed.checkpoint)
                count.errors.append(error)
                self._leave_broken(claimed, error)
                continue
            count.handled += turn.handled
            count.errors += turn.errors
            if not turn.is_over:
                done.append(claimed)
        claim.release(done, token=worker.token)
        worker.held, worker.at = (), 0
        worker.watched(0)
        return {claimed.subscription for claimed in claims}

    def _leave_broken(self, claimed: Claim, error: Exception) -> None:
        """Give a segment back where the database says that it is, to be looked at again after a while."""
        report = storable("".join(traceback.format_exception(error)))
        later = claim.from_now(_BROKEN_SECONDS)
        claim.end(
            claimed,
            last_error=report,
            failed_at=Now(),
            retry_at=later,
            parked_due_at=Case(When(parked_due_at__isnull=False, then=later)),
        )

    def _say_caught_up(self, names: set[str], settled: int) -> None:
        if not names or not subscription_caught_up.has_listeners(Subscription):
            return
        behind = Segment.objects.using(conf.DATABASE).filter(subscription__in=names, checkpoint__lt=settled)
        for name in sorted(names - set(behind.values_list("subscription_id", flat=True))):
            subscription_caught_up.send_robust(sender=Subscription, subscription=name, position=settled)

    # Subscriptions made at run time

    def _load_all_stored(self) -> None:
        for row in stored().exclude(handler="").filter(status=Subscription.Status.ACTIVE):
            if registry.get(row.name) is None:  # what code declares by now is the code's, as soon as migrate has run
                self._import(row)

    def _load(self, each: Waiting) -> Definition | None:
        """Load what is stored of a subscription that was made, or changed, since this worker began."""
        row = stored().filter(name=each.subscription, fingerprint=each.fingerprint).first()
        if row is None:
            return None
        return self._import(row)

    def _import(self, row: Subscription) -> Definition | None:
        """Load a handler. One that this code does not have is left to code that does, as events are that are too new.

        This code may be the older one, in the middle of a release: it must not stop what the newer one serves.
        """
        try:
            definition = definition_of(row)
            if definition.fingerprint != row.fingerprint:
                raise ImproperlyConfigured("It is stored by code that knows other names of streams: run migrate.")
        except ImproperlyConfigured as error:
            logger.error("%s is left to other code. %s", row.name, error)
            self._absent.add(row.name)
            segments = segments_of(row.name)
            for segment in segments:
                self.worker.leave_to_newer(segment.pk)
            segments.filter(token=None, last_error="").update(last_error=storable(str(error)), failed_at=Now())
            return None
        self._absent.discard(row.name)
        self._definitions[row.name] = definition
        return definition


def _groups(busy: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Divide into what is claimed together: quick ones, so many at a time; each of the others alone, in its place."""
    together: list[Waiting] = []
    for each in busy:
        if each.goes_alone:
            yield [each]
            continue
        together.append(each)
        if len(together) == TOGETHER:
            yield together
            together = []
    if together:
        yield together
