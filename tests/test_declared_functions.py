"""What is declared is run when it is called: functions whose body would not run are refused at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app import applies, command, handles, subscriber
from eventsourcing_app.subscriptions.registry import registry
from tests.samples.events import MoneyAdded
from tests.samples.models import Counter, Wallet


async def coroutine(*_args: Any) -> None:
    """Would have to be awaited."""


def generator(*_args: Any) -> Iterator[None]:
    """Would have to be iterated."""
    yield


async def both(*_args: Any) -> AsyncIterator[None]:
    """Would have to be both."""
    yield


@pytest.mark.parametrize("function", [coroutine, generator, both])
@pytest.mark.parametrize(
    "declare", [subscriber("t.never", MoneyAdded), handles(MoneyAdded), applies(MoneyAdded), command(creates=True)]
)
def test_a_function_whose_body_would_not_run_is_refused(
    declare: Callable[[Any], object], function: Callable[..., Any]
) -> None:
    with pytest.raises(ImproperlyConfigured, match=function.__name__):
        declare(function)
    assert registry.get("t.never") is None


@pytest.mark.django_db
def test_a_command_of_another_model_is_refused() -> None:
    opened = Wallet.objects.perform_new(Wallet.open, owner="Ada")
    with pytest.raises(TypeError, match=r"Counter\.count is no command of Wallet"):
        Wallet.objects.perform(opened.pk, Counter.count)  # type: ignore[arg-type]
