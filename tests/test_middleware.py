"""Every request has a context, in sync and async stacks, with the user who was authenticated at last (G10)."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.utils.functional import SimpleLazyObject
from rest_framework.authentication import TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.response import Response
from rest_framework.views import APIView

from eventsourcing_app.context import context, current
from eventsourcing_app.exceptions import MetadataRefused
from eventsourcing_app.middleware import EventContextMiddleware, actor_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from django.contrib.auth.models import User
    from django.http.response import HttpResponseBase
    from rest_framework.request import Request

    Get = Callable[[str, dict[str, str], User | None], HttpResponse]

OURS = "eventsourcing_app.middleware.EventContextMiddleware"
AUTHENTICATION = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def seen(request: HttpRequest) -> dict[str, object]:
    now = current()
    return {
        "actor": now.resolve_actor(),
        "correlation_id": now.correlation_id,
        "attribute": getattr(request, "correlation_id", None),
        "metadata": now.metadata,
    }


def sync_view(request: HttpRequest) -> HttpResponse:
    return JsonResponse(seen(request))


async def async_view(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return JsonResponse(await sync_to_async(seen)(request))


def failing_view(request: HttpRequest) -> HttpResponse:
    raise LookupError("expected")


def nesting_view(request: HttpRequest) -> HttpResponse:
    with context(actor="job:import", reason="inner"):
        return JsonResponse(seen(request))


def streaming_view(request: HttpRequest) -> StreamingHttpResponse:
    inside = current().correlation_id

    def body() -> Iterator[str]:
        yield f"{bool(inside)} {current().correlation_id!r}"

    return StreamingHttpResponse(body())


async def async_streaming_view(request: HttpRequest) -> StreamingHttpResponse:
    inside = current().correlation_id

    async def body() -> AsyncIterator[str]:
        yield f"{bool(inside)} {current().correlation_id!r}"

    return StreamingHttpResponse(body())


class TokenView(APIView):
    authentication_classes = [TokenAuthentication]
    permission_classes = []

    def get(self, request: Request) -> Response:
        return Response({"actor": current().resolve_actor()})


class EagerView(APIView):
    """The actor is asked for before and after the authentication, as by an append in a middleware."""

    authentication_classes = [TokenAuthentication]
    permission_classes = []

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        self.before = current().resolve_actor()
        super().initial(request, *args, **kwargs)

    def get(self, request: Request) -> Response:
        return Response({"before": self.before, "after": current().resolve_actor()})


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("failing/", failing_view),
    path("nesting/", nesting_view),
    path("streaming/", streaming_view),
    path("async-streaming/", async_streaming_view),
    path("token/", TokenView.as_view()),
    path("eager/", EagerView.as_view()),
]


@pytest.fixture(autouse=True)
def _stack() -> Iterator[None]:
    with override_settings(MIDDLEWARE=[OURS, *AUTHENTICATION], ROOT_URLCONF=__name__):
        yield
    assert current().correlation_id == "", "a request left its context behind"


@pytest.fixture
def user(db: None) -> User:
    return get_user_model().objects.create_user("ada", password="x")


def sync_get(url: str, headers: dict[str, str], user: User | None) -> HttpResponse:
    client = Client(raise_request_exception=False)
    if user:
        client.force_login(user)
    return cast("HttpResponse", client.get(url, headers=headers))


def async_get(url: str, headers: dict[str, str], user: User | None) -> HttpResponse:
    client = AsyncClient(raise_request_exception=False)
    if user:
        client.force_login(user)
    return cast("HttpResponse", async_to_sync(client.get)(url, headers=headers))


both_stacks = pytest.mark.parametrize("get", [sync_get, async_get], ids=["wsgi", "asgi"])
both_views = pytest.mark.parametrize("url", ["/sync/", "/async/"])


def answer(response: HttpResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.content
    return cast("dict[str, Any]", json.loads(response.content))


@both_stacks
@both_views
def test_a_view_sees_the_context_of_its_request(get: Get, url: str) -> None:
    response = get(url, {"X-Correlation-ID": "order:7/a@b.c_d-e", "X-Request-ID": "r-1", "traceparent": TRACE}, None)
    assert answer(response) == {
        "actor": "",
        "correlation_id": "order:7/a@b.c_d-e",
        "attribute": "order:7/a@b.c_d-e",
        "metadata": {"request_id": "r-1", "traceparent": TRACE},
    }
    assert response.headers["X-Correlation-ID"] == "order:7/a@b.c_d-e"


@both_stacks
@both_views
def test_the_actor_is_the_user_of_the_session(get: Get, url: str, user: User) -> None:
    assert answer(get(url, {}, user))["actor"] == f"user:{user.pk}"


@both_stacks
@pytest.mark.usefixtures("db")
def test_the_actor_is_empty_for_an_anonymous_request(get: Get) -> None:
    assert answer(get("/sync/", {}, None))["actor"] == ""


@both_stacks
def test_the_actor_is_empty_where_nothing_authenticates(get: Get) -> None:
    with override_settings(MIDDLEWARE=[OURS]):
        assert answer(get("/sync/", {}, None))["actor"] == ""


@both_stacks
def test_the_order_of_the_middleware_does_not_matter_for_the_actor(get: Get, user: User) -> None:
    with override_settings(MIDDLEWARE=[*AUTHENTICATION, OURS]):
        assert answer(get("/async/", {}, user))["actor"] == f"user:{user.pk}"


@both_stacks
def test_the_actor_is_the_user_that_drf_found_by_token(get: Get, user: User) -> None:
    token = Token.objects.create(user=user)
    headers = {"Authorization": f"Token {token.key}"}
    assert answer(get("/token/", headers, None)) == {"actor": f"user:{user.pk}"}
    assert answer(get("/token/", {}, None)) == {"actor": ""}


@both_stacks
def test_the_actor_is_not_remembered_from_before_drf_authenticated(get: Get, user: User) -> None:
    session_user = get_user_model().objects.create_user("grace", password="x")
    headers = {"Authorization": f"Token {Token.objects.create(user=user).key}"}
    assert answer(get("/eager/", headers, None)) == {"before": "", "after": f"user:{user.pk}"}
    assert answer(get("/eager/", headers, session_user)) == {
        "before": f"user:{session_user.pk}",
        "after": f"user:{user.pk}",
    }


@override_settings(MIDDLEWARE=[OURS])
@both_stacks
def test_drf_tokens_need_no_authentication_middleware(get: Get, user: User) -> None:
    headers = {"Authorization": f"Token {Token.objects.create(user=user).key}"}
    assert answer(get("/token/", headers, None)) == {"actor": f"user:{user.pk}"}


def test_a_user_is_looked_up_only_if_the_actor_is_asked_for(rf: RequestFactory) -> None:
    def lookup() -> User:
        raise LookupError("asked")

    request = rf.get("/")
    request.user = cast("User", SimpleLazyObject(lookup))

    def view(request: HttpRequest) -> HttpResponse:
        with pytest.raises(LookupError, match="asked"):
            current().resolve_actor()
        return HttpResponse()

    assert isinstance(EventContextMiddleware(view)(request), HttpResponse)


def test_a_user_without_a_key_is_refused_rather_than_called_nobody(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = get_user_model()(username="unsaved")
    with pytest.raises(MetadataRefused, match="no primary key"):
        actor_of(request)


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"
UNSAFE = ["", "a b", "a\tb", "é", "x" * 129, "<script>", "a\x00", "a,b", "%0d%0a", JWT]


@both_stacks
@pytest.mark.parametrize("given", UNSAFE, ids=ascii)
def test_an_unsafe_id_of_a_client_is_replaced_and_never_an_error(get: Get, given: str) -> None:
    with override_settings(MIDDLEWARE=[OURS]):
        response = get("/sync/", {"X-Correlation-ID": given, "X-Request-ID": given}, None)
    body = answer(response)
    for made in (body["correlation_id"], body["metadata"]["request_id"]):
        assert uuid.UUID(made).version == 7
    assert response.headers["X-Correlation-ID"] == body["correlation_id"] == body["attribute"]
    assert body["correlation_id"] != body["metadata"]["request_id"]


@both_stacks
def test_requests_without_ids_get_fresh_ones(get: Get) -> None:
    with override_settings(MIDDLEWARE=[OURS]):
        first, second = answer(get("/async/", {}, None)), answer(get("/async/", {}, None))
    assert first["correlation_id"] != second["correlation_id"]
    assert first["metadata"]["request_id"] != second["metadata"]["request_id"]


@both_stacks
@pytest.mark.parametrize(("url", "status"), [("/failing/", 500), ("/missing/", 404)])
def test_the_correlation_id_is_echoed_on_errors_too(get: Get, url: str, status: int) -> None:
    with override_settings(MIDDLEWARE=[OURS]):
        response = get(url, {"X-Correlation-ID": "c-1"}, None)
    assert (response.status_code, response.headers["X-Correlation-ID"]) == (status, "c-1")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (TRACE, TRACE),
        ("cc" + TRACE[2:], "cc" + TRACE[2:]),
        ("cc" + TRACE[2:] + "-what-the-future-brings", "cc" + TRACE[2:]),
        (TRACE + "-more", None),
        (TRACE + "\n", None),
        (TRACE + "0", None),
        ("cc" + TRACE[2:] + "0", None),
        ("ff" + TRACE[2:], None),
        (TRACE.upper(), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", None),
        (f"{TRACE},{TRACE}", None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_only_a_valid_traceparent_is_stored(given: str, stored: str | None, rf: RequestFactory) -> None:
    assert metadata_of(rf.get("/", headers={"traceparent": given})).get("traceparent") == stored


def metadata_of(request: HttpRequest) -> dict[str, Any]:
    return cast("dict[str, Any]", answer_to(request)["metadata"])


def answer_to(request: HttpRequest) -> dict[str, Any]:
    response = cast("HttpResponse", EventContextMiddleware(sync_view)(request))
    return cast("dict[str, Any]", json.loads(response.content))


CLIENT: dict[str, Any] = {
    "REMOTE_ADDR": "192.0.2.7",
    "HTTP_X_FORWARDED_FOR": "203.0.113.9",
    "HTTP_USER_AGENT": "Agent\x00\x1b/1 " + "x" * 300,
}


def test_address_and_user_agent_are_not_stored_unless_a_setting_says_so(rf: RequestFactory) -> None:
    assert metadata_of(rf.get("/", **CLIENT)).keys() == {"request_id"}


@override_settings(EVENTSOURCING={"RECORD_IP_ADDRESS": True})
def test_the_address_is_the_one_that_the_server_saw(rf: RequestFactory) -> None:
    stored = metadata_of(rf.get("/", **CLIENT))
    assert stored["ip_address"] == "192.0.2.7"
    assert "user_agent" not in stored
    for nothing in ("", "unix:", "192.0.2.999"):
        assert "ip_address" not in metadata_of(rf.get("/", REMOTE_ADDR=nothing))


@override_settings(EVENTSOURCING={"RECORD_USER_AGENT": True})
def test_the_user_agent_is_stored_cleaned_and_cut(rf: RequestFactory) -> None:
    stored = metadata_of(rf.get("/", **CLIENT))
    assert stored["user_agent"] == ("Agent/1 " + "x" * 300)[:256]
    assert "ip_address" not in stored
    assert "user_agent" not in metadata_of(rf.get("/", HTTP_USER_AGENT="Basic dXNlcjpwYXNz"))
    assert "user_agent" not in metadata_of(rf.get("/"))


@override_settings(
    EVENTSOURCING={"RECORD_IP_ADDRESS": True, "DENIED_METADATA": ["ip address", "request", "correlation"]}
)
def test_what_the_project_denies_is_left_out_and_never_an_error(rf: RequestFactory) -> None:
    body = answer_to(rf.get("/", headers={"X-Correlation-ID": "c-1"}))
    assert (body["metadata"], body["correlation_id"]) == ({}, "c-1")


@both_stacks
def test_a_view_can_nest_a_context_of_its_own(get: Get) -> None:
    body = answer(get("/nesting/", {"X-Correlation-ID": "c-1", "X-Request-ID": "r-1"}, None))
    assert (body["actor"], body["correlation_id"]) == ("job:import", "c-1")
    assert body["metadata"] == {"request_id": "r-1", "reason": "inner"}


def test_the_context_covers_the_view_and_not_a_streamed_body() -> None:
    streamed = cast("StreamingHttpResponse", Client().get("/streaming/"))
    assert streamed.getvalue() == b"True ''"

    async def fetch() -> list[bytes]:
        response = await AsyncClient().get("/async-streaming/")
        return [part async for part in cast("AsyncIterator[bytes]", cast("Any", response).streaming_content)]

    assert asyncio.run(fetch()) == [b"True ''"]


def test_requests_that_run_at_once_do_not_see_each_other() -> None:
    async def fetch(number: int) -> tuple[str, str]:
        response = await AsyncClient().get("/async/", headers={"X-Correlation-ID": f"c-{number}"})
        return answer(cast("HttpResponse", response))["correlation_id"], current().correlation_id

    async def main() -> list[tuple[str, str]]:
        return await asyncio.gather(*(fetch(number) for number in range(20)))

    with override_settings(MIDDLEWARE=[OURS]):
        assert asyncio.run(main()) == [(f"c-{number}", "") for number in range(20)]


def test_the_middleware_is_async_only_below_an_async_handler(rf: RequestFactory) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return await sync_to_async(sync_view)(request)

    async def main() -> HttpResponseBase:
        coroutine = EventContextMiddleware(handler)(rf.get("/"))
        return await cast("Awaitable[HttpResponseBase]", coroutine)

    assert EventContextMiddleware.async_capable
    assert EventContextMiddleware.sync_capable
    assert iscoroutinefunction(EventContextMiddleware(handler))
    assert not iscoroutinefunction(EventContextMiddleware(sync_view))
    assert "X-Correlation-ID" in asyncio.run(main()).headers
    assert isinstance(EventContextMiddleware(sync_view)(rf.get("/")), HttpResponse)
