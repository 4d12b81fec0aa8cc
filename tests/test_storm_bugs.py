"""The checker of the storm finds each bug that it is there for, and nothing where there is none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.needs_postgres, pytest.mark.django_db(transaction=True)]

NONE = "no_bug"
SCENES = (
    ("an_older_append_is_open", (NONE, "plain_position_reader", "loop_that_ends_early")),
    # A log is unused only once.
    ("the_log_is_unused", (NONE,)),
    ("the_log_is_unused", ("last_value_as_candidate",)),
    ("a_worker_dies_before_the_effect", (NONE, "checkpoint_before_effect")),
    ("a_frozen_worker_goes_on", (NONE, "checkpoint_without_fence")),
    ("a_worker_is_slow", (NONE, "skip_locked_for_each_event")),
    ("an_event_kills", (NONE, "attempts_counted_afterwards")),
    ("a_worker_comes_late_to_a_death", (NONE, "death_forgotten")),
    ("a_worker_dies_between_segments", (NONE, "unstable_segment_hash")),
    ("a_worker_is_frozen_in_a_failure", (NONE, "parking_without_the_lock")),
)
BROKEN = {
    "plain_position_reader": "every event is delivered",
    "last_value_as_candidate": "every event is delivered",
    "checkpoint_before_effect": "every event is delivered",
    "checkpoint_without_fence": "projection is the fold",
    "skip_locked_for_each_event": "each stream arrives in order",
    "attempts_counted_afterwards": "poison is isolated",
    "death_forgotten": "poison is isolated",
    "unstable_segment_hash": "every event is delivered",
    "parking_without_the_lock": "projection is the fold",
    "loop_that_ends_early": "every event is delivered",
}
"""Which promise each bug breaks."""


@pytest.mark.parametrize(("scene", "bugs"), SCENES, ids=[f"{scene}-{bugs[-1]}" for scene, bugs in SCENES])
def test_the_checker_finds_the_bug_and_nothing_else(
    child_env: dict[str, str], scene: str, bugs: tuple[str, ...]
) -> None:
    found: dict[str, list[str]] = {}
    for _ in range(5):  # a hash that changes may by chance give each stream the segment that it had
        found = _played(child_env, scene, bugs)
        assert found.pop(NONE, []) == []
        if all(found.values()):
            break
    for bug, violations in found.items():
        assert [each for each in violations if each.startswith(BROKEN[bug])], (bug, violations)


def _played(child_env: dict[str, str], scene: str, bugs: tuple[str, ...]) -> dict[str, list[str]]:
    played = subprocess.run(
        [sys.executable, "-m", "tests.storm.scenes", scene, *bugs],
        cwd=ROOT,
        env={**child_env, "DJANGO_SETTINGS_MODULE": "tests.settings_storm"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    found: dict[str, list[str]] = json.loads(played.stdout)
    return found


def test_there_is_a_scene_for_every_bug() -> None:
    assert {bug for _, bugs in SCENES for bug in bugs} == {NONE, *BROKEN}
