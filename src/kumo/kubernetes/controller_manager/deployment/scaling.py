"""Who grows and who shrinks: the arithmetic of rolling updates and of proportional scaling.

The rules of upstream's `rolling.go`, `recreate.go` and `sync.go`; sets come and go as values, nothing is written here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kumo.kubernetes.controller_manager.deployment.sets import Limits, Set


def new_size(new: Set, sets: Sequence[Set], replicas: int, limits: Limits, *, rolling: bool) -> int:
    """How large the set of the current template should be now (`sets` are all sets, `new` among them)."""
    if new.wanted >= replicas or not rolling:
        return replicas
    room = replicas + limits.surge - sum(s.wanted for s in sets)
    return new.wanted + max(0, min(room, replicas - new.wanted))


def shrink_old(new: Set, old: Sequence[Set], replicas: int, limits: Limits) -> dict[str, int]:
    """New sizes of the sets of former templates, by uid; only those that change.

    Pods that are not available go first, oldest set first; then as many available ones as the update may miss.
    """
    shrinking = {s.uid: s.wanted for s in old}
    least = replicas - limits.unavailable
    allowed = sum(shrinking.values()) + new.wanted - least - (new.wanted - new.available)
    if sum(shrinking.values()) == 0 or allowed <= 0:
        return {}
    ordered = sorted(old, key=lambda s: (s.created, s.name))
    for found in ordered:
        unhealthy = max(found.wanted - found.available, 0)
        drop = min(allowed, unhealthy)
        shrinking[found.uid] -= drop
        allowed -= drop
    spare = new.available + sum(s.available for s in old) - least
    for found in ordered:
        drop = min(shrinking[found.uid], max(spare, 0))
        shrinking[found.uid] -= drop
        spare -= drop
    return {s.uid: shrinking[s.uid] for s in old if shrinking[s.uid] != s.wanted}


def active_or_latest(new: Set | None, old: Sequence[Set]) -> Set | None:
    """The only set with pods, or the newest when none has any; None when several have."""
    active = [s for s in ([new] if new else []) + list(old) if s.wanted > 0]
    if len(active) > 1:
        return None
    if active:
        return active[0]
    return new or max(old, key=lambda s: (s.created, s.name), default=None)


def is_saturated(new: Set | None, replicas: int) -> bool:
    """Whether the current template's set has all the pods, all of them available."""
    return new is not None and new.wanted == replicas == new.desired and new.available == replicas


def scale(
    new: Set | None, old: Sequence[Set], replicas: int, before: int, limits: Limits, *, rolling: bool
) -> dict[str, int]:
    """Sizes after `spec.replicas` changed in the middle of a rollout, by uid; `before` is `status.replicas`.

    Every set gets its share of what is added or taken, so that the rollout stays where it was.
    """
    only = active_or_latest(new, old)
    if only is not None:
        return {only.uid: replicas}
    if is_saturated(new, replicas):
        return {s.uid: 0 for s in old if s.wanted > 0}
    if not rolling:
        return {}
    active = [s for s in [*old, *([new] if new else [])] if s.wanted > 0]
    allowed = replicas + limits.surge if replicas > 0 else 0
    to_add = allowed - sum(s.wanted for s in active)
    sizes = _shares(_by_size(active, to_add), replicas, before, limits, to_add)
    return {uid: max(size, 0) for uid, size in sizes.items()}


def _by_size(active: list[Set], to_add: int) -> list[Set]:
    """Larger sets first; among equals the newer when growing, the older when shrinking."""
    by_age = sorted(active, key=lambda s: (s.created, s.name), reverse=to_add > 0)
    return sorted(by_age, key=lambda s: -s.wanted)


def _shares(ordered: list[Set], replicas: int, before: int, limits: Limits, to_add: int) -> dict[str, int]:
    sizes = {s.uid: s.wanted for s in ordered}
    added = 0
    if to_add:
        for found in ordered:
            share = _share(found, replicas, before, limits, to_add - added)
            sizes[found.uid] += share
            added += share
        if ordered:
            sizes[ordered[0].uid] += to_add - added
    return sizes


def _share(found: Set, replicas: int, before: int, limits: Limits, left: int) -> int:
    if found.wanted == 0 or left == 0:
        return 0
    if replicas == 0:
        fraction = -found.wanted
    else:
        former = found.maximum or before
        if former == 0:
            return 0
        exact = found.wanted * (replicas + limits.surge) / former
        fraction = math.floor(exact + 0.5) - found.wanted
    return min(fraction, left) if left > 0 else max(fraction, left)
