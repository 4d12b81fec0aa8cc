"""``EventSourcedModel``: an ordinary Django model whose row is the state folded from its events.

The model is the aggregate on purpose: admin, serializers, foreign keys, filters, locks and constraints work because it
is a row. A row is written only together with the events that made it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from django.db import models
from django.db.models.base import ModelBase
from django.db.models.signals import pre_delete
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.aggregates.dispatch import applies_of, method_for
from eventsourcing_app.aggregates.keys import stream_key_of
from eventsourcing_app.aggregates.loading import require_as_loaded
from eventsourcing_app.aggregates.manager import EventSourcedManager
from eventsourcing_app.aggregates.recording import Recording, history_fields
from eventsourcing_app.aggregates.saving.ends import loses_row
from eventsourcing_app.aggregates.saving.write import save_unrecorded, write
from eventsourcing_app.conf import conf
from eventsourcing_app.events.codec import decode, encode
from eventsourcing_app.events.declare import declaration_of
from eventsourcing_app.exceptions import CommandRejected, DirectWriteRefused, NotAdopted, StreamEnded
from eventsourcing_app.identifiers import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.log.records import StoredEventQuerySet


_IDENTITY = frozenset({"version", "changed_at"})
"""What tells one loaded state from every other: see ``saving.updates.Loaded``."""


class _EventSourcedModelBase(ModelBase):
    """Gives way with ``id`` where a model, or an abstract parent, declares a primary key of its own."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any], **kwargs: Any) -> Any:
        if "id" not in attrs:
            key = _declared_key(attrs, bases)
            if key is not None:
                # One that a mixin calls "id" as well takes the place of the base's.
                attrs["id"] = copy.deepcopy(key) if key.name == "id" else None
        model: Any = super().__new__(mcs, name, bases, attrs, **kwargs)
        if not model._meta.abstract:
            _guard_base_manager(model)
            pre_delete.connect(_refuse_delete, sender=model, dispatch_uid=f"eventsourcing_app.{model._meta.label}")
        return model


def _guard_base_manager(model: Any) -> None:
    """See to it that the base manager refuses writes as well, where a mixin of somebody else stands before the base."""
    options = model._meta
    named = "base_manager_name" in options.original_attrs
    if not named and not isinstance(model._base_manager, EventSourcedManager) and "objects" in options.managers_map:
        options.base_manager_name = "objects"
        options.__dict__.pop("base_manager", None)  # cached


def _declared_key(attrs: Mapping[str, Any], bases: tuple[type, ...]) -> models.Field[Any, Any] | None:
    own = [value for value in attrs.values() if isinstance(value, models.Field)]
    inherited = [
        field
        for base in bases
        if issubclass(base, models.Model) and not isinstance(base, _EventSourcedModelBase) and base._meta.abstract
        for field in base._meta.local_fields
    ]
    return next((field for field in (*own, *inherited) if field.primary_key), None)


def _refuse_delete(sender: type[models.Model], **signal: Any) -> None:
    if "instance" in signal and loses_row(signal["instance"]):
        return  # sent by save(), which removes the row with the event that ends the aggregate
    raise _deletes_nothing(sender)


def _deletes_nothing(model: type[models.Model]) -> DirectWriteRefused:
    return DirectWriteRefused(
        f"{model.__name__}: deleting a row would leave no event behind, and its history would remain. Record an event "
        "declared with ends=True instead; with remove_row_at_end = True it takes the row with it."
    )


def _exists(aggregate: models.Model) -> CommandRejected:
    message = gettext("This %(model)s exists already.") % {"model": aggregate._meta.verbose_name}
    return CommandRejected(message, code="already_exists")


def _does_not_exist(aggregate: models.Model) -> CommandRejected:
    message = gettext("This %(model)s does not exist yet.") % {"model": aggregate._meta.verbose_name}
    return CommandRejected(message, code="does_not_exist")


class EventSourcedModel(models.Model, metaclass=_EventSourcedModelBase):
    """Base of event-sourced models.

    A subclass sets ``stream_type`` (stable: it names the streams in the log), declares fields, commands (``@command``)
    and what its events change (``@applies``). Columns that have no history are listed in ``unrecorded``.
    """

    stream_type: ClassVar[str]
    """Name of its streams in the log. Survives renames of class and app; see ``stream_type_aliases`` to change it."""
    stream_type_aliases: ClassVar[tuple[str, ...]] = ()
    """Names that its streams had before ``stream_type``, the first one last. Never removed: the log keeps them."""
    unrecorded: ClassVar[tuple[str, ...]] = ()
    """Names of fields outside history: written by ``update()`` or ``save(update_fields=…)``, never by events."""
    remove_row_at_end: ClassVar[bool] = False
    """Whether an event declared ``ends=True`` removes the row when it is saved. Its history remains, and so do past
    states: ``objects.history(pk)``, ``objects.at(pk, …)``."""
    adoption_event: ClassVar[type | None] = None
    """The event with which ``manage.py adopt`` begins the history of rows that are older than it."""
    snapshot_version: ClassVar[int] = 1
    """Raise it when past states must be folded anew because of a change that no code of the model shows."""
    position: int | None = None
    """After ``save()``: the position in the log of its last event. Not a column."""
    past_is_final: bool | None = None
    """Of a past state: whether no open append can still change it. ``None`` on an instance of now. Not a column."""

    id = models.UUIDField(_("id"), primary_key=True, default=uuid7, editable=False)
    version = models.PositiveBigIntegerField(_("version"), default=0, editable=False)
    changed_at = models.DateTimeField(_("changed at"), null=True, editable=False)
    ended = models.BooleanField(_("ended"), default=False, editable=False)

    objects: ClassVar[EventSourcedManager[Self]] = EventSourcedManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        applies_of(cls)  # says at once if two methods apply the same event

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "_recording_" in state:
            state["_recording_"] = self._recording.for_copy()
        return state

    def save(
        self,
        *,
        force_insert: bool | tuple[ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Append the recorded events and write the row, in one transaction.

        Afterwards ``version``, ``changed_at`` and ``position`` tell what was written. With ``update_fields`` that name
        only ``unrecorded`` columns it writes those and needs no event.

        Raises ``NothingRecorded``, ``UnrecordedChange``, ``ConcurrencyError`` if somebody else wrote first, and
        ``IntegrityError`` if a constraint rejects the new state; then nothing is stored and the instance is spent.
        ``force_insert`` and ``force_update`` raise ``CommandRejected`` where the aggregate exists or does not.
        """
        if using is not None and using != conf.DATABASE:
            raise DirectWriteRefused(f"save(using={using!r}): the log, and so this model, is in {conf.DATABASE!r}.")
        if force_insert and not self._state.adding:
            raise _exists(self)
        if force_update and self._state.adding:
            raise _does_not_exist(self)
        if update_fields is not None:
            save_unrecorded(self, frozenset(update_fields))
        else:
            write([self])

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any) -> Self:
        instance = super().from_db(db, field_names, values, **options)
        require_as_loaded(instance, field_names, values)
        instance.__dict__["_recording_"] = Recording.of_loaded(instance)
        return instance

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: models.QuerySet[Self] | None = None,
    ) -> None:
        """Load the state again; whatever was recorded but not saved is forgotten.

        With ``fields``, as Django does for a deferred field, only those are loaded and nothing is forgotten. But with
        ``version`` or ``changed_at``, which tell what was loaded, comes everything that was loaded before: a state must
        not be given the version of another. For that reason ``defer()`` of ``from_queryset`` counts for nothing then.

        Raises ``UnrecordedChange`` if it would take back, from some ``fields`` only, what unsaved events have made.
        """
        names = None if fields is None else set(fields)
        if names is not None and not names.isdisjoint(_IDENTITY):
            names |= _IDENTITY | {
                field.attname for field in history_fields(type(self)) if field.attname in self.__dict__
            }
        elif names is not None:
            self._recording.require_undisturbed(self, names)
        if from_queryset is not None and (names is None or names >= _IDENTITY):
            from_queryset = from_queryset.defer(None)
        super().refresh_from_db(using=using, fields=names, from_queryset=from_queryset)
        if names is None or names >= _IDENTITY:
            self.__dict__["_recording_"] = Recording.of_loaded(self)
            self.__dict__.pop("position", None)
            self.__dict__.pop("past_is_final", None)
        else:
            columns = self._meta.concrete_fields
            self._recording.settle(self, only={c.attname for c in columns if c.name in names or c.attname in names})

    @property
    def _recording(self) -> Recording:
        recording: Recording | None = self.__dict__.get("_recording_")
        if recording is None:
            recording = self.__dict__["_recording_"] = Recording.of_new(self)
        return recording

    @property
    def stream_key(self) -> str:
        """The key of its stream: its primary key as text."""
        return stream_key_of(type(self), self.pk)

    def record(self, event: object) -> None:
        """Record an event and apply it. Nothing is stored before ``save()``.

        What is applied is the event as it will be read back, so that the state is what a replay gives.

        Raises ``EventRefused`` if it cannot be stored exactly, ``StreamEnded`` after an event declared ``ends=True``,
        ``UnrecordedChange`` if fields were assigned outside ``@applies``, ``NotAdopted`` if the row is older than its
        history, and ``SpentInstance``.
        """
        recording = self._usable()
        if recording.applying:
            raise RuntimeError("@applies methods only change state: record events in a command.")
        recording.check_unchanged(self)
        if self.ended or recording.ends:
            raise StreamEnded(
                gettext("This %(model)s has ended: it accepts no further event.") % {"model": self._meta.verbose_name}
            )
        declaration = declaration_of(event)
        data = encode(event)
        self._apply(decode(declaration, data))
        recording.add(declaration, data)

    def _apply(self, event: object) -> None:
        method: Callable[[object], None] = getattr(self, method_for(type(self), type(event)))
        recording = self._recording
        recording.applying = True
        try:
            method(event)
            recording.settle_applied(self)
        except BaseException:
            recording.spend(f"applying {type(event).__name__} failed")
            raise
        finally:
            recording.applying = False

    def _usable(self) -> Recording:
        """Raise if the instance is spent or has no history, and see to it that it is loaded at one known version."""
        recording = self._recording
        recording.check_unspent(self)
        if "version" not in recording.baseline or "changed_at" not in recording.baseline:  # deferred
            recording.check_unchanged(self)
            self.refresh_from_db(fields=_IDENTITY)
            recording = self._recording
        if not self.version and not self._state.adding:
            raise NotAdopted(self._meta.label, self.pk)
        return recording

    def _begin(self, command: Command) -> int:
        """Raise if the command cannot run now; return what ``_failed`` needs to know."""
        recording = self._usable()
        exists = not self._state.adding or bool(recording.pending)
        if command.creates and exists:
            raise _exists(self)
        if not command.creates and not exists:
            raise _does_not_exist(self)
        return recording.latest

    def _failed(self, command: Command, before: int) -> None:
        recording = self._recording  # another one, if the command has loaded the instance again
        if recording.latest > before:
            recording.spend(f"{command.name}() failed after it had recorded an event")

    def save_base(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: rows are written only by ``save()``, with their events."""
        raise DirectWriteRefused(
            f"{type(self).__name__}: writing or loading a row as it is would leave no event behind. Run a command and "
            "call save()."
        )

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: record an event declared with ``ends=True`` instead."""
        raise _deletes_nothing(type(self))

    def history(self) -> StoredEventQuerySet:
        """Return its stored events, in order."""
        return type(self).objects.history(self.pk)
