"""Commands are the one door through which the admin writes: for those who may, once, on the state that was shown.

Whatever is refused is said on the form, with what was entered, and nothing is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.http import HttpRequest

from eventsourcing_app.admin import CommandsMixin, EventSourcedAdmin
from tests.samples.models import Book, Wallet

if TYPE_CHECKING:
    pass


def owns(request: HttpRequest, wallet: Any) -> bool:
    return bool(wallet is not None and wallet.owner == request.user.get_username())


class WholePounds(forms.Form):
    pounds = forms.IntegerField(min_value=1)


class WalletAdmin(EventSourcedAdmin[Wallet]):
    """Leaves a command out, guards some, and asks for pounds."""

    commands = ("open", "add", "take", "label", "close", "tidy", "add_then_fail")
    command_permissions = {"take": owns, "close": "samples.delete_wallet"}

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).exclude(owner="hidden")


class BookAdmin(CommandsMixin[Book], ReadOnlyAdmin[Book]):
    """Any ModelAdmin."""

    command_forms = {"rename": WholePounds}

    def arguments_for(self, request: HttpRequest, command: Any, cleaned: dict[str, Any]) -> dict[str, Any]:
        return {"title": f"{cleaned['pounds']} £"} if command.name == "rename" else cleaned
