"""What is done to many parked events is done to all of them or to none, whatever has changed since they were chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eventsourcing_app.exceptions import OperationRefused
from eventsourcing_app.models import ParkedEvent
from eventsourcing_app.subscriptions.operate_parked import retry_parked, skip_parked
from tests.admin_operators import rows_of_everything
from tests.api_operators import failing
from tests.reactions_sample.scene import deliver, wallet

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_subscriptions")]

A, B = "t.a", "t.b"


@pytest.fixture
def position() -> int:
    """Where both subscriptions have failed."""
    for name in (A, B):
        failing({2}, name=name)
    wallet(adds=2)
    deliver()
    return ParkedEvent.objects.filter(state="failed").latest("position").position


@pytest.mark.parametrize("act", [retry_parked, skip_parked])
def test_one_that_is_gone_keeps_all_the_others_as_they_are(position: int, act: Callable[..., None]) -> None:
    before = rows_of_everything()
    gone = position + 1000
    with pytest.raises(OperationRefused, match=f"{B} has nothing parked at #{gone} any more"):
        act({A: [position], B: [position, gone]}, reason="because")
    assert rows_of_everything() == before
    act({A: [position], B: [position]}, reason="because")
    assert rows_of_everything() != before


def test_every_subscription_that_cannot_is_named(position: int) -> None:
    with pytest.raises(OperationRefused) as refused:
        retry_parked({A: [position + 1], B: [1], "t.nobody": [1]}, reason="because")
    for name in (f"{A} cannot try", f"{B} has nothing", "'t.nobody'"):
        assert name in str(refused.value)
