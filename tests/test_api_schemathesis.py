"""What the schema promises is what the API does, whatever is sent to it and whoever sends it.

Schemathesis makes requests from the schema, good ones and bad ones, and follows its links; every answer must be one
that the schema has, and none a 5xx. The requests are the same in every run. ``FUZZ_EXAMPLES`` asks for more of them
(``make fuzz``).
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from django.contrib.auth.models import Permission, User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from rest_framework.authtoken.models import Token
from schemathesis.config import SchemathesisConfig

from demo_bank.models import Account
from demo_bank.wsgi import application
from tests.api_client import user_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis.schemas import BaseSchema

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "4"))
ACCOUNT = ("demo_bank.view_account", "demo_bank.add_account", "demo_bank.change_account")

# What a request that fits the schema can be answered besides: a rule of the bank, an object that has another version.
DECIDED_BY_STATE = ["2xx", "304", "401", "403", "404", "409", "412", "422"]
CONFIG: dict[str, Any] = {
    "seed": 1,
    "generation": {"deterministic": True, "database": "none", "max-examples": EXAMPLES, "allow-x00": False},
    "checks": {
        "positive_data_acceptance": {"expected-statuses": DECIDED_BY_STATE},
        "negative_data_rejection": {"expected-statuses": ["400", "401", "403", "404", "405", "406", "412", "415"]},
        "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx"]},
    },
    "phases": {"coverage": {"unexpected-methods": ["put", "trace"]}},
    "suppress-health-check": ["all"],
    # What parameters mean together no schema can say: a version that it has not come to, both ends of a page.
    "operations": [
        {
            "include-method": "GET",
            "checks": {"positive_data_acceptance": {"expected-statuses": [*DECIDED_BY_STATE, "400"]}},
        }
    ],
}


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


@pytest.fixture(params=ROLES, autouse=True)
def token(request: pytest.FixtureRequest, db: None) -> str | None:
    request.node._nodeid = request.node.nodeid  # schemathesis 4.32 asks for it, and pytest 9.2 has it no more
    user = user_of(request.param)
    return None if user is None else str(Token.objects.create(user=user).key)


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """Keep the test's transaction open over its requests, as Django's own client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


def described_with(keys: dict[str, object]) -> dict[str, Any]:
    """The schema, with the keys of something that is there."""
    described: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    for item in described["paths"].values():
        for parameter in [each for operation in item.values() for each in operation["parameters"]]:
            if parameter["in"] == "path":
                parameter["example"] = keys[parameter["name"]]
    return described


@pytest.fixture
def api_schema(token: str | None) -> BaseSchema:
    pk = str(Account.objects.perform_new(Account.open, owner="Ada").pk)
    position = Account.objects.perform(pk, Account.deposit, amount=Decimal(50)).position
    described = described_with({"id": pk, "position": position})
    schema = schemathesis.openapi.from_dict(described, config=SchemathesisConfig.from_dict(CONFIG))
    schema.app = application

    @schema.hook
    def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        if path_parameters and len(str(path_parameters.get("id"))) == len(pk):
            return {**path_parameters, "id": pk}
        return path_parameters

    @schema.hook
    def map_body(_context: Any, body: Any) -> Any:
        if isinstance(body, dict):  # no schema can say how many digits the fraction of a number may have
            return {name: round(value, 2) if isinstance(value, float) else value for name, value in body.items()}
        return body

    class Authorization:
        def get(self, _case: Any, _context: Any) -> str:
            return f"Token {token}"

        def set(self, case: Any, data: str, _context: Any) -> None:
            case.headers["Authorization"] = data

    if token is not None:
        schema.auth()(Authorization)
    return schema


lazy = schemathesis.pytest.from_fixture("api_schema")


@lazy.parametrize()
def test_every_answer_is_one_that_the_schema_has(case: Any) -> None:
    case.call_and_validate()


def test_every_answer_on_the_way_along_the_links_is_one_that_the_schema_has(api_schema: BaseSchema) -> None:
    settings = api_schema.config.get_hypothesis_settings()
    api_schema.as_state_machine().run(settings=settings)
