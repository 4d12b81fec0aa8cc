"""What the schema promises is what the API does, whatever is sent to it and whoever sends it.

Schemathesis makes requests from the schema, good ones and bad ones, and follows its links; every answer must be one
that the schema has, and none a 5xx. The requests are the same in every run. ``FUZZ_EXAMPLES`` asks for more of them
(``make fuzz``).
"""

from __future__ import annotations

import json
import os
import re
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from django.contrib.auth.models import Permission, User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from rest_framework.authtoken.models import Token
from schemathesis.config import SchemathesisConfig

from demo_bank.api import DailyTotalViewSet
from demo_bank.models import Account, DailyTotal
from demo_bank.reactions import TOTALS
from demo_bank.wsgi import application
from eventsourcing_app.models import ParkedEvent, Segment, StoredEvent
from eventsourcing_app.testing import drain
from tests.api_client import user_with

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from schemathesis.schemas import BaseSchema

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2"))
ACCOUNT = ("demo_bank.view_account", "demo_bank.add_account", "demo_bank.change_account")

# What a request that fits the schema can be answered besides: a rule of the bank, an object that has another version.
DECIDED_BY_STATE = ["2xx", "304", "401", "403", "404", "409", "412", "422"]
CONFIG: dict[str, Any] = {
    "seed": 1,
    "generation": {"deterministic": True, "database": "none", "max-examples": EXAMPLES, "allow-x00": False},
    "checks": {
        "positive_data_acceptance": {"expected-statuses": DECIDED_BY_STATE},
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "403", "404", "405", "406", "412", "413", "415"]
        },
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx"]},
    },
    "phases": {"coverage": {"unexpected-methods": ["put", "trace"]}},
    "suppress-health-check": ["all"],
    # What parameters mean together no schema can say: a version that it has not come to, both ends of a page.
    "operations": [
        # That not all is well it says with 503.
        {
            "include-operation-id": "health",
            "checks": {
                "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503"]},
                "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "401", "503"]},
            },
        },
        {
            "include-method": "GET",
            "checks": {"positive_data_acceptance": {"expected-statuses": [*DECIDED_BY_STATE, "400"]}},
        },
    ],
}
# Whoever is refused whatever it asks: a request of each kind will do.
REFUSED: dict[str, Any] = {
    **CONFIG,
    "generation": {**CONFIG["generation"], "max-examples": 1},
    "phases": {"coverage": {"enabled": False}},
}
READS_ONLY: dict[str, Any] = {
    **CONFIG,
    "operations": [
        *CONFIG["operations"],
        {"include-method": "POST", "generation": REFUSED["generation"], "phases": REFUSED["phases"]},
    ],
}


def config_of(role: str, part: str) -> dict[str, Any]:
    if part not in ALLOWED.get(role, ()):
        return REFUSED
    return READS_ONLY if role == "auditor" else CONFIG


def user_of(role: str) -> User | None:
    if role == "anonymous":
        return None
    if role == "superuser":
        return User.objects.create_superuser(role)
    if role == "operator":
        user = user_with(name=role)
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="eventsourcing_app"))
        return user
    permissions = {"customer": (), "teller": ACCOUNT, "auditor": ("demo_bank.view_account", VIEW_EVENTS)}
    return user_with(*permissions[role], name=role)


VIEW_EVENTS = "eventsourcing_app.view_storedevent"
ROLES = ("anonymous", "customer", "teller", "auditor", "operator", "superuser")
PARTS = {
    "accounts": ("accounts",),
    "log": ("events", "event-types", "health"),
    "several": ("batch", "transfers", "daily-totals"),
    "operators": ("subscriptions", "parked"),
}
"""The first words of their addresses."""
ALLOWED = {
    "teller": {"accounts", "several"},
    "auditor": {"accounts", "log"},
    "operator": {"log", "operators"},
    "superuser": set(PARTS),
}
"""In which parts a role may do something at all."""


@pytest.fixture(
    # What a role may do is the same on every database; what each of them stores and refuses, the superuser asks.
    params=[role if role == "superuser" else pytest.param(role, marks=pytest.mark.needs_postgres) for role in ROLES],
    autouse=True,
)
def role(request: pytest.FixtureRequest) -> str:
    request.node._nodeid = request.node.nodeid  # schemathesis 4.32 asks for it, and pytest 9.2 has it no more
    return str(request.param)


@pytest.fixture
def token(role: str, db: None) -> str | None:
    user = user_of(role)
    return None if user is None else str(Token.objects.create(user=user).key)


@pytest.fixture(autouse=True)
def without_waits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "STREAM_WAIT_SECONDS": 0}
    monkeypatch.setattr(DailyTotalViewSet, "wait_limit", 0)


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """Keep the test's transaction open over its requests, as Django's own client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def keys(db: None) -> dict[str, Any]:
    """By the first word of an address: the key of something that is there."""
    ada, bob = (str(Account.objects.perform_new(Account.open, owner=owner).pk) for owner in ("Ada", "Bob"))
    Account.objects.perform(bob, Account.deposit, amount=Decimal(50))
    position = Account.objects.perform(ada, Account.deposit, amount=Decimal(50)).position
    drain()
    event = StoredEvent.objects.get(position=position)
    parked = ParkedEvent.objects.create(
        segment=Segment.objects.get(subscription=TOTALS, number=0),
        state=ParkedEvent.State.DEAD,
        reason="ValueError: no",
        **{name: getattr(event, name) for name in ("position", "event_id", "type", "stream_type", "stream_key")},
    )
    return {
        "accounts": ada,
        "other": bob,
        "events": position,
        "event-types": event.type,
        "daily-totals": DailyTotal.objects.get().pk,
        "subscriptions": TOTALS,
        "parked": parked.pk,
    }


@cache
def whole_schema() -> str:
    return json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str)


def word_of(address: str) -> str:
    return address.removeprefix("/api/v1/").partition("/")[0]


def described_with(keys: dict[str, Any], words: Collection[str]) -> dict[str, Any]:
    """The schema of the addresses that begin so, with the keys of something that is there."""
    described: dict[str, Any] = json.loads(whole_schema())
    described["paths"] = {address: item for address, item in described["paths"].items() if word_of(address) in words}
    for address, item in described["paths"].items():
        for operation in item.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    parameter["example"] = keys[word_of(address)]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for example in content.get("examples", {}).values():
                    example["value"] = with_keys(example["value"], keys)
    return described


def with_keys(body: Any, keys: dict[str, Any]) -> Any:
    """A body whose keys are those of something that is there, and whose numbers have the digits of an amount.

    Neither can a schema say.
    """
    if isinstance(body, float):
        return round(body, 2)
    if isinstance(body, list):
        return [with_keys(each, keys) for each in body]
    if not isinstance(body, dict):
        return body
    known = {"source": keys["accounts"], "target": keys["other"], "stream_key": keys["accounts"]}
    return {
        name: known[name] if name in known and is_uuid(value) else with_keys(value, keys)
        for name, value in body.items()
    }


def is_uuid(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value))


def loaded(keys: dict[str, Any], words: Collection[str], token: str | None, config: dict[str, Any]) -> BaseSchema:
    schema = schemathesis.openapi.from_dict(described_with(keys, words), config=SchemathesisConfig.from_dict(config))
    schema.app = application

    @schema.hook
    def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        # Every other one, whatever it is, is asked for as it is made.
        key = keys.get(word_of(context.operation.path))
        if not path_parameters or len(str(next(iter(path_parameters.values())))) % 2:
            return path_parameters
        return dict.fromkeys(path_parameters, key)

    @schema.hook
    def map_body(_context: Any, body: Any) -> Any:
        return with_keys(body, keys)

    class Authorization:
        def get(self, _case: Any, _context: Any) -> str:
            return f"Token {token}"

        def set(self, case: Any, data: str, _context: Any) -> None:
            case.headers["Authorization"] = data

    if token is not None:
        schema.auth()(Authorization)
    return schema


@pytest.fixture(params=PARTS)
def part_schema(request: pytest.FixtureRequest, role: str, token: str | None, keys: dict[str, Any]) -> BaseSchema:
    part = request.param
    return loaded(keys, PARTS[part], token, config_of(role, part))


lazy = schemathesis.pytest.from_fixture("part_schema")


@lazy.parametrize()
def test_every_answer_is_one_that_the_schema_has(case: Any) -> None:
    case.call_and_validate()


@pytest.mark.parametrize("part", PARTS)
def test_every_answer_on_the_way_along_the_links_is_one_that_the_schema_has(
    role: str, token: str | None, keys: dict[str, Any], part: str
) -> None:
    if part not in ALLOWED.get(role, ()):
        pytest.skip("no link can be followed from a refusal")
    schema = loaded(keys, PARTS[part], token, CONFIG)
    schema.as_state_machine().run(settings=schema.config.get_hypothesis_settings())
