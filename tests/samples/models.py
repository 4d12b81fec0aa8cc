"""Event-sourced models with each kind of key, and a read model."""

from __future__ import annotations

from decimal import Decimal

from django.db import models

from eventsourcing_app import CommandRejected, applies, command, publish
from eventsourcing_app.models import EventSourcedModel
from tests.samples import habits  # noqa: F401 - its models belong to the app
from tests.samples.catalogue import Article as Article
from tests.samples.catalogue import Shelf as Shelf
from tests.samples.ended import Desk, Lease, Pointer, Ticket, Visit  # noqa: F401 - for Django to find
from tests.samples.events import (
    BookListed,
    BookRenamed,
    ContractSigned,
    Counted,
    MoneyAdded,
    MoneyTaken,
    NeverApplied,
    PassportIssued,
    PassportLost,
    PassportRevoked,
    PassportStamped,
    RateChanged,
    ScanFiled,
    WalletClosed,
    WalletLabelled,
    WalletOpened,
)


class Wallet(EventSourcedModel):
    """The key is the UUIDv7 of the base."""

    stream_type = "samples.wallet"
    unrecorded = ("note",)

    owner = models.CharField(max_length=40)
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))
    labels = models.JSONField(default=list)
    note = models.CharField(max_length=40, blank=True, default="")

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(balance__lte=1_000_000), name="samples_wallet_not_too_rich"),
        )

    @command(creates=True)
    def open(self, owner: str) -> None:
        """Open a wallet."""
        self.record(WalletOpened(owner=owner))

    @command
    def add(self, amount: Decimal, reference: str = "") -> None:
        """Put money in."""
        if amount <= 0:
            raise CommandRejected("The amount must be positive.", code="amount_not_positive")
        self.record(MoneyAdded(amount=amount, reference=reference))

    @command
    def take(self, amount: Decimal) -> None:
        """Take money out."""
        if amount > self.balance:
            raise CommandRejected("There is not that much in it.", code="not_enough")
        self.record(MoneyTaken(amount=amount))

    @command
    def label(self, labels: list[str]) -> None:
        """Replace the labels."""
        self.record(WalletLabelled(labels=labels))

    @command
    def close(self, reason: str = "") -> None:
        """Close it for good."""
        self.record(WalletClosed(reason=reason))

    @command
    def add_then_fail(self, amount: Decimal) -> None:
        """Record, then think better of it."""
        self.record(MoneyAdded(amount=amount))
        raise CommandRejected("After all, no.", code="after_all")

    @command
    def tidy(self) -> None:
        """Find nothing to do."""

    @command
    def forget_to_apply(self) -> None:
        """Record an event that no method applies."""
        self.record(NeverApplied())

    @applies(WalletOpened)
    def _opened(self, event: WalletOpened) -> None:
        self.owner = event.owner

    @applies(MoneyAdded)
    def _added(self, event: MoneyAdded) -> None:
        self.balance += event.amount

    @applies(MoneyTaken)
    def _taken(self, event: MoneyTaken) -> None:
        self.balance -= event.amount

    @applies(WalletLabelled)
    def _labelled(self, event: WalletLabelled) -> None:
        self.labels = event.labels

    @applies(WalletClosed)
    def _closed(self, event: WalletClosed) -> None:
        pass


class Counter(EventSourcedModel):
    """The database draws the key."""

    stream_type = "samples.counter"

    number = models.BigAutoField(primary_key=True)
    total = models.BigIntegerField(default=0)

    @command(creates=True)
    def begin(self, by: int = 0) -> None:
        """Begin to count."""
        self.record(Counted(by=by))

    @command(creates=True)
    def begin_if(self, wanted: bool) -> None:
        """Begin to count, or find that there is nothing to count."""
        if wanted:
            self.record(Counted(by=0))

    @command
    def count(self, by: int = 1) -> None:
        """Count on."""
        self.record(Counted(by=by))

    @applies(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class Book(EventSourcedModel):
    """The key is natural text."""

    stream_type = "samples.book"

    isbn = models.CharField(max_length=20, primary_key=True)
    title = models.CharField(max_length=80)
    subtitle = models.CharField(max_length=80, blank=True, default="")

    @command(creates=True)
    def list_it(self, title: str) -> None:
        """List a book."""
        self.record(BookListed(title=title))

    @command
    def rename(self, title: str, subtitle: str = "") -> None:
        """Give it another title."""
        self.record(BookRenamed(title=title, subtitle=subtitle))

    @applies(BookListed)
    def _listed(self, event: BookListed) -> None:
        self.title = event.title

    @applies(BookRenamed)
    def _renamed(self, event: BookRenamed) -> None:
        self.title, self.subtitle = event.title, event.subtitle


class Customer(models.Model):
    """An ordinary model that an event-sourced one points at."""

    name = models.CharField(max_length=40)


class Contract(EventSourcedModel):
    """It has a foreign key, and keeps a tuple in a column of JSON."""

    stream_type = "samples.contract"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="contracts", null=True)
    terms = models.JSONField(default=list)

    @command(creates=True)
    def sign(self, customer_id: int, terms: tuple[str, ...] = ()) -> None:
        """Sign a contract."""
        self.record(ContractSigned(customer_id=customer_id, terms=terms))

    @command
    def renew(self) -> None:
        """Sign it again; its only term is the name of the customer."""
        assert self.customer is not None
        self.record(ContractSigned(customer_id=self.customer.pk, terms=(self.customer.name,)))

    @command
    def announce(self) -> None:
        """Tell everybody, and record nothing."""
        publish(RateChanged(currency="EUR", rate=Decimal(1)))

    @command
    def amend(self) -> None:
        """Change the terms behind the events' back."""
        self.terms = ["amended"]

    @applies(ContractSigned)
    def _signed(self, event: ContractSigned) -> None:
        self.customer_id = event.customer_id
        self.terms = event.terms


class Folder(EventSourcedModel):
    """It names a file, counts by number in a column of JSON, and computes what may not be a whole number."""

    stream_type = "samples.folder"

    scan = models.FileField(blank=True, default="")
    counts = models.JSONField(default=dict)
    sheets = models.IntegerField(default=0)

    @command(creates=True)
    def file(self, name: str, pages: int = 0) -> None:
        """File a scan, two pages on a sheet."""
        self.record(ScanFiled(name=name, pages=pages))

    @command
    def count(self, by: int) -> None:
        """Count how often a number came."""
        self.record(Counted(by=by))

    @command
    def count_after_saving(self, by: int) -> None:
        """Save what is there, record, and think better of it."""
        self.save()
        self.record(Counted(by=by))
        raise CommandRejected("After all, no.", code="after_all")

    @command
    def count_after_loading(self, by: int) -> None:
        """Load what is there, record, and think better of it."""
        self.refresh_from_db()
        self.record(Counted(by=by))
        raise CommandRejected("After all, no.", code="after_all")

    @applies(ScanFiled)
    def _filed(self, event: ScanFiled) -> None:
        self.scan = event.name
        self.sheets = event.pages / 2 if event.pages % 2 else event.pages // 2

    @applies(Counted)
    def _counted(self, event: Counted) -> None:
        self.counts[event.by] = self.counts.get(event.by, 0) + 1


class Passport(EventSourcedModel):
    """Its key is a foreign key, its status a member of an enumeration, and the database computes a column of it."""

    class Status(models.TextChoices):
        VALID = "valid"
        LOST = "lost"
        REVOKED = "revoked"

    stream_type = "samples.passport"

    holder = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="passport")
    pages = models.IntegerField(default=0)
    stamps = models.JSONField(default=dict)
    photo = models.FileField(blank=True, default="")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.VALID)
    sides = models.GeneratedField(expression=models.F("pages") * 2, output_field=models.IntegerField(), db_persist=True)

    @command(creates=True)
    def issue(self, pages: int, photo: str = "") -> None:
        """Issue a passport."""
        self.record(PassportIssued(pages=pages, photo=photo))

    @command
    def stamp(self, country: str) -> None:
        """Stamp it at a border."""
        self.record(PassportStamped(country=country))

    @command
    def lose(self) -> None:
        """Report it lost."""
        self.record(PassportLost())

    @command
    def revoke(self) -> None:
        """Revoke it for good."""
        self.record(PassportRevoked())

    @applies(PassportIssued)
    def _issued(self, event: PassportIssued) -> None:
        self.pages, self.photo = event.pages, event.photo

    @applies(PassportStamped)
    def _stamped(self, event: PassportStamped) -> None:
        self.stamps[event.country] = self.stamps.get(event.country, 0) + 1

    @applies(PassportLost)
    def _lost(self, event: PassportLost) -> None:
        self.status = self.Status.LOST

    @applies(PassportRevoked)
    def _revoked(self, event: PassportRevoked) -> None:
        self.status = self.Status.REVOKED


class OwnerTotal(models.Model):
    """A read model: what has been added to the wallets, by reference."""

    reference = models.CharField(max_length=80, primary_key=True)
    total = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0))
    events = models.IntegerField(default=0)
