"""Models that use Django as people do: options, constraints, mixins, proxies, managers, and a field of each kind.

Their events are declared here as well. ``tests/samples/models.py`` imports them, so that they belong to the app.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower

from eventsourcing_app import CommandRejected, applies, command, event
from eventsourcing_app.models import EventSourcedManager, EventSourcedModel, EventSourcedQuerySet

if TYPE_CHECKING:
    from collections.abc import Iterable


@event("samples.named")
class Named:
    name: str


@event("samples.seat_taken")
class SeatTaken:
    row: str
    number: int
    holder: str = ""


@event("samples.specimen_measured")
class SpecimenMeasured:
    name: str = "anything"


@event("samples.edition_printed")
class EditionPrinted:
    copies: int


@event("samples.remark_made")
class RemarkMade:
    about_type: int
    about_key: str
    text: str


# Mixins of somebody else


class Described(models.Model):
    """A mixin that knows nothing of events."""

    description = models.CharField(max_length=40, blank=True, default="")

    class Meta:
        abstract = True


class Naming(EventSourcedModel):
    """A mixin with a field, its commands, and what their event changes."""

    name = models.CharField(max_length=40)

    class Meta:
        abstract = True

    @command(creates=True)
    def begin(self, name: str) -> None:
        """Begin under a name."""
        self.record(Named(name=name))

    @command
    def rename(self, name: str) -> None:
        """Give it another name."""
        self.record(Named(name=name))

    @command
    def scuttle(self) -> None:
        """What not every named thing can do."""

    @applies(Named)
    def _named(self, event: Named) -> None:
        self.name = event.name


class ShipQuerySet(EventSourcedQuerySet["Ship"]):
    """Questions about ships."""

    def of_line(self, line: str) -> ShipQuerySet:
        return self.filter(name__startswith=line)


class ShipManager(EventSourcedManager.from_queryset(ShipQuerySet)):  # type: ignore[misc]
    """Stored in migrations, and knows ships by their names."""

    use_in_migrations = True

    def get_by_natural_key(self, name: str) -> Ship:
        ship: Ship = self.get(name=name)
        return ship


class Ship(Naming, Described):
    """Inherits from both, overrides a command and an apply, drops another command, and sets every option."""

    stream_type = "samples.ship"
    unrecorded = ("description",)

    objects: ClassVar[Any] = ShipManager()
    others: ClassVar[Any] = EventSourcedManager()

    class Meta:
        db_table = "samples_fleet"
        ordering = ("name",)
        get_latest_by = "changed_at"
        default_related_name = "ships"
        default_manager_name = "objects"
        base_manager_name = "others"
        verbose_name = "vessel"
        permissions = (("sink_ship", "Can sink a ship"),)
        default_permissions = ("view",)
        indexes = (models.Index(fields=("name", "version"), name="samples_ship_name"),)
        constraints = (models.UniqueConstraint(Lower("name"), name="samples_ship_name_once"),)

    def __str__(self) -> str:
        return self.name

    def natural_key(self) -> tuple[str]:
        return (self.name,)

    @command
    def rename(self, name: str) -> None:
        """Give it another name, but not that of a ship that sank."""
        if name == "Titanic":
            raise CommandRejected("No ship is called that any more.", code="unlucky")
        super().rename(name)

    scuttle = None  # type: ignore[assignment]

    @applies(Named)
    def _christened(self, event: Named) -> None:
        self.name = event.name.title()


class Fleet(Ship):
    """The same ships under another name: a proxy has commands of its own."""

    class Meta:
        proxy = True

    @command
    def promote(self) -> None:
        """Make it the flagship."""
        self.record(Named(name=f"Flagship {self.name}"))


class Seat(EventSourcedModel):
    """Its constraints reject commands; its key is a whole number that people choose."""

    stream_type = "samples.seat"

    code = models.IntegerField(primary_key=True)
    row = models.CharField(max_length=1)
    number = models.IntegerField(unique=True)
    holder = models.CharField(max_length=20, blank=True, default="")

    class Meta:
        unique_together = (("row", "holder"),)
        constraints = (
            models.UniqueConstraint(fields=("row",), condition=models.Q(holder="king"), name="samples_one_king_a_row"),
            models.UniqueConstraint(Lower("holder"), "row", name="samples_holder_in_any_case"),
            models.CheckConstraint(condition=models.Q(number__gt=0), name="samples_seats_count_from_one"),
        )

    @command(creates=True)
    def take(self, row: str, number: int, holder: str = "") -> None:
        """Take a seat."""
        self.record(SeatTaken(row=row, number=number, holder=holder))

    @applies(SeatTaken)
    def _taken(self, event: SeatTaken) -> None:
        self.row, self.number, self.holder = event.row, event.number, event.holder


# A field of each kind


class Mark:
    """A value that only its field knows how to store."""

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self.letters == other.letters

    def __hash__(self) -> int:
        return hash(self.letters)

    def __len__(self) -> int:
        return len(self.letters)


class MarkField(models.CharField):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """Stores a mark as a cipher would: another text each time. It makes a mark of what it reads."""

    def from_db_value(self, value: str | None, *_args: object) -> Mark | None:
        return None if value is None else Mark(value[:0:-1])

    def to_python(self, value: Any) -> Any:
        return value if value is None or isinstance(value, Mark) else Mark(value)

    def get_prep_value(self, value: Any) -> Any:
        return f"{secrets.choice('0123456789')}{value.letters[::-1]}" if isinstance(value, Mark) else value

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.value_from_object(obj).letters)


class Size(models.TextChoices):
    SMALL = "s", "small"
    LARGE = "l", "large"


def refuse_bad(value: str) -> None:
    """A validator: Django runs them in forms and in full_clean(), not in save()."""
    if value == "bad":
        raise ValidationError("Not that.", code="bad")


class Specimen(EventSourcedModel):
    """A field of each kind."""

    stream_type = "samples.specimen"
    unrecorded = ("seen_by", "looks", "rank", "seen_at")

    name = models.CharField(max_length=20, validators=[refuse_bad], default="anything")
    prose = models.TextField(blank=True, default="")
    blob = models.BinaryField(null=True, blank=True)
    ratio = models.FloatField(null=True, blank=True)
    span = models.DurationField(null=True, blank=True)
    moment = models.DateTimeField(null=True, blank=True)
    day = models.DateField(null=True, blank=True)
    clock = models.TimeField(null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    email = models.EmailField(blank=True, default="")
    url = models.URLField(blank=True, default="")
    slug = models.SlugField(blank=True, default="")
    token = models.UUIDField(null=True, blank=True)
    size = models.CharField(max_length=1, choices=Size, default=Size.SMALL)
    mark = MarkField(max_length=9, null=True, blank=True)
    scan = models.FileField(max_length=20, blank=True, default="")
    tree = models.JSONField(default=dict, blank=True)
    width = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    height = models.SmallIntegerField(default=1)
    doubled = models.GeneratedField(
        expression=models.F("height") * 2, output_field=models.IntegerField(), db_persist=True
    )
    seen_by = models.ForeignKey("samples.Customer", models.SET_NULL, null=True, blank=True, related_name="+")
    looks = models.IntegerField(default=0)
    rank = models.IntegerField(db_default=7)
    seen_at = models.DateTimeField(auto_now=True)

    @command(creates=True)
    def measure(self, name: str = "anything") -> None:
        """Measure it."""
        self.record(SpecimenMeasured(name=name))

    @command
    def measure_again(self, name: str = "anything") -> None:
        """Measure it once more."""
        self.record(SpecimenMeasured(name=name))

    @applies(SpecimenMeasured)
    def _measured(self, event: SpecimenMeasured) -> None:
        self.name = event.name


# Relations


class Edition(EventSourcedModel):
    """Its key is the book that it is of; it points at the edition before."""

    stream_type = "samples.edition"

    book = models.OneToOneField("samples.Book", models.PROTECT, primary_key=True)
    previous = models.ForeignKey("self", models.RESTRICT, null=True, related_name="later")
    copies = models.IntegerField(default=0)

    @command(creates=True)
    def print_it(self, copies: int, previous: str = "") -> None:
        """Print it."""
        self.record(EditionPrinted(copies=copies))

    @command
    def print_more(self, copies: int) -> None:
        """Print more of it."""
        self.record(EditionPrinted(copies=copies))

    @applies(EditionPrinted)
    def _printed(self, event: EditionPrinted) -> None:
        self.copies += event.copies


class Remark(EventSourcedModel):
    """A remark about anything."""

    stream_type = "samples.remark"

    # Tables of this app are made before those of apps with migrations.
    about_type = models.ForeignKey(ContentType, models.PROTECT, related_name="+", db_constraint=False)
    about_key = models.CharField(max_length=40)
    about = GenericForeignKey("about_type", "about_key")
    text = models.CharField(max_length=40)

    @command(creates=True)
    def make(self, about_type: int, about_key: str, text: str) -> None:
        """Make a remark."""
        self.record(RemarkMade(about_type=about_type, about_key=about_key, text=text))

    @applies(RemarkMade)
    def _made(self, event: RemarkMade) -> None:
        self.about_type_id, self.about_key, self.text = event.about_type, event.about_key, event.text


class Memo(models.Model):
    """An ordinary model that points at event-sourced ones."""

    wallet = models.ForeignKey("samples.Wallet", models.CASCADE, related_name="memos", null=True)
    ship = models.ForeignKey(Ship, models.PROTECT, related_name="memos", null=True)
    wallets: ClassVar[Any] = models.ManyToManyField("samples.Wallet", related_name="mentioned_in")
    text = models.CharField(max_length=40, default="")


HABITS: Iterable[type[EventSourcedModel]] = (Ship, Seat, Specimen, Edition, Remark)
