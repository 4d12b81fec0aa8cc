"""Who and why: the context is inherited, restored and never shared by accident, and it takes no secrets (G10)."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

from eventsourcing_app.context import (
    JSON,
    MAX_ACTOR,
    MAX_CORRELATION_ID,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    Reaction,
    context,
    current,
    reacting,
)
from eventsourcing_app.exceptions import MetadataRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from eventsourcing_app.context import Context


def kind_of(value: object) -> str:
    """A name for a parameter that is the same in every process."""
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__


def test_outside_any_context_everything_is_empty() -> None:
    now = current()
    assert (now.resolve_actor(), now.correlation_id, now.causation_id, now.metadata) == ("", "", None, {})


def test_a_context_is_in_force_inside_and_gone_outside() -> None:
    before, cause = current(), uuid.uuid4()
    with context(actor="user:1", correlation_id="c-1", causation_id=cause, reason="audit") as entered:
        assert current() is entered
        assert (entered.resolve_actor(), entered.correlation_id, entered.causation_id) == ("user:1", "c-1", cause)
        assert entered.metadata == {"reason": "audit"}
    assert current() is before


def test_an_inner_context_wins_and_inherits_the_rest() -> None:
    cause = uuid.uuid4()
    with context(actor="user:1", correlation_id="c-1", causation_id=cause, a=1, b=1) as outer:
        with context(actor="user:2", b=2, c=2) as inner:
            assert (inner.actor, inner.correlation_id, inner.causation_id) == ("user:2", "c-1", cause)
            assert inner.metadata == {"a": 1, "b": 2, "c": 2}
        with context(correlation_id="c-2") as inner:
            assert (inner.actor, inner.correlation_id, inner.metadata) == ("user:1", "c-2", {"a": 1, "b": 1})
        with context(actor="") as inner:
            assert inner.resolve_actor() == ""
        assert current() is outer


def test_each_entry_makes_a_fresh_correlation_id_if_none_is_given_or_inherited() -> None:
    unnamed = context(actor="user:1")
    with unnamed as first, context(actor="user:2") as within:
        pass
    with unnamed as second:
        pass
    assert uuid.UUID(first.correlation_id).version == 7
    assert within.correlation_id == first.correlation_id
    assert second.correlation_id != first.correlation_id


def fail() -> None:
    raise LookupError("expected")


def test_the_outer_context_is_restored_after_an_exception() -> None:
    with context(actor="user:1") as outer:
        with pytest.raises(LookupError), context(actor="user:2"):
            fail()
        with pytest.raises(LookupError):
            context(actor="user:3")(fail)()
        with pytest.raises(MetadataRefused), context(actor="user:4", password="x"):
            pass
        assert current() is outer


def test_one_context_may_be_entered_again_and_within_itself() -> None:
    again = context(actor="user:1", depth=1)
    for _ in range(2):
        with again as first, context(actor="user:2") as second:
            with again as third:
                assert (current(), third.actor) == (third, "user:1")
            assert current() is second
        assert first.actor == "user:1"
        assert current().actor == ""


def test_a_decorated_function_keeps_its_name_arguments_and_result() -> None:
    @context(actor="job:nightly")
    def add(left: int, *, right: int) -> tuple[int, object]:
        """Add."""
        return left + right, current().actor

    @context(actor="job:nightly")
    def countdown(n: int) -> list[object]:
        return [current().actor, *(countdown(n - 1) if n else [])]

    assert (add.__name__, add.__doc__, add(1, right=2)) == ("add", "Add.", (3, "job:nightly"))
    assert countdown(2) == ["job:nightly"] * 3
    assert current().actor == ""


def test_a_decorated_coroutine_function_is_covered_while_it_waits() -> None:
    @context(actor="job:nightly")
    async def work() -> object:
        await asyncio.sleep(0)
        return current().actor

    async def main() -> list[object]:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        return [current().actor, await task, await work(), current().actor]

    assert asyncio.run(main()) == ["", "job:nightly", "job:nightly", ""]


def test_what_a_decorator_could_not_cover_is_refused() -> None:
    def steps() -> Iterator[int]:
        yield 1

    async def async_steps() -> AsyncIterator[int]:
        yield 1

    class Job:
        pass

    for body in (steps, async_steps, Job):
        with pytest.raises(TypeError, match="cannot decorate"):
            context(actor="user:1")(cast("Any", body))


def test_a_new_thread_starts_empty_and_a_copied_context_carries_over() -> None:
    with context(actor="user:1"), ThreadPoolExecutor(1) as pool:
        copied = contextvars.copy_context()
        assert pool.submit(lambda: contextvars.Context().run(current)).result().actor == ""
        assert pool.submit(copied.run, current).result().actor == "user:1"


def test_one_context_entered_by_many_threads_at_once_restores_each_one_to_its_own() -> None:
    shared, together = context(actor="shared"), threading.Barrier(4)

    def work(number: int) -> list[object]:
        seen: list[object] = []
        with context(actor=f"user:{number}"):
            for _ in range(20):
                together.wait(10)
                with shared:
                    together.wait(10)
                    seen.append(current().actor)
                seen.append(current().actor)
        return [*seen, current().actor]

    with ThreadPoolExecutor(4) as pool:
        for number, seen in enumerate(pool.map(work, range(4))):
            assert seen == ["shared", f"user:{number}"] * 20 + [""]


def test_interleaved_tasks_and_their_threads_see_only_their_own_context() -> None:
    shared = context(note="shared")

    async def work(number: int) -> None:
        with context(actor=f"user:{number}"):
            for _ in range(5):
                with shared:
                    await asyncio.sleep(0)
                    assert (current().actor, current().metadata) == (f"user:{number}", {"note": "shared"})
                    assert (await sync_to_async(current)()) is current()
                assert (current().actor, current().metadata) == (f"user:{number}", {})
        assert current().actor == "parent"

    async def main() -> None:
        with context(actor="parent"):
            await asyncio.gather(*(work(number) for number in range(10)))
            assert current().actor == "parent"

    asyncio.run(main())


def test_a_suspended_generator_cannot_leave_its_context_behind() -> None:
    def steps() -> Generator[int, None, None]:
        with context(actor="generator"):
            yield 1

    with context(actor="user:1"):
        suspended = steps()
        next(suspended)
    assert current().actor == ""
    with context(actor="user:2"), context(actor="user:3"), context(actor="user:4"):
        suspended.close()
        assert current().actor == "user:4"
    assert current().actor == ""


def test_tasks_that_start_each_other_do_not_keep_their_ancestors_alive() -> None:
    seen: list[weakref.ref[Context]] = []

    async def tick(left: int, done: asyncio.Event) -> None:
        with context(left=left) as entered:
            seen.append(weakref.ref(entered))
            del entered
            successor = asyncio.create_task(tick(left - 1, done)) if left else None
        if successor is None:
            await asyncio.sleep(0.01)
            gc.collect()
            assert sum(entry() is not None for entry in seen) <= 3
            done.set()

    async def main() -> None:
        done = asyncio.Event()
        kept = asyncio.create_task(tick(30, done))
        await asyncio.wait_for(done.wait(), 10)
        await kept

    asyncio.run(main())


def test_nothing_in_a_context_can_be_changed_by_what_shares_it() -> None:
    tags = ["a"]
    with context(tags=tags, place={"city": "Ulm", "at": [1, {"deep": 2}]}) as entered:
        tags.append("b")
        stored = entered.metadata
        assert stored == {"tags": ["a"], "place": {"city": "Ulm", "at": [1, {"deep": 2}]}}
        cast("list[str]", stored["tags"]).append("c")
        cast("dict[str, Any]", stored["place"])["at"][1]["deep"] = 3
        assert entered.metadata == {"tags": ["a"], "place": {"city": "Ulm", "at": [1, {"deep": 2}]}}
        with pytest.raises(TypeError):
            cast("dict[str, JSON]", entered.more)["tags"] = 1
        with pytest.raises(TypeError):
            cast("Any", entered.more)["place"]["city"] = "Bonn"
        with pytest.raises(AttributeError):
            cast("Any", entered.more)["tags"].append("c")
        with pytest.raises(AttributeError):
            cast("Any", entered).actor = "user:2"
        assert "z" not in current().metadata
        current().metadata["z"] = 1
        assert "z" not in current().metadata


def test_metadata_of_a_context_can_be_given_to_another() -> None:
    with context(tags=["a"], place={"city": "Ulm"}) as first:
        pass
    for more in (first.metadata, dict(first.more)):
        with context(**cast("dict[str, Any]", more)) as second:
            assert second.metadata == first.metadata


class Channel(StrEnum):
    WEB = "web"


def test_members_of_text_enums_become_their_text() -> None:
    with context(channel=Channel.WEB) as entered:
        assert type(entered.metadata["channel"]) is str
        assert entered.metadata == {"channel": "web"}


def test_an_actor_function_is_asked_at_each_append_and_not_before() -> None:
    answers = iter(["user:1", "user:2"])
    with context(actor=lambda: next(answers)) as entered:
        assert [entered.resolve_actor(), entered.resolve_actor()] == ["user:1", "user:2"]
        with pytest.raises(StopIteration):
            entered.resolve_actor()


async def coroutine_actor() -> str:
    return "user:1"


@pytest.mark.parametrize(
    "actor",
    [7, object(), "x" * (MAX_ACTOR + 1), "a\nb", "a\x00", "\ud800", "a\x9f", "Bearer abc", str, coroutine_actor],
    ids=kind_of,
)
def test_an_actor_that_cannot_be_stored_is_refused(actor: object) -> None:
    with pytest.raises(MetadataRefused) as refused, context(actor=cast("Any", actor)):
        pass
    assert refused.value.path == "actor"
    with context(actor=lambda: cast("str", actor)) as entered, pytest.raises(MetadataRefused):
        entered.resolve_actor()


@pytest.mark.parametrize(
    "given", ["", 7, uuid.uuid4(), "x" * (MAX_CORRELATION_ID + 1), "a\r\nb", "\udfff"], ids=kind_of
)
def test_a_correlation_id_that_cannot_be_stored_is_refused(given: object) -> None:
    with pytest.raises(MetadataRefused) as refused, context(correlation_id=cast("Any", given)):
        pass
    assert refused.value.path == "correlation_id"


def test_names_may_be_as_long_as_their_columns() -> None:
    with context(actor="x" * MAX_ACTOR, correlation_id="é" * MAX_CORRELATION_ID) as entered:
        assert len(entered.resolve_actor()) == MAX_ACTOR


def test_a_causation_id_that_is_no_uuid_is_refused() -> None:
    with pytest.raises(MetadataRefused, match="event_id"), context(causation_id=cast("Any", str(uuid.uuid4()))):
        pass


def nested(levels: int) -> dict[str, Any]:
    value: Any = "leaf"
    for _ in range(levels - 1):
        value = [value]
    return {"deep": value}


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"amount": Decimal(1)}, "amount"),
        ({"who": uuid.UUID(int=7)}, "who"),
        ({"tags": {"a"}}, "tags"),
        ({"raw": b"x"}, "raw"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": float("-inf")}, "rate"),
        ({"n": 2**53}, "n"),
        ({"n": -(2**53)}, "n"),
        ({"note": "a\x00b"}, "note"),
        ({"lines": [{"text": "fine"}, {"text": "\ud800"}]}, "lines[1].text"),
        ({"place": {1: "x"}}, "place"),
        ({"place": {"\x00": "x"}}, "place"),
        ({"\udfff": 1}, "more"),
        (nested(MAX_METADATA_DEPTH + 1), "deep" + "[0]" * (MAX_METADATA_DEPTH - 1)),
        ({"note": "é" * (MAX_METADATA_BYTES // 2)}, "metadata"),
        ({"note": "x" * (MAX_METADATA_BYTES + 1)}, "note"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_metadata_that_is_not_plain_json_is_refused_with_its_path(more: dict[str, Any], path: str) -> None:
    with pytest.raises(MetadataRefused) as refused, context(**more):
        pass
    assert refused.value.path == path


def test_plain_json_of_every_kind_is_kept_as_it_is() -> None:
    plain = {
        "none": None,
        "yes": True,
        "largest": 2**53 - 1,
        "smallest": -(2**53 - 1),
        "rate": 0.5,
        "text": "é\n😀",
        "empty": [{}, []],
        **nested(MAX_METADATA_DEPTH),
    }
    with context(**plain) as entered:
        assert entered.metadata == plain
        assert entered.metadata["yes"] is True


def test_a_structure_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(MetadataRefused, match="deeper"), context(loop=loop):
        pass


def test_nested_contexts_share_one_size_limit() -> None:
    half = "x" * (MAX_METADATA_BYTES // 2)
    with context(first=half), pytest.raises(MetadataRefused, match="larger"), context(second=half):
        pass


SECRET_KEYS = """
password PASSWORD pAsSwOrD passWord pass_word userPassword user-password userpassword new_password2 passwordHash
password_hash passwd pwd db_pass passphrase secret client_secret clientSecret clientsecret secrets token accessToken
access-token accesstoken refresh_tokens Authorization HTTP_AUTHORIZATION Proxy-Authorization cookie Set-Cookie cookies
api_key apikey X-Api-Key x.api.key APIKey ApiKEY myApiKey private_key PrivateKey private.key credential credentials
user_creds session session_id sessionid sessionId JSESSIONID PHPSESSID session_key csrf csrftoken csrfmiddlewaretoken
X-CSRFToken xsrf card_number cardNumber credit_card cvv cvv2 CVC pin pin_code card_pin otp jwt id_token bearer
secret_access_key signing_key pan recovery_codes
"""

PLAIN_KEYS = """
author authority authorized_by pinned spinner shipping secretary passenger compass_words passport boarding_pass bypass
token_count tokenCount tokenizer max_tokens cookie_policy_version cookieConsent cookiecutter has_password passwordless
password_changed_at passwordChangedAt session_count obsession_note pine company panel spanish keyboard monkey
public_key_type key keys business_key request_id traceparent ip_address user_agent reason ticket import_file_row card
number map_in
"""


@pytest.mark.parametrize("key", SECRET_KEYS.split())
def test_a_key_that_names_a_secret_is_refused_wherever_it_is(key: str) -> None:
    with pytest.raises(MetadataRefused) as refused, context(**cast("dict[str, Any]", {key: "hunter2"})):
        pass
    assert refused.value.path == key
    assert "hunter2" not in str(refused.value)
    with pytest.raises(MetadataRefused) as refused, context(request={"parts": [{}, {key: None}]}):
        pass
    assert refused.value.path == f"request.parts[1].{key}"


@pytest.mark.parametrize("key", PLAIN_KEYS.split())
def test_a_key_that_only_resembles_a_secret_is_kept(key: str) -> None:
    with context(**cast("dict[str, Any]", {key: 1})) as entered:
        assert entered.metadata == {key: 1}


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abc",
        "bearer  9944b09199c62bcf9418ad846dd0e4bb",
        "Authorization: Bearer 9944b09199c62bcf9418ad846dd0e4bb",
        "Basic dXNlcjpwYXNz",
        "sent BASIC dXNlcjpwYXNzMQ== by mistake",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    ],
)
def test_a_value_that_looks_like_a_credential_is_refused(value: str) -> None:
    for more in ({"note": value}, {"notes": [{"text": value}]}):
        with pytest.raises(MetadataRefused, match="credential") as refused, context(**cast("dict[str, Any]", more)):
            pass
        assert value not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["Basic plan", "the bearer of this letter", "Basic", "forbearer abc", "pay to bearer on demand"]
)
def test_ordinary_prose_is_kept(value: str) -> None:
    with context(note=value) as entered:
        assert entered.metadata == {"note": value}


@override_settings(EVENTSOURCING={"DENIED_METADATA": ["tax_number", "Größe"]})
@pytest.mark.parametrize("key", ["taxNumber", "customer-tax-number", "TAXNUMBER", "tax_number_type", "die_größe"])
def test_a_project_can_deny_words_of_its_own(key: str) -> None:
    with context(tax=1, number=2, syntax_numbers=3), pytest.raises(MetadataRefused) as refused:
        context(**cast("dict[str, Any]", {key: "x"})).__enter__()
    assert refused.value.path == key


def test_a_refusal_says_what_why_and_what_to_do_instead() -> None:
    with pytest.raises(MetadataRefused) as refused, context(headers=cast("Any", {"X-Api-Key": "k"})):
        pass
    for part in ("headers.X-Api-Key", "'apikey'", "cannot be erased", "Leave it out"):
        assert part in str(refused.value)


def test_a_reaction_numbers_its_commands_without_repeating_one() -> None:
    running = Reaction(subscription="bank.alerts", event_id=uuid.uuid4(), kind="subscriber")
    mark = reacting.set(running)
    try:
        with ThreadPoolExecutor(4) as pool:
            copies = [contextvars.copy_context() for _ in range(100)]
            drawn = list(pool.map(lambda copy: copy.run(draw), copies))
        assert sorted(drawn) == list(range(1, 101))
    finally:
        reacting.reset(mark)
    assert reacting.get() is None


def draw() -> int:
    running = reacting.get()
    assert running is not None
    return running.next_ordinal("bank.account.deposit", "7")
