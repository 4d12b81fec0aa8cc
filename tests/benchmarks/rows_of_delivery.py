"""The rows about subscriptions: what they cost those who append, how fast they deliver, and how they bear trouble."""

from __future__ import annotations

from tests.benchmarks.job import Reactions
from tests.benchmarks.row import Contestant, Row
from tests.benchmarks.stores import Store
from tests.benchmarks.targets import Faster, Memory, NoMore, NotBehind, Slower, Within

_SEEDS = "ours_seeds"
_SLOW, _FAILING = 1, 10


def _ours(
    work: str,
    who: str,
    reactions: Reactions,
    key: str = "ours",
    *,
    content: str = "accounts",
    use: str = "",
    dispatcher: str = "none",
    cluster: str = "",
) -> Contestant:
    return Contestant(
        key=key,
        who=f"ours, prepared: {who}",
        work=work,
        store=Store(_SEEDS, content, use),
        dispatcher=dispatcher,
        prepared=True,
        reactions=reactions,
        cluster=cluster,
    )


def _append(who: str, reactions: Reactions, key: str) -> Contestant:
    return _ours("ours_reactions.append", who, reactions, key, use=f"append_{key}", dispatcher="django_q")


def _deliver(who: str, reactions: Reactions, key: str = "ours") -> Contestant:
    return _ours("ours_reactions.deliver", who, reactions, key, content="log")


DELIVERY_ROWS = (
    Row(
        name="append-subscribed",
        title="load + command + save with many subscriptions against one, waking django-q2",
        unit="commands/s",
        contestants=(
            _append("many subscriptions", Reactions(), "ours"),
            _append("one", Reactions(count=1), "one"),
        ),
        targets=(Slower("one", 1.10),),
        rounds=3,
    ),
    Row(
        name="deliver",
        title="handlers that do nothing, called by one process",
        unit="deliveries/s",
        contestants=(
            _deliver("one event at a time", Reactions(count=1)),
            _deliver("lists", Reactions(count=1, handler="nothing_with_list", batch=500), "lists"),
            Contestant(
                key="django-q2",
                who="tasks of django-q2 that do nothing, ORM broker at its best",
                work="django_q_side.tasks",
                store=Store(_SEEDS, "accounts", "tasks"),
                cluster="fastest",
            ),
        ),
        targets=(Faster("django-q2", 5), Faster("django-q2", 20, who="lists")),
        writes=False,
    ),
    Row(
        name="fan-out",
        title="some events to many subscriptions, by one process",
        unit="deliveries/s",
        contestants=(_ours("ours_reactions.fan_out", "one event at a time", Reactions(), use="fan_out"),),
        targets=(Within("grew", 16),),
        writes=False,
        memory="over the idle process",
        more="MB after the first tenth",
        warm=False,
    ),
    Row(
        name="idle",
        title="a process of run_subscriptions that has many subscriptions and nothing to do",
        unit="queries/s",
        contestants=(_ours("ours_running.idle", "run_subscriptions", Reactions(counted=True), use="idle"),),
        targets=(NoMore(2),),
        writes=False,
        more="a second in its database",
        warm=False,
    ),
    Row(
        name="latency",
        title="from the save to each of ten handlers, in another process, at 100 events a second",
        unit="events/s",
        contestants=(
            _ours("ours_running.latency_of_runner", "run_subscriptions", Reactions(handler="clock", count=10), use="r"),
            _ours(
                "ours_running.latency_of_cluster",
                "qcluster, ORM broker, poll 0.2 s",
                Reactions(handler="clock", count=10),
                "cluster",
                use="q",
                dispatcher="django_q",
                cluster="plain",
            ),
        ),
        targets=(Within("p50", 50), Within("p99", 300), Within("p50", 400, "cluster")),
        writes=False,
        more="ms",
        warm=False,
    ),
    Row(
        name="catch-up",
        title="the whole log to one subscription, by run_subscriptions --once; its start included",
        unit="events/s",
        contestants=(_ours("ours_running.catch_up", "one event at a time", Reactions(count=1), content="log"),),
        targets=(Memory(120),),
        writes=False,
        memory="the largest process",
        warm=False,
    ),
    Row(
        name="trouble",
        title="from the save to many handlers, with one that takes 1 s and ten that fail, and without; 4 workers",
        unit="events/s",
        contestants=(
            _ours(
                "ours_running.sick",
                "with them",
                Reactions(handler="clock", less=_SLOW + _FAILING, slow=_SLOW, failing=_FAILING),
                use="sick",
            ),
            _ours(
                "ours_running.sick",
                "without",
                Reactions(handler="clock", less=_SLOW + _FAILING),
                "without",
                use="well",
            ),
        ),
        targets=(NotBehind("without", "p99", 2),),
        writes=False,
        more="ms",
        warm=False,
    ),
)
