"""The manager of event-sourced models: runs commands under lock, repeats them safely, and looks into the past."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from django.db import models, transaction

from eventsourcing_app.aggregates.by_key import is_simple_key, load
from eventsourcing_app.aggregates.dispatch import own_command
from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.once import Keeping, Operation, Receipts, reaction_key, run_once
from eventsourcing_app.aggregates.past.as_of import AsOf
from eventsourcing_app.aggregates.past.changes import diff, trail
from eventsourcing_app.aggregates.past.history import replay, state_at
from eventsourcing_app.aggregates.queryset import EventSourcedQuerySet
from eventsourcing_app.aggregates.receipts import Receipt
from eventsourcing_app.aggregates.saving.write import write
from eventsourcing_app.conf import conf
from eventsourcing_app.log.errors import conflicts_translated
from eventsourcing_app.log.records import StoredEvent, StoredEventQuerySet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.past.changes import Diff, TrailEntry
    from eventsourcing_app.log.recorded import RecordedEvent

M = TypeVar("M", bound="EventSourcedModel")
P = ParamSpec("P")


class EventSourcedManager(models.Manager[M]):
    """The default manager of an ``EventSourcedModel``. Custom managers inherit from it, or are made by its
    ``from_queryset()`` of an ``EventSourcedQuerySet``.
    """

    _queryset_class: type[EventSourcedQuerySet[M]] = EventSourcedQuerySet  # from_queryset() of Django sets another

    def get_queryset(self) -> EventSourcedQuerySet[M]:
        # The log and its models are in one database; no router decides where they are read.
        hints: Any = self._hints  # type: ignore[attr-defined]  # as BaseManager of Django passes them on
        return self._queryset_class(model=self.model, using=self._db or conf.DATABASE, hints=hints)

    def get(self, *args: Any, **kwargs: Any) -> M:
        """Return the one row that matches, as any manager does; one that is asked for by its key, faster."""
        if not args and kwargs.keys() == {"pk"} and self._gives_every_row and is_simple_key(self.model, kwargs["pk"]):
            instance = load(self.model, kwargs["pk"])
            if instance is None:
                raise self.model.DoesNotExist(f"{self.model._meta.object_name} matching query does not exist.")
            return instance
        return super().get(*args, **kwargs)

    @property
    def _gives_every_row(self) -> bool:
        own = (
            type(self).get_queryset is EventSourcedManager.get_queryset and self._queryset_class is EventSourcedQuerySet
        )
        return own and self._db in (None, conf.DATABASE)

    def perform(
        self, pk: Any, command: Callable[Concatenate[M, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Receipt:
        """Lock the aggregate, run a command on it, and save: ``perform(pk, Account.deposit, amount=…)``.

        Raises what the command raises (``CommandRejected``), ``DoesNotExist``, and what ``save()`` raises.
        """
        return Runner(self).perform(pk, command, *args, **kwargs)

    def perform_new(
        self, command: Callable[Concatenate[M, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Receipt:
        """Run a creating command on a new aggregate and save it: ``perform_new(Account.open, owner="Ada")``."""
        return Runner(self).perform_new(command, *args, **kwargs)

    def once(self, key: str) -> Runner[M]:
        """Make the next command safe to repeat: the same key answers with the same receipt, and acts once.

        The key is scoped to actor, command and aggregate. Raises ``KeyRefused`` for a text that cannot be a
        key, ``KeyReused`` if it came with other arguments, and ``KeyInFlight`` while the first request is running.
        """
        return Runner(self, key)

    @contextmanager
    def locked(self, pks: Sequence[Any]) -> Iterator[tuple[M, ...]]:
        """Lock several aggregates, hand them out in the order asked for, and save them all at the end, or none.

        Locks are taken in the order of the keys, so that two of these never wait for each other. Those on which nothing
        was recorded are left as they are. Raises ``ValueError`` if a key comes twice, and ``DoesNotExist``.
        """
        with transaction.atomic(using=conf.DATABASE):
            field = self.model._meta.pk
            keys = [field.to_python(pk) for pk in pks]
            if len(set(keys)) != len(keys):
                raise ValueError(f"locked() was given a key twice: {', '.join(map(str, keys))}. Name each once.")
            found = {instance.pk: instance for instance in self._lock(self.get_queryset(), keys)}
            for key in keys:
                if key not in found:
                    raise self.model.DoesNotExist(f"{self.model.__name__} {key} does not exist.")
            instances = tuple(found[key] for key in keys)
            try:
                yield instances
                for instance in instances:
                    instance._recording.check(instance)
                changed = [instance for instance in instances if instance._recording.pending]
                if changed:
                    write(changed, repeatable=False)
            except BaseException:
                for instance in instances:
                    instance._recording.spend("the locked() block that loaded it failed")
                raise

    def save_all(self, instances: Sequence[M]) -> None:
        """Save many aggregates in one transaction, all or nothing: rows are locked in the order of their keys.

        Raises what ``save()`` raises, ``ValueError`` if an aggregate comes twice, and ``TypeError`` for one of another
        model.
        """
        if not instances:
            return
        mine = self.model._meta.concrete_model
        others = {each._meta.label for each in instances if each._meta.concrete_model is not mine}
        if others:
            raise TypeError(
                f"{self.model.__name__}.objects.save_all() was given instances of {', '.join(sorted(others))}, whose "
                "rows it would not lock. Save those by their own manager, both in one transaction or @flow."
            )
        existing = [instance for instance in instances if not instance._state.adding]
        if len({id(instance) if instance.pk is None else instance.pk for instance in instances}) != len(instances):
            raise ValueError(
                "save_all() was given two instances of one aggregate: the second would overwrite the first."
            )
        with transaction.atomic(using=conf.DATABASE):
            if existing:
                self._lock(self.get_queryset().values_list("pk"), [instance.pk for instance in existing])
            write(instances)

    def at(self, pk: Any, *, version: int | None = None, when: datetime | None = None) -> M:
        """Return the aggregate as it was after ``version``, or as of ``when``: a read-only instance.

        "As of" means the greatest version such that all up to it were recorded at or before that moment. For a moment
        so recent that an open append could still change the answer, ``past_is_final`` of the instance is ``False``.
        Columns without history hold their defaults, generated ones ``None``.

        Raises ``DoesNotExist`` before its first event, ``NoSuchVersion`` beyond its last, ``ValueError`` unless exactly
        one of ``version`` and ``when`` is given, or for a naive time.
        """
        if (version is None) == (when is None):
            raise ValueError("at() takes either version=… or when=….")
        _check_moments("at", version=version, when=when)
        return state_at(self.model, stream_key_of(self.model, pk), version=version, when=when)

    def as_of(
        self, when: datetime, *, pks: Iterable[Any] | None = None, after: Any = None, limit: int | None = None
    ) -> AsOf[M]:
        """Return all aggregates as they were at ``when``, those that existed then: read-only, in the order of the keys.

        The list is made anew whenever it is iterated, in constant memory. ``pks`` restricts it to some aggregates;
        ``after`` (a key) and ``limit`` cut out a page. The manager's own queryset has no say in it. Raises
        ``ValueError`` for a naive time or a negative limit.
        """
        _check_moments("as_of", when=when)
        if limit is not None and limit < 0:
            raise ValueError(f"as_of(limit={limit}): a page has no fewer than 0 aggregates.")
        return AsOf(self.model, when, pks=pks, after=after, limit=limit)

    def diff(self, pk: Any, *, since: int | datetime, until: int | datetime | None = None) -> Diff:
        """Return which fields differ between two versions or moments of an aggregate, and how; ``until`` now, if left.

        ``since=0``, or a moment before its first event, means before it existed. Raises ``DoesNotExist``,
        ``NoSuchVersion``, and ``ValueError`` for a naive time or if ``since`` comes after ``until``.
        """
        _check_moments("diff", since=since, until=until)
        return diff(self.model, stream_key_of(self.model, pk), since=since, until=until)

    def trail(self, pk: Any, *, since: int = 0, until: int | None = None) -> Iterator[TrailEntry]:
        """Yield each event of an aggregate with the fields that it changed, before and after, in constant memory.

        What leads from version ``since`` to version ``until``, as in ``diff()``: the first is the event after
        ``since``, the last that of ``until``; nothing if there are none. ``since=0`` is from the beginning. Raises
        ``ValueError`` for a negative version, and ``TypeError`` for a moment.
        """
        for name, version in (("since", since), ("until", until)):
            if isinstance(version, datetime):
                raise TypeError(f"trail({name}={version}): a trail goes by versions; diff() takes moments, too.")
        _check_moments("trail", since=since, until=until)
        return trail(self.model, stream_key_of(self.model, pk), since=since, until=until)

    def replay(self, pk: Any) -> Iterator[tuple[M, RecordedEvent]]:
        """Replay the history of an aggregate: yield its state after each event, and the event, in constant memory.

        The state is one and the same read-only instance, moved on from event to event.
        """
        return replay(self.model, stream_key_of(self.model, pk))

    def history(self, pk: Any) -> StoredEventQuerySet:
        """Return the stored events of an aggregate, in order."""
        events = StoredEventQuerySet(StoredEvent, using=conf.DATABASE)
        stream_key = stream_key_of(self.model, pk)
        return events.of_stream(self.model.stream_type, stream_key)

    def _lock_one(self, pk: Any) -> M:
        found: M | None
        if self._gives_every_row and is_simple_key(self.model, pk):
            with conflicts_translated(self.model.stream_type, str(pk), expected=None):
                found = load(self.model, pk, lock=True)
        else:
            found = next(iter(self._lock(self.get_queryset(), [pk])), None)
        if found is None:
            raise self.model.DoesNotExist(f"{self.model.__name__} {pk} does not exist.")
        return found

    def _lock(self, rows: models.QuerySet[M], keys: Sequence[Any]) -> list[M]:
        # Asked for one, Django knows of itself that no row has a number that its column cannot hold.
        which = models.Q(pk=keys[0]) if len(keys) == 1 else models.Q(pk__in=keys)
        found = rows.using(conf.DATABASE).filter(which).order_by("pk")
        with conflicts_translated(self.model.stream_type, ", ".join(map(str, keys)), expected=None):
            return list(found.select_for_update(no_key=True, of=("self",)))


def _check_moments(call: str, **moments: int | datetime | None) -> None:
    for name, moment in moments.items():
        if isinstance(moment, datetime):
            if moment.tzinfo is None:
                raise ValueError(f"{call}({name}={moment}): the time is naive; give it a time zone.")
        elif moment is not None and moment < 0:
            raise ValueError(f"{call}({name}={moment}): versions count from 1.")


class Runner(Generic[M]):
    """Runs one command under lock and saves; with a key, at most once. Made by the manager."""

    def __init__(
        self,
        manager: EventSourcedManager[M],
        key: str | None = None,
        *,
        keeping: Keeping[Receipt] = lambda answers: answers,
        lock: Callable[[Any], M] | None = None,
        savepoint: bool = True,
    ) -> None:
        """Prepare to run. ``lock`` loads and locks an aggregate by its key, in another way than the manager does.

        Without ``savepoint`` an error must end the transaction of the caller; where there is none, it changes nothing.
        """
        self._manager, self._key, self._keeping = manager, key, keeping
        self._lock, self._savepoint = lock or manager._lock_one, savepoint

    def perform(
        self, pk: Any, command: Callable[Concatenate[M, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Receipt:
        """See ``EventSourcedManager.perform``."""

        def act(*, repeatable: bool) -> Receipt:
            instance = self._lock(pk)
            command(instance, *args, **kwargs)
            return _saved(instance, repeatable=repeatable)

        stream_key = stream_key_of(self._manager.model, pk)
        return self._run(act, command, stream_key, args, kwargs)

    def perform_new(
        self, command: Callable[Concatenate[M, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Receipt:
        """See ``EventSourcedManager.perform_new``."""

        def act(*, repeatable: bool) -> Receipt:
            instance = self._manager.model()
            command(instance, *args, **kwargs)
            return _saved(instance, repeatable=repeatable)

        return self._run(act, command, "", args, kwargs)

    def _run(
        self,
        act: Callable[..., Receipt],
        command: Callable[..., object],
        stream_key: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Receipt:
        model = self._manager.model
        declared = own_command(model, command)
        operation = Operation(f"{model.stream_type}.{declared.name}", stream_key)
        key = reaction_key(*operation) if self._key is None else self._key
        with transaction.atomic(using=conf.DATABASE, savepoint=self._savepoint):
            if key is None:
                return act(repeatable=False)
            bound = declared.signature.bind(None, *args, **kwargs)
            bound.apply_defaults()
            return run_once(
                key,
                operation,
                request=dict(list(bound.arguments.items())[1:]),
                act=partial(act, repeatable=True),
                answers=self._keeping(Receipts(model._meta.pk.to_python)),
                older=[f"{name}.{declared.name}" for name in model.stream_type_aliases],
            )


def _saved(instance: EventSourcedModel, *, repeatable: bool) -> Receipt:
    before = instance.version
    if instance._recording.pending:
        write([instance], repeatable=repeatable)
        # A receiver may have saved it once more and been rolled back: then it is ahead of its row, and tells lies.
        instance._recording.check_unspent(instance)
        position = instance.position
    else:  # The command found nothing to do; the aggregate stands where it stood.
        position = instance.history().values_list("position", flat=True).last()
    return Receipt(pk=instance.pk, position=position or 0, version=instance.version, count=instance.version - before)
