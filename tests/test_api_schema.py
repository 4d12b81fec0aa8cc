"""The schema of the API says everything that the API has, and nothing else.

Its routes, methods and parameters are compared with the URLconf and with what is answered, so that a new view without
a description fails here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver, include, path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter

from demo_bank.models import Account
from eventsourcing_app.api import EventSourcedViewSet, StoredEventViewSet
from eventsourcing_app.api.base import ApiViewSet
from eventsourcing_app.api.described import PROBLEMS, Operation
from eventsourcing_app.api.fields import AmountField
from tests.api_client import PROBLEM, client_of, problem_of, user_with
from tests.conftest import ROOT
from tests.samples.models import Book, Counter, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rest_framework.test import APIClient

PREFIX = "/api/v1/"
METHODS = ("get", "post", "put", "patch", "delete")
# What shows the schema is not part of it, nor is the list of addresses that the router makes.
NOT_DESCRIBED = {PREFIX, f"{PREFIX}schema/", f"{PREFIX}docs/"}
# Views that answer by method.
WITHOUT_ACTIONS = {f"{PREFIX}health/"}
EVERYTHING = (
    *("demo_bank.view_account", "demo_bank.add_account", "demo_bank.change_account", "demo_bank.view_dailytotal"),
    *("eventsourcing_app.view_storedevent", "eventsourcing_app.view_payload", "eventsourcing_app.view_subscription"),
    *("eventsourcing_app.view_parkedevent", "eventsourcing_app.operate_subscription"),
)


class WalletViewSet(EventSourcedViewSet):
    model = Wallet
    if_match_required = True


class CounterViewSet(EventSourcedViewSet):
    model = Counter
    commands = ("begin", "count")


class BookViewSet(EventSourcedViewSet):
    model = Book


class FileViewSet(StoredEventViewSet):
    """The log, also as a file."""

    def operation(self) -> Operation:
        return replace(super().operation(), media={"text/csv": {"type": "string"}})


class CountViewSet(ApiViewSet):
    """An answer without a serializer."""

    def list(self, _request: Any) -> Response:
        return Response({})


class LedgerViewSet(EventSourcedViewSet):
    model = Account
    commands = ("open", "post_entry")


router = DefaultRouter()
router.include_format_suffixes = False
router.register("wallets", WalletViewSet)
router.register("own", WalletViewSet, basename="own")
router.register("counters", CounterViewSet)
router.register("books", BookViewSet)
router.register("files", FileViewSet, basename="file")
router.register("counts", CountViewSet, basename="count")
router.register("ledgers", LedgerViewSet, basename="ledger")
urlpatterns = [path("api/", include(router.urls))]


def schema_of(urlconf: str | None = None) -> dict[str, Any]:
    # As it is sent.
    made = SchemaGenerator(urlconf=urlconf).get_schema(request=None, public=True)
    found: dict[str, Any] = json.loads(json.dumps(made, default=str))
    return found


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return schema_of()


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for address, item in schema["paths"].items():
        for method, operation in item.items():
            yield address, method, operation


def operation_of(schema: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for _address, _method, each in operations(schema) if each["operationId"] == name]
    return found


def queries_of(operation: dict[str, Any]) -> set[str]:
    return {each["name"] for each in operation["parameters"] if each["in"] == "query"}


def routes(patterns: list[Any], before: str = "/") -> Iterator[tuple[str, URLPattern]]:
    for each in patterns:
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, before + str(each.pattern))
        else:
            yield before + str(each.pattern), each


@pytest.fixture
def client(db: None, settings: Any) -> APIClient:
    settings.EVENTSOURCING = {**settings.EVENTSOURCING, "STREAM_WAIT_SECONDS": 0}
    return client_of(user_with(*EVERYTHING))


@pytest.fixture
def account(db: None) -> str:
    pk = Account.objects.perform_new(Account.open, owner="Ada").pk
    Account.objects.perform(pk, Account.deposit, amount=Decimal(50))
    return str(pk)


KEYS = {"event-types": "demo_bank.money_deposited", "subscriptions": "bank.daily_totals"}


def address_of(address: str, account: str) -> str:
    key = account if address.startswith(f"{PREFIX}accounts/") else "1"
    name = KEYS.get(address.removeprefix(PREFIX).partition("/")[0], "")
    return address.replace("{id}", key).replace("{position}", "1").replace("{name}", name)


# Everything, and nothing else


def test_every_route_is_in_the_schema_with_every_method(schema: dict[str, Any]) -> None:
    described = {(operation["operationId"]) for _address, _method, operation in operations(schema)}
    missing = []
    for route, pattern in routes(get_resolver().url_patterns):
        actions = getattr(pattern.callback, "actions", {"get": "get"} if plain(route) in WITHOUT_ACTIONS else None)
        if not route.startswith(PREFIX) or plain(route) in NOT_DESCRIBED:
            continue
        assert actions is not None, f"{route} is no viewset's: say here how its methods are known"
        for action in actions.values():
            view: Any = pattern.callback.cls(**pattern.callback.initkwargs)  # type: ignore[attr-defined]
            if view.operation_name(action).replace("-", "_") not in described:
                missing.append((route, action))
    assert described
    assert not missing


def plain(route: str) -> str:
    return route.replace("^", "").replace("$", "")


def test_every_address_of_the_schema_answers_to_its_methods_and_to_no_other(
    schema: dict[str, Any], client: APIClient, account: str
) -> None:
    for address, item in schema["paths"].items():
        for method in METHODS:
            status = getattr(client, method)(address_of(address, account)).status_code
            assert (status == 405) is (method not in item), f"{method} {address}: {status}"


def test_every_parameter_is_described_that_is_understood_and_no_other(
    schema: dict[str, Any], client: APIClient, account: str
) -> None:
    every = {name for _address, _method, operation in operations(schema) for name in queries_of(operation)}
    every -= {"format"}  # is DRF's: every view understands it, and it is described where there are several forms
    assert {"after", "limit", "version", "since", "type"} <= every
    for address, method, operation in operations(schema):
        for name in every:
            response = client.generic(method.upper(), f"{address_of(address, account)}?{name}=x")
            understood = response.status_code != 400 or json.loads(response.content)["code"] != "unknown"
            assert understood is (name in queries_of(operation)), f"{method} {address} {name}"


def test_a_parameter_that_may_come_again_is_described_so(schema: dict[str, Any]) -> None:
    by_name = {each["name"]: each for each in operation_of(schema, "event_list")["parameters"]}
    assert by_name["type"]["schema"]["type"] == "array"
    assert by_name["type"]["explode"] is True
    assert by_name["actor"]["schema"] == {"type": "string"}


def test_the_operations_have_stable_names(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _address, _method, operation in operations(schema)]
    assert len(names) == len(set(names))
    assert {"account_list", "account_open", "account_retrieve", "account_deposit", "account_events"} <= set(names)
    assert {"account_diff", "event_list", "event_retrieve"} <= set(names)


# A command


def test_a_command_is_described_by_its_signature_and_docstring(schema: dict[str, Any]) -> None:
    deposit = operation_of(schema, "account_deposit")
    assert deposit["summary"] == "Deposit"
    assert deposit["description"] == "Pay money in. Without a currency, the account's own is meant."
    assert deposit["tags"] == ["accounts"]
    content = deposit["requestBody"]["content"]["application/json"]
    assert content["examples"]["deposit"]["value"] == {"amount": "50.00", "reference": "Wages"}
    assert deposit["requestBody"]["required"] is True
    body = schema["components"]["schemas"]["AccountDeposit"]
    assert body["required"] == ["amount"]
    assert body["additionalProperties"] is False
    assert body["properties"]["currency"] == {"type": "string", "maxLength": 3, "default": ""}
    text, number = body["properties"]["amount"]["anyOf"]
    assert (text["type"], text["format"], number["type"]) == ("string", "decimal", "number")


def test_a_command_says_every_status_and_header(schema: dict[str, Any]) -> None:
    deposit = operation_of(schema, "account_deposit")
    assert sorted(deposit["responses"]) == [
        "200",
        "400",
        "401",
        "403",
        "404",
        "406",
        "409",
        "411",
        "412",
        "413",
        "415",
        "422",
        "500",
        "503",
    ]
    headers = {each["name"] for each in deposit["parameters"] if each["in"] == "header"}
    assert headers == {"Idempotency-Key", "If-Match", "X-Correlation-ID"}
    answered = deposit["responses"]["200"]["headers"]
    assert set(answered) == {"ETag", "Idempotency-Replayed", "X-Correlation-ID"}
    opened = operation_of(schema, "account_open")["responses"]
    assert "Location" in opened["201"]["headers"]
    assert "412" not in opened
    unauthorized = schema["components"]["responses"]["Unauthorized"]
    assert set(unauthorized["headers"]) == {"WWW-Authenticate", "X-Correlation-ID"}
    (reference,) = unauthorized["content"][PROBLEM]["schema"].values()
    assert reference == "#/components/schemas/Problem"


def test_every_problem_has_examples_of_its_codes(schema: dict[str, Any]) -> None:
    for name, response in schema["components"]["responses"].items():
        for code, example in response.get("content", {}).get(PROBLEM, {}).get("examples", {}).items():
            assert example["value"]["code"] == code, name
            assert set(schema["components"]["schemas"]["Problem"]["required"]) <= set(example["value"])


def test_every_code_that_the_reference_lists_is_in_the_schema_and_no_other() -> None:
    text = (ROOT / "docs" / "reference" / "http.md").read_text()
    table = text.partition("\n## Problems\n")[2].partition("\n### ")[0]
    listed = set()
    for what, statuses, codes in re.findall(r"^\| (.+) \| ([0-9; ]+) \| (.+) \|$", table, re.MULTILINE):
        found = re.findall(r"(?:^|; )(?:that of the refusal; )?`([a-z_]+)`", codes)
        numbers = [int(each) for each in statuses.split("; ")]
        assert len(numbers) in (1, len(found)), what
        listed |= set(zip(numbers if len(numbers) > 1 else numbers * len(found), found, strict=True))
    assert listed == {(status, code) for status, codes in PROBLEMS.items() for code in codes}


def test_the_answer_of_a_flow_is_described_by_what_it_returns(schema: dict[str, Any]) -> None:
    answers = operation_of(schema, "transfer_create")["responses"]
    assert {"201", "404", "409", "411", "422", "503"} <= set(answers)
    assert "Idempotency-Replayed" in answers["201"]["headers"]
    assert schema["components"]["schemas"]["BankTransferOutcome"]["properties"]["value"]["format"] == "uuid"


def test_each_command_of_a_batch_is_described_with_its_own_arguments(schema: dict[str, Any]) -> None:
    commands = schema["components"]["schemas"]["AccountBatch"]["properties"]["commands"]
    assert (commands["minItems"], commands["maxItems"]) == (1, 100)
    by_name = {each["properties"]["command"]["enum"][0]: each for each in commands["items"]["anyOf"]}
    assert set(by_name) == {"open", "deposit", "withdraw", "freeze", "unfreeze", "close"}
    assert by_name["deposit"]["properties"]["arguments"]["$ref"].endswith("/AccountDeposit")
    assert "stream_key" in by_name["deposit"]["required"]
    assert "stream_key" not in by_name["open"]["properties"]


def test_exports_and_the_stream_are_described_by_their_media_types(schema: dict[str, Any]) -> None:
    listed = operation_of(schema, "event_list")["responses"]["200"]
    assert set(listed["content"]) == {"application/json", "application/x-ndjson", "text/csv"}
    assert {"Content-Disposition", "Log-Position"} <= set(listed["headers"])
    stream = operation_of(schema, "event_stream")
    assert set(stream["responses"]["200"]["content"]) == {"text/event-stream"}
    assert "Last-Event-ID" in {each["name"] for each in stream["parameters"]}


def test_health_says_503_with_its_reasons_or_as_a_problem(schema: dict[str, Any]) -> None:
    assert set(operation_of(schema, "health")["responses"]["503"]["content"]) == {"application/json", PROBLEM}


def test_the_filters_of_a_list_have_types(schema: dict[str, Any]) -> None:
    by_name = {each["name"]: each["schema"] for each in operation_of(schema, "account_list")["parameters"]}
    assert by_name["status"]["enum"] == ["open", "frozen", "closed"]
    assert re.search(by_name["order"]["pattern"], "-balance,number")
    assert not re.search(by_name["order"]["pattern"], "owner")
    log = {each["name"]: each["schema"] for each in operation_of(schema, "event_list")["parameters"]}
    assert (log["since"]["format"], log["order"]["enum"]) == ("date-time", ["position", "-position"])


def test_the_answer_of_a_command_leads_to_what_can_be_asked_next(schema: dict[str, Any], client: APIClient) -> None:
    links = operation_of(schema, "account_open")["responses"]["201"]["links"]
    assert {"account_retrieve", "account_deposit", "account_events", "account_diff"} <= set(links)
    assert links["account_deposit"]["parameters"] == {"id": "$response.body#/state/id"}
    by_id = {operation["operationId"]: address for address, _method, operation in operations(schema)}
    opened = client.post(by_id["account_open"], {"owner": "Ada"}).json()
    address = by_id[links["account_deposit"]["operationId"]].replace("{id}", opened["state"]["id"])
    assert client.post(address, {"amount": "1"}).status_code == 200


def test_a_state_says_what_it_holds(schema: dict[str, Any]) -> None:
    state = schema["components"]["schemas"]["AccountState"]
    assert sorted(state["required"]) == sorted(state["properties"])
    assert state["properties"]["balance"]["pattern"] == "^-?[0-9]{1,12}([.][0-9]{1,2})?$"
    assert state["properties"]["changed_at"]["type"] == ["string", "null"]
    assert state["properties"]["changed_at"]["format"] == "date-time"
    assert schema["components"]["schemas"]["StatusEnum"]["enum"] == ["open", "frozen", "closed"]
    past = schema["components"]["schemas"]["AccountStateAt"]
    assert set(past["properties"]) - set(past["required"]) == {"is_final"}


def test_pages_trails_and_differences_are_described(schema: dict[str, Any]) -> None:
    schemas = schema["components"]["schemas"]
    page = schemas["PaginatedTrailEntryList"]
    assert page["required"] == ["next", "previous", "results"]
    assert page["properties"]["next"]["type"] == ["string", "null"]
    assert schemas["TrailEntry"]["properties"]["changes"]["type"] == ["object", "null"]
    assert set(schemas["Diff"]["properties"]) == {"since", "until", "is_final", "changes"}
    assert queries_of(operation_of(schema, "account_events")) == {"after_version", "before_version", "limit"}


def test_who_asks_may_do_so_by_token_or_session(schema: dict[str, Any]) -> None:
    assert set(schema["components"]["securitySchemes"]) == {"cookieAuth", "tokenAuth"}
    for _address, _method, operation in operations(schema):
        anybody: list[dict[str, list[str]]] = [{}] if operation["operationId"] == "health" else []
        assert operation["security"] == [{"tokenAuth": []}, {"cookieAuth": []}, *anybody]


# Other models than the demo's


def test_keys_names_and_preconditions_of_any_model_are_described() -> None:
    schema = schema_of(__name__)
    add = operation_of(schema, "wallet_add")
    assert "428" in add["responses"]
    assert operation_of(schema, "own_add")["requestBody"] == add["requestBody"]
    (count,) = [address for address, _m, each in operations(schema) if each["operationId"] == "counter_count"]
    assert count == "/api/counters/{number}/count/"
    (number,) = [each for each in operation_of(schema, "counter_count")["parameters"] if each["in"] == "path"]
    assert number["schema"]["type"] == "integer"
    links = operation_of(schema, "counter_begin")["responses"]["201"]["links"]
    assert links["counter_count"]["parameters"] == {"number": "$response.body#/state/number"}


def test_other_forms_of_an_answer_are_described_beside_json() -> None:
    schema = schema_of(__name__)
    content = operation_of(schema, "file_list")["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/csv"}
    assert content["text/csv"]["schema"] == {"type": "string"}
    assert "content" not in operation_of(schema, "count_list")["responses"]["200"]


def test_every_type_of_argument_is_described_exactly() -> None:
    schema = schema_of(__name__)
    properties = schema["components"]["schemas"]["AccountPostEntry"]["properties"]
    (direction,) = properties["direction"].get("allOf", [properties["direction"]])
    if "$ref" in direction:
        direction = schema["components"]["schemas"][direction["$ref"].rpartition("/")[2]]
    assert (direction["type"], direction["enum"]) == ("string", ["credit", "debit"])
    assert properties["booked_on"] == {"type": "string", "format": "date"}
    largest = 2**53 - 1
    assert properties["sequence"] == {"type": "integer", "format": "int64", "minimum": -largest, "maximum": largest}


@pytest.mark.parametrize(
    "digits", [{"max_digits": 14, "decimal_places": 2}, {"max_digits": 38, "decimal_places": None}]
)
def test_an_amount_is_read_as_the_schema_says_and_in_no_other_form(digits: dict[str, Any]) -> None:
    field = AmountField(**digits)
    good = ["0", "5", "-5.10", "007.5", "9" * 12]
    bad = ["", " 5", "5 ", "5\n", "5_0", "+5", ".5", "5.", "0x5", "٥", "-", "1.2.3", "1,5", "NaN", "9" * 39]
    for text in good:
        assert re.search(field.pattern, text)
        assert field.run_validation(text) == Decimal(text)
    for text in bad:
        described = re.search(field.pattern.replace("$", "\\Z"), text) and len(text) <= (field.longest or 99)
        assert not described, text
        with pytest.raises(ValidationError):
            field.run_validation(text)


@pytest.mark.parametrize("version", ["3.0.3", "3.1.1"])
@pytest.mark.parametrize("urlconf", ["demo_bank.urls", __name__])
def test_the_schema_is_valid_and_made_without_a_warning(version: str, urlconf: str, tmp_path: Path) -> None:
    file = tmp_path / "schema.yml"
    with patched_settings({"OAS_VERSION": version}):
        call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(file), "--urlconf", urlconf)
    assert file.read_text().startswith(f"openapi: {version}")
    assert ("nullable: true" in file.read_text()) is (version == "3.0.3")


# Who may see it


def test_the_schema_is_for_those_who_are_logged_in(client: APIClient) -> None:
    response = client.get(f"{PREFIX}schema/", HTTP_ACCEPT="application/json")
    assert response.status_code == 200
    assert json.loads(response.content)["openapi"] == "3.1.1"
    client.logout()
    assert client.get(f"{PREFIX}schema/").status_code == 401
    assert client.get(f"{PREFIX}docs/").status_code == 401


def test_a_method_that_the_schema_has_not_is_a_problem_too(client: APIClient) -> None:
    problem_of(client.post(f"{PREFIX}schema/", HTTP_ACCEPT="application/json"), 405, "method_not_allowed")


def test_the_pages_of_the_schema_need_no_other_server(client: APIClient) -> None:
    page = client.get(f"{PREFIX}docs/").content.decode()
    assert "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in page
    assert "//" not in page.replace("<!--", "").replace("-->", "")


# Without the extra

WITHOUT = """
import sys
sys.modules["drf_spectacular"] = None
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "django_q",
                    "eventsourcing_app", "tests.samples"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
import django
django.setup()
from eventsourcing_app import api
from tests.samples.models import Book
class Books(api.EventSourcedViewSet):
    model = Book
assert Books.as_view({"get": "list"})
assert not [name for name in sys.modules if name.startswith("drf_spectacular.")]
try:
    api.ApiSchema
except Exception as error:
    print(type(error).__name__, error)
"""


def test_without_the_extra_the_viewsets_work_and_the_schema_says_what_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ImproperlyConfigured")
    assert "pip install 'django-eventsourcing-app[api]'" in done.stdout
