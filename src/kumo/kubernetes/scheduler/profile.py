"""A scheduling profile: which plugins judge the pods of one scheduler name, in which order and with which weights.

The defaults are those of kube-scheduler 1.36; `configuration` makes others from a KubeSchedulerConfiguration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.kubernetes.scheduler.plugins.base import Plugin
from kumo.kubernetes.scheduler.plugins.declared_features import NodeDeclaredFeatures
from kumo.kubernetes.scheduler.plugins.image_locality import ImageLocality
from kumo.kubernetes.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from kumo.kubernetes.scheduler.plugins.node_affinity import NodeAffinity, NodeName
from kumo.kubernetes.scheduler.plugins.node_ports import NodePorts
from kumo.kubernetes.scheduler.plugins.node_resources import BalancedAllocation, Fit, Weighted, strategy_of
from kumo.kubernetes.scheduler.plugins.resource_claims import NAME as CLAIMS
from kumo.kubernetes.scheduler.plugins.resource_claims import DynamicResources
from kumo.kubernetes.scheduler.plugins.taints import NodeUnschedulable, TaintToleration
from kumo.kubernetes.scheduler.plugins.topology_spread import PodTopologySpread
from kumo.kubernetes.scheduler.plugins.volume_binding import VolumeBinding
from kumo.kubernetes.scheduler.plugins.volume_limits import NodeVolumeLimits
from kumo.kubernetes.scheduler.plugins.volume_restrictions import VolumeRestrictions, VolumeZone

DEFAULT_NAME = "default-scheduler"
PREEMPTION = "DefaultPreemption"
GATES = "SchedulingGates"
Args = Mapping[str, Any]
DEFAULT_PLUGINS: tuple[tuple[str, int], ...] = (
    (GATES, 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    (CLAIMS, 2),
    (PREEMPTION, 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
)
"""What upstream enables at every extension point (`multiPoint`), with the weights of scores."""


def _spread(args: Args) -> Plugin:
    if args.get("defaultingType") == "List":
        return PodTopologySpread(args.get("defaultConstraints") or ())
    return PodTopologySpread()


def _balanced(args: Args) -> Plugin:
    resources = tuple(Weighted(r["name"], int(r.get("weight") or 1)) for r in args.get("resources") or ())
    return BalancedAllocation(resources) if resources else BalancedAllocation()


def _pod_affinity(args: Args) -> Plugin:
    weight = args.get("hardPodAffinityWeight")
    ignore = bool(args.get("ignorePreferredTermsOfExistingPods"))
    return InterPodAffinity(1 if weight is None else int(weight), ignore_preferred_of_others=ignore)


def _fit(args: Args) -> Plugin:
    groups = args.get("ignoredResourceGroups") or ()
    return Fit(strategy_of(args), args.get("ignoredResources") or (), groups)


FACTORIES: Mapping[str, Callable[[Args], Plugin]] = {
    "NodeUnschedulable": lambda _: NodeUnschedulable(),
    "NodeName": lambda _: NodeName(),
    "TaintToleration": lambda _: TaintToleration(),
    "NodeAffinity": lambda args: NodeAffinity(args.get("addedAffinity")),
    "NodePorts": lambda _: NodePorts(),
    "NodeResourcesFit": _fit,
    "VolumeRestrictions": lambda _: VolumeRestrictions(),
    "NodeVolumeLimits": lambda _: NodeVolumeLimits(),
    "VolumeBinding": lambda _: VolumeBinding(),
    "VolumeZone": lambda _: VolumeZone(),
    "PodTopologySpread": _spread,
    "InterPodAffinity": _pod_affinity,
    "NodeResourcesBalancedAllocation": _balanced,
    CLAIMS: lambda _: DynamicResources(),
    "ImageLocality": lambda _: ImageLocality(),
    "NodeDeclaredFeatures": lambda _: NodeDeclaredFeatures(),
}
"""The plugins that judge nodes; what else has a name in configurations is part of the scheduler itself."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`filters` and `scorers` (with weights) in the order they are asked.

    `percentage` of the nodes are looked for at most (0: by the cluster's size). `preemption` says whether pods may make
    room for themselves, `candidates` how many nodes are tried for that at least (percentage, absolute).
    `bind_timeout` are seconds that volumes may take.
    """

    name: str = DEFAULT_NAME
    filters: tuple[Plugin, ...] = ()
    scorers: tuple[tuple[Plugin, int], ...] = ()
    percentage: int = 0
    preemption: bool = True
    claims: bool = True
    """Whether resource claims that could be given back are looked for before pods are preempted."""
    gates: bool = True
    candidates: tuple[int, int] = (10, 100)
    bind_timeout: float = 600.0
    by_name: Mapping[str, Plugin] = field(default_factory=dict)


def default_profile(name: str = DEFAULT_NAME) -> Profile:
    """kube-scheduler's default profile."""
    made = {plugin: FACTORIES[plugin]({}) for plugin, _ in DEFAULT_PLUGINS if plugin in FACTORIES}
    weights = dict(DEFAULT_PLUGINS)
    return Profile(
        name,
        tuple(p for p in made.values() if p.filters),
        tuple((p, weights[p.name]) for p in made.values() if p.scores),
        by_name=made,
    )
