"""Priority and fairness: dealing, limits, matching, reconciling, and the gate's decisions."""

from __future__ import annotations

import asyncio
import copy
import time

import pytest

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.flowcontrol import Flow, Gate, InFlightLimits, Level, TooManyRequests
from kumo.kubernetes.apiserver.flowcontrol.allocation import Bounds, Demand, Want, adjust, allocate, bounds
from kumo.kubernetes.apiserver.flowcontrol.defaults import AUTOUPDATE, default_levels, default_schemas
from kumo.kubernetes.apiserver.flowcontrol.matching import matches
from kumo.kubernetes.apiserver.flowcontrol.reconcile import dangling, revised, unwanted
from kumo.kubernetes.apiserver.flowcontrol.shards import deal, entropy_bits, flow_hash

pytestmark = pytest.mark.unit
JANE = UserInfo("jane", ("system:authenticated",))
MASTER = UserInfo("root", ("system:masters", "system:authenticated"))
NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
SCHEDULER = UserInfo("system:kube-scheduler", ("system:authenticated",))
ACCOUNT = UserInfo("system:serviceaccount:apps:bot", ("system:serviceaccounts", "system:authenticated"))
SYSTEM_ACCOUNT = UserInfo("system:serviceaccount:kube-system:bot", ("system:serviceaccounts", "system:authenticated"))
NOBODY = UserInfo("system:anonymous", ("system:unauthenticated",))


def about(verb: str, resource: str, group: str = "", namespace: str = "n", path: str = "/x") -> RequestInfo:
    return RequestInfo(verb, path, group, "v1", namespace, resource)


GET = about("get", "pods")


def test_hands_are_different_cards_and_spread_evenly() -> None:
    seen = [0] * 16
    for number in range(2000):
        hand = deal(flow_hash("schema", f"user-{number}"), 16, 4)
        assert len(set(hand)) == 4
        for card in hand:
            seen[card] += 1
    assert min(seen) > 350 and max(seen) < 650
    assert entropy_bits(128, 6) == 42
    assert deal(flow_hash("a", "b"), 128, 6) == deal(flow_hash("a", "b"), 128, 6)


def test_bounds_by_shares_lending_and_borrowing() -> None:
    assert bounds(600, 40, 245, 25, None) == Bounds(98, 74, 600)
    assert bounds(600, 40, 245, 50, 10) == Bounds(98, 49, 108)
    assert bounds(600, 0, 0, 0, None) == Bounds(0, 0, 600)


def test_allocation_is_proportional_within_bounds() -> None:
    assert allocate(30, [Want(10, 0, 100), Want(20, 0, 100)]) == pytest.approx([10, 20])
    assert allocate(30, [Want(10, 0, 5), Want(20, 0, 100)]) == pytest.approx([5, 25])
    assert allocate(30, [Want(10, 10, 100), Want(1, 1, 100), Want(0, 0, 100)]) == pytest.approx(
        [27.27, 2.73, 0], abs=0.1
    )
    assert allocate(300, [Want(1, 0, 10), Want(1, 0, 20)]) == [10, 20]


def test_an_idle_level_lends_and_a_busy_one_borrows() -> None:
    busy, idle = Demand(Bounds(50, 40, 100), 90, 80.0), Demand(Bounds(50, 10, 100), 0, 0.0)
    given = adjust(100, [busy, idle])
    assert given == [89, 11]  # in proportion to 80 and 10
    assert adjust(100, [busy, busy]) == [50, 50]
    assert adjust(20, [busy, idle]) == [40, 10]  # nobody gets less than what it may not lend


@pytest.mark.parametrize(
    ("user", "info", "schema"),
    [
        (MASTER, GET, "exempt"),
        (NOBODY, RequestInfo("get", "/healthz"), "probes"),
        (JANE, RequestInfo("get", "/readyz/etcd"), "probes"),
        (SCHEDULER, about("update", "leases", "coordination.k8s.io"), "system-leader-election"),
        (SCHEDULER, about("list", "leases", "coordination.k8s.io"), "kube-scheduler"),
        (NODE, about("update", "leases", "coordination.k8s.io"), "system-node-high"),
        (NODE, about("patch", "nodes", namespace=""), "system-node-high"),
        (NODE, GET, "system-nodes"),
        (SYSTEM_ACCOUNT, GET, "kube-system-service-accounts"),
        (ACCOUNT, GET, "service-accounts"),
        (JANE, GET, "global-default"),
        (NOBODY, RequestInfo("get", "/version"), "global-default"),
        (UserInfo("odd"), GET, "none"),
    ],
)
def test_default_schemas_sort_requests(user: UserInfo, info: RequestInfo, schema: str) -> None:
    ordered = sorted(default_schemas(), key=lambda s: s["spec"]["matchingPrecedence"])
    assert next((s["metadata"]["name"] for s in ordered if matches(s, user, info)), "none") == schema


def test_defaults_are_kept_unless_an_administrator_says_otherwise() -> None:
    wanted = next(o for o in default_levels() if o["metadata"]["name"] == "system")
    found = copy.deepcopy(wanted)
    found["metadata"]["generation"] = 3
    assert revised(found, wanted) is None
    found["spec"]["limited"]["nominalConcurrencyShares"] = 7
    assert (revised(found, wanted) or {})["spec"] == wanted["spec"]
    found["metadata"]["annotations"][AUTOUPDATE] = "false"
    assert revised(found, wanted) is None
    del found["metadata"]["annotations"][AUTOUPDATE]
    assert (revised(found, wanted) or {})["metadata"]["annotations"] == {AUTOUPDATE: "false"}
    assert (revised(found, wanted) or {})["spec"] == found["spec"]
    catch_all = next(o for o in default_levels() if o["metadata"]["name"] == "catch-all")
    broken = copy.deepcopy(catch_all)
    broken["metadata"]["annotations"][AUTOUPDATE] = "false"
    broken["spec"]["limited"]["nominalConcurrencyShares"] = 9
    assert revised(broken, catch_all) == catch_all
    old = {"metadata": {"name": "of-old", "annotations": {AUTOUPDATE: "true"}}}
    assert unwanted(old, {"system"}) and not unwanted({"metadata": {"name": "mine"}}, {"system"})


def test_the_condition_of_a_schema_without_its_level() -> None:
    schema = default_schemas()[0]
    bad = dangling(schema, set(), "2026-01-01T00:00:00Z")
    assert bad is not None and bad["status"]["conditions"][0]["status"] == "True"
    good = dangling(bad, {"system"}, "2026-01-02T00:00:00Z")
    assert good is not None and good["status"]["conditions"][0]["reason"] == "Found"
    assert dangling(good, {"system"}, "2026-01-03T00:00:00Z") is None


# -- the gate --------------------------------------------------------------------------------------------------------


def gate(limit: int, *, queues: int = 8, hand: int = 2, length: int = 3) -> Gate:
    """A gate with the level `low` for everybody but members of system:masters."""
    found = Gate(lambda info, query, level: 4 if info.verb == "list" else 1)
    low, exempt = Level("low"), Level("exempt")
    low.limit, exempt.exempt = limit, True
    low.shape(queues, hand, length)
    found.levels = {"low": low, "exempt": exempt}
    schemas = {s["metadata"]["name"]: s for s in default_schemas()}
    flows = [
        (schemas["exempt"], Flow("exempt", "u1", exempt, "")),
        (schemas["global-default"], Flow("global-default", "u2", low, "ByUser")),
    ]
    found.configure(flows, by_namespace=False)
    return found


async def test_seats_queues_and_refusals() -> None:
    found = gate(2, queues=1, hand=1, length=2)
    first, second = found.enter(JANE, GET, ""), found.enter(JANE, GET, "")
    assert first is not None and second is not None and found.enter(JANE, GET, "") is None
    assert found.enter(MASTER, GET, "") is not None
    waiting = [asyncio.create_task(found.wait(JANE, GET, "", 5.0)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests) as refused:
        await found.wait(JANE, GET, "", 5.0)
    assert refused.value.headers == {
        "Retry-After": "1",
        "X-Kubernetes-PF-FlowSchema-UID": "u2",
        "X-Kubernetes-PF-PriorityLevel-UID": "",
    }
    assert found.flows["global-default"].rejected == {"queue-full": 1}
    found.leave(first)
    place = await waiting[0]
    assert not waiting[1].done() and found.levels["low"].seats == 2
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    found.leave(place)
    found.leave(second)
    low = found.levels["low"]
    assert (low.seats, low.waiting, low.executing, low.cancelled, low.rejected) == (0, 0, 0, 1, 1)
    assert not low.places


async def test_who_waits_too_long_is_refused() -> None:
    found = gate(1)
    held = found.enter(JANE, GET, "")
    with pytest.raises(TooManyRequests):
        await found.wait(JANE, GET, "", 0.01)
    assert held is not None and found.levels["low"].timed_out == 1 and found.levels["low"].waiting == 0
    found.leave(held)
    assert found.enter(JANE, GET, "") is not None


async def test_a_wide_request_waits_for_its_seats_but_never_for_ever() -> None:
    found = gate(2)
    wide = found.enter(JANE, about("list", "pods"), "")
    assert wide is not None and wide.seats == 4  # more than there are: alone it may go
    assert found.enter(JANE, GET, "") is None
    found.leave(wide)
    narrow = found.enter(JANE, GET, "")
    assert narrow is not None and found.enter(JANE, about("list", "pods"), "") is None


async def test_a_flood_of_one_user_leaves_the_other_his_turns() -> None:
    found = gate(1, queues=64, hand=4, length=50)
    served: list[str] = []

    async def one(user: UserInfo) -> None:
        place = found.enter(user, GET, "") or await found.wait(user, GET, "", 30.0)
        await asyncio.sleep(0.001)
        served.append(user.name)
        found.leave(place)

    flood = [asyncio.create_task(one(UserInfo("flood", JANE.groups))) for _ in range(100)]
    await asyncio.sleep(0.005)
    other = [asyncio.create_task(one(JANE)) for _ in range(5)]
    await asyncio.gather(*other)
    assert len(served) < 60  # the flood of 100 was there first
    await asyncio.gather(*flood)


async def test_a_turn_of_the_loop_is_bounded() -> None:
    found = gate(100)
    spinning = found.enter(JANE, GET, "")
    assert spinning is not None
    began = time.perf_counter()
    while time.perf_counter() - began < 0.012:
        pass
    found.leave(spinning)
    assert found.enter(JANE, GET, "") is None, "the turn's time is used up"
    assert found.enter(MASTER, GET, "") is not None, "exempt requests never wait"
    place = await found.wait(JANE, GET, "", 5.0)
    found.leave(place)
    await asyncio.sleep(0.001)
    assert found.enter(JANE, GET, "") is not None


def test_limits_without_priorities() -> None:
    limits = InFlightLimits(1, 1)
    assert limits.enter(JANE, GET) is True
    with pytest.raises(TooManyRequests):
        limits.enter(JANE, GET)
    assert limits.enter(JANE, about("create", "pods")) is False
    limits.enter(MASTER, GET)
    limits.leave(True)
    limits.leave(True)
    limits.enter(JANE, GET)


def test_asking_again_is_put_off_while_refusals_go_on() -> None:
    level = Level("x")
    assert [level.note_dropped(100.0) for _ in range(3)] == [1, 1, 2]
    assert max(level.note_dropped(101.0 + n / 10) for n in range(200)) > 4
    assert level.note_dropped(900.0) < 32
