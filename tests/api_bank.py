"""A bank to try addresses on: accounts of a customer and of another one, and subscriptions that have failed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from demo_bank.models import Account, DailyTotal
from demo_bank.reactions import AUDIT, NOTIFICATIONS
from eventsourcing_app import context
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent, Subscription

if TYPE_CHECKING:
    from uuid import UUID

OWNER, NUMBER, MARKER, BALANCE = "ada.augusta.king", "ACC-1815", "for the blackmailer", "7391.57"
SECRETS = (OWNER, NUMBER, MARKER, BALANCE)
"""What is in the customer's events and state, and in the errors of what failed on them."""


class Bank:
    """Accounts of a customer and of another one, and subscriptions that have failed."""

    def __init__(self) -> None:
        with context(request_id=MARKER):
            self.main = self.account(OWNER, NUMBER, BALANCE)
            self.frozen = self.account(OWNER, "ACC-FROZEN", "1", "freeze")
            self.empty = self.account(OWNER, "ACC-EMPTY")
        self.foreign = self.account("bob", "ACC-BOB", "5")
        self.total = DailyTotal.objects.create(day=timezone.now().date(), currency="EUR", count=1)
        self.position = self.main.history()[1].position
        Subscription.objects.all().delete()
        self._subscription(AUDIT, "active")
        self._subscription(NOTIFICATIONS, "paused")
        self.before = self.shape()

    def account(self, owner: str, number: str, amount: str = "", *more: str) -> Account:
        """Open an account, whose payloads have the marker if it is the customer's."""
        account = Account()
        account.open(owner=owner, number=number)
        if amount:
            account.deposit(Decimal(amount), reference=MARKER if owner == OWNER else "")
        if "freeze" in more:
            account.freeze(reason=MARKER)
        account.save()
        return account

    def _subscription(self, name: str, status: str) -> None:
        subscription = Subscription.objects.create(name=name, kind=Subscription.Kind.SUBSCRIBER, status=status)
        now = timezone.now()
        segment = Segment.objects.create(
            subscription=subscription, checkpoint=self.position, parked=1, last_error=MARKER, failed_at=now
        )
        event = self.main.history()[1]
        named = {each: getattr(event, each) for each in ("position", "event_id", "type", "stream_type", "stream_key")}
        self.parked = ParkedEvent.objects.create(
            segment=segment,
            sequence=event.stream_key,
            state="failed",
            attempts=1,
            reason=MARKER,
            error=MARKER,
            retry_at=now,
            **named,
        )

    def path_of(self, name: str, path: str, *, key: object = None) -> str:
        """Return the address of what is there, or of ``key``."""
        about = {"unfreeze": self.frozen, "close": self.empty}.get(name.partition("-")[2], self.main)
        found: dict[str, object] = {
            "account": about.pk,
            "event": self.position,
            "event-type": "bank.money_deposited",
            "subscription": NOTIFICATIONS if name.endswith("resume") else AUDIT,
            "parked": self.parked.pk,
            "dailytotal": self.total.pk,
        }
        subject = next((each for each in sorted(found, key=len, reverse=True) if name.startswith(each)), "")
        text = path.replace("^", "").replace("$", "")
        head, group, tail = text.partition("(?P<")
        if group:
            shown = found[subject] if key is None else key
            text = f"{head}{shown}{tail.partition(')')[2]}"
        return f"/{text}" + ("?after_position=0" if name == "event-stream" else "")

    def body_of(self, name: str, *, of: UUID | None = None) -> dict[str, Any]:
        """Return what a ``POST`` sends: what is right for whoever may send it."""
        subject, command = of or self.main.pk, name.partition("-")[2]
        call = {"stream_type": "bank.account", "stream_key": str(subject), "command": "deposit"}
        bodies: dict[str, dict[str, Any]] = {
            "account-list": {"owner": "Eve"},
            "account-freeze": {"reason": "Fraud"},
            "account-unfreeze": {},
            "account-close": {},
            "transfer-list": {"source": str(subject), "target": str(self.empty.pk), "amount": "1.00"},
            "batch-list": {"commands": [{**call, "arguments": {"amount": "1.00"}}]},
        }
        if name.startswith("account-"):
            return bodies.get(name, {"amount": "1.00"})
        more: dict[str, dict[str, Any]] = {
            "rate": {"rate": "5/s"},
            "reset": {"to": "beginning"},
            "skip": {"position": self.position},
        }
        own = more.get(command, {}) if name.startswith("subscription-") else {}
        return bodies.get(name, {"reason": "To try it", **own})

    def shape(self) -> object:
        """Return all that a request could have changed."""
        return (
            StoredEvent.objects.count(),
            list(Account.objects.order_by("pk").values_list("pk", "version", "balance", "status")),
            list(Subscription.objects.order_by("pk").values_list("pk", "status", "status_reason", "rate")),
            list(Segment.objects.order_by("pk").values_list("pk", "checkpoint", "parked", "parked_due_at")),
            list(ParkedEvent.objects.order_by("pk").values_list("pk", "state", "attempts", "retry_at")),
            DailyTotal.objects.count(),
        )
