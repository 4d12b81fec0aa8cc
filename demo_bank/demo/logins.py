"""The demo's logins. Their passwords are printed for everybody to read, so they exist only with ``DEBUG``."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from rest_framework.authtoken.models import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Someone who may come in."""

    user: User
    password: str
    token: str
    """For the API: ``Authorization: Token …``."""
    may: str
    """What this login is for, in words."""


_APPS = ("demo_bank", "eventsourcing_app")
_WHO = (
    ("admin", "may do everything"),
    ("auditor", "sees and exports everything, changes nothing"),
    ("teller", "sees everything, works with accounts"),
    ("operator", "steers subscriptions, sees nothing else"),
)


def ensure_logins() -> dict[str, Login]:
    """Return the logins by name; those that are missing are made."""
    if not settings.DEBUG:
        raise ImproperlyConfigured("The demo's logins have known passwords: they are made only with DEBUG.")
    return {name: _ensure(name, may) for name, may in _WHO}


def _ensure(name: str, may: str) -> Login:
    password = f"demo-{name}"
    user, made = User.objects.get_or_create(username=name, defaults={"email": f"{name}@bank.example.com"})
    if made:
        user.set_password(password)
        user.is_staff, user.is_superuser = True, name == "admin"
        user.save()
    if not user.is_superuser:
        user.user_permissions.set(_permissions(name))
    token, _ = Token.objects.get_or_create(user=user)
    return Login(user=user, password=password, token=token.key, may=may)


def _permissions(name: str) -> list[Permission]:
    ours = Permission.objects.filter(content_type__app_label__in=_APPS)
    if name == "operator":
        seen = ("view_subscription", "view_segment", "view_parkedevent")
        return list(ours.filter(codename__in=(*seen, "operate_subscription")))
    wanted = ours.filter(codename__startswith="view_")
    if name == "auditor":
        wanted |= ours.filter(codename="export_storedevent")
    if name == "teller":
        wanted |= ours.filter(codename__in=("add_account", "change_account"))
    return list(wanted)
