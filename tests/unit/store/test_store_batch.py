"""Group commit's decision: a batch does what its writes would have done one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.store.base import LeaseNotFound
from kumo.store.sqlite_batch import Compact, Grant, Mismatch, Operation, Plan, Planner, Revoke, Version, Write

pytestmark = pytest.mark.unit

KEYS = st.sampled_from(["a", "b", "c"])
WRITES = st.builds(
    Write,
    key=KEYS,
    value=st.one_of(st.none(), st.binary(max_size=3)),
    expect=st.one_of(st.none(), st.integers(0, 12)),
    lease=st.sampled_from([0, 0, 0, 7, 9]),
    done=st.none(),
)
OPERATIONS = st.one_of(WRITES, WRITES, WRITES, st.just(Grant(9, 1.0, None)), st.just(Revoke(7, None)))


class State:
    """What one Planner is given, carried on from batch to batch."""

    def __init__(self) -> None:
        self.index: dict[str, Version] = {}
        self.values: dict[str, bytes] = {}
        self.leases = {7: 1.0}
        self.revision = 0
        self.live: dict[int, str] = {}
        self.history: dict[int, tuple[str, int, int]] = {}

    def run(self, operations: list[Operation]) -> Plan:
        leased: dict[int, set[str]] = {}
        for key, version in self.index.items():
            leased.setdefault(version.lease, set()).add(key)
        plan = Planner(self.index, self.leases, leased, self.revision).plan(operations)
        for mod, ended, deleted in plan.moves:
            self.history[ended] = (self.live.pop(mod), mod, deleted)
        for ended, key, mod, _, _, deleted, _ in plan.passing:
            self.history[ended] = (key, mod, deleted)
        for key, version in plan.versions.items():
            if version is None:
                self.index.pop(key, None)
                self.values.pop(key, None)
            elif key in plan.values:
                self.index[key] = version
                self.values[key] = plan.values[key]
                self.live[version.mod] = key
        self.leases.update(plan.grants)
        for lease in plan.revoked:
            self.leases.pop(lease, None)
        self.revision = plan.revision
        return plan


@given(st.lists(OPERATIONS, max_size=20))
def test_a_batch_is_its_writes_in_order(operations: list[Operation]) -> None:
    together, one_by_one = State(), State()
    plan = together.run(operations)
    outcomes = [one_by_one.run([operation]).outcomes[0] for operation in operations]
    assert [_comparable(o) for o in plan.outcomes] == [_comparable(o) for o in outcomes]
    assert together.index == one_by_one.index
    assert together.values == one_by_one.values
    assert together.live == one_by_one.live
    assert together.history == one_by_one.history
    assert together.revision == one_by_one.revision


def _comparable(outcome: object) -> object:
    if isinstance(outcome, Mismatch):
        return (outcome.key, outcome.expected, outcome.current)
    return str(outcome) if isinstance(outcome, LeaseNotFound) else outcome


@given(st.lists(OPERATIONS, max_size=20))
def test_every_revision_is_one_change(operations: list[Operation]) -> None:
    plan = Planner({}, {7: 1.0}, {}, 5).plan(operations)
    assert [change.revision for change in plan.changes] == list(range(6, plan.revision + 1))


def test_compaction_takes_the_highest() -> None:
    plan = Planner({}, {}, {}, 9).plan([Compact(3, None), Compact(5, None), Compact(4, None)])
    assert plan.compact == 5 and plan.outcomes == [3, 5, 4]
