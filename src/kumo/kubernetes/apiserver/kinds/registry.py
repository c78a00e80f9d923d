"""Which rules belong to which kind."""

from __future__ import annotations

from functools import cache

from kumo.api import names
from kumo.api.builtin import by_gvk
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds import (
    admission,
    autoscaling,
    batch,
    certificates,
    claims,
    cluster,
    config,
    csi,
    devices,
    endpoint_addresses,
    endpoint_slices,
    events,
    extensions,
    flowcontrol,
    limits,
    networking,
    nodes,
    persistent_volumes,
    pods,
    policy,
    quotas,
    rbac,
    runtime_classes,
    services,
    stateful_sets,
    storage_classes,
    workloads,
)
from kumo.kubernetes.apiserver.kinds.rules import Rules
from kumo.kubernetes.apiserver.kinds.strategy import Strategy

_MODULES = (
    admission,
    autoscaling,
    batch,
    certificates,
    claims,
    cluster,
    config,
    csi,
    devices,
    endpoint_addresses,
    endpoint_slices,
    events,
    extensions,
    flowcontrol,
    limits,
    networking,
    nodes,
    persistent_volumes,
    pods,
    policy,
    quotas,
    rbac,
    runtime_classes,
    services,
    stateful_sets,
    storage_classes,
    workloads,
)


@cache
def _all_rules() -> dict[GVK, Rules]:
    found: dict[GVK, Rules] = {}
    for module in _MODULES:
        found |= module.rules()
    return found


@cache
def strategy_for(gvk: GVK) -> Strategy:
    """The strategy of a built-in kind. Raises KeyError for any other."""
    found = by_gvk()[gvk]
    rules = _all_rules().get(gvk)
    if rules is None:
        check = names.check_path_segment if gvk.group == "rbac.authorization.k8s.io" else names.check_subdomain
        rules = Rules(has_status=any(s.name == "status" for s in found.subresources), check_name=check)
    return Strategy(gvk, found.namespaced, rules)
