"""The tables of the log. Only ``append`` writes stored events; every other door is shut here and by triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

from eventsourcing_app.conf import conf
from eventsourcing_app.exceptions import AppendOnly
from eventsourcing_app.log.columns import ByteOrderedCharField, CanonicalJSONField, TimeIndex
from eventsourcing_app.log.errors import STREAM_VERSION
from eventsourcing_app.log.names import names_of

if TYPE_CHECKING:
    from collections.abc import Callable


def _refuse(door: str) -> Callable[..., NoReturn]:
    def refuse(_self: object, *_args: object, **_kwargs: object) -> NoReturn:
        raise AppendOnly(
            f"StoredEvent: {door} is refused: stored events are immutable and written only by recording events. "
            "Run a command on an event-sourced model and save it, or call publish(event)."
        )

    refuse.__name__ = door
    return refuse


class StoredEventQuerySet(models.QuerySet["StoredEvent"]):
    """Reads. Whatever would write is refused, with the name of the call to use instead."""

    def of_stream(self, stream_type: str, stream_key: str) -> StoredEventQuerySet:
        """Return the events of one aggregate, in order. Published facts have no version and belong to none.

        Of a stream that was renamed, all of it, whichever of its names is given.
        """
        names = names_of(stream_type)
        stream = models.Q(stream_type__in=names) if len(names) > 1 else models.Q(stream_type=stream_type)
        return self.filter(stream, stream_key=stream_key, version__isnull=False).order_by("version")

    create = _refuse("create()")
    bulk_create = _refuse("bulk_create()")
    get_or_create = _refuse("get_or_create()")
    update_or_create = _refuse("update_or_create()")
    update = _refuse("update()")
    bulk_update = _refuse("bulk_update()")
    delete = _refuse("delete()")
    _update = _refuse("update()")
    _insert = _refuse("insert()")
    _raw_delete = _refuse("delete()")


class StoredEventManager(models.Manager["StoredEvent"]):
    """Reads the database of the log, whatever routers say."""

    def get_queryset(self) -> StoredEventQuerySet:
        return StoredEventQuerySet(self.model, using=self._db or conf.DATABASE)


class StoredEvent(models.Model):
    """One immutable event of the log, in the order of ``position``."""

    position = models.BigAutoField(_("position"), primary_key=True)
    event_id = models.UUIDField(_("event id"), unique=True, editable=False)
    stream_type = ByteOrderedCharField(_("stream type"), max_length=200)
    stream_key = ByteOrderedCharField(_("stream key"), max_length=255)
    version = models.PositiveBigIntegerField(_("version"), null=True)
    type = ByteOrderedCharField(_("type"), max_length=200)
    schema_version = models.PositiveSmallIntegerField(_("schema version"))
    data = CanonicalJSONField(_("data"))
    metadata = CanonicalJSONField(_("metadata"))
    actor = ByteOrderedCharField(_("actor"), max_length=150)
    correlation_id = ByteOrderedCharField(_("correlation id"), max_length=128)
    causation_id = models.UUIDField(_("causation id"), null=True)
    recorded_at = models.DateTimeField(_("recorded at"))
    hash = models.BinaryField(_("hash"), max_length=32)

    objects = StoredEventManager()

    class Meta:
        base_manager_name = "objects"
        ordering = ("position",)
        default_permissions = ("view",)
        permissions = (
            ("view_payload", "Can view payloads of stored events"),
            ("export_storedevent", "Can export stored events"),
        )
        verbose_name = _("stored event")
        verbose_name_plural = _("stored events")
        constraints = (
            # One stream in order (history, replay, the state then), and one history per aggregate.
            models.UniqueConstraint(fields=("stream_type", "stream_key", "version"), name=STREAM_VERSION),
        )
        indexes = (
            # The events of some types in order: subscriptions and the filter by type.
            models.Index(fields=("type", "position"), name="eventsourcing_type"),
            # What one actor did, in order.
            models.Index(fields=("actor", "position"), name="eventsourcing_actor"),
            # Everything that happened because of one request, in order.
            models.Index(fields=("correlation_id", "position"), name="eventsourcing_correlation"),
            # What an event caused, in order. Those without a cause, nearly all, are not in it and pay nothing.
            models.Index(
                fields=("causation_id", "position"),
                name="eventsourcing_causation",
                condition=models.Q(causation_id__isnull=False),
            ),
            # A period of time, with positions, which tell where it begins and ends in the log: see periods.
            TimeIndex(models.F("recorded_at"), models.F("position") + 0, name="eventsourcing_period"),
        )

    def __str__(self) -> str:
        where = f"{self.stream_type} {self.stream_key}".strip()
        version = "" if self.version is None else f" v{self.version}"
        return f"#{self.position} {self.type} ({where}{version})"

    save = _refuse("save()")
    save_base = _refuse("save_base()")
    delete = _refuse("delete()")
    asave = _refuse("asave()")
    adelete = _refuse("adelete()")


class SettledPosition(models.Model):
    """The one row in which workers share how far the log is settled, so that not each of them reads the locks."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    settled = models.PositiveBigIntegerField(_("settled position"), default=0)
    candidate = models.PositiveBigIntegerField(_("candidate"), null=True)
    holders = models.JSONField(_("holders"), default=list)
    server_started_at = models.DateTimeField(_("server started at"), null=True)

    class Meta:
        default_permissions = ()
        verbose_name = _("settled position")
        verbose_name_plural = _("settled positions")

    def __str__(self) -> str:
        return f"settled at {self.settled}"
