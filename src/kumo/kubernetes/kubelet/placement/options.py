"""The managers' settings, as KubeletConfiguration names them, and what is wrong with them in upstream's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kumo.kubernetes.kubelet.placement.hints import CONTAINER, MOST_NODES, NONE, POLICIES, SCOPES, TopologyOptions

STATIC_CPUS, STATIC_MEMORY, NO_MEMORY = "static", "Static", "None"
_FULL, _SPREAD, _STRICT, _CACHE = (
    "full-pcpus-only",
    "distribute-cpus-across-numa",
    "strict-cpu-reservation",
    "prefer-align-cpus-by-uncorecache",
)
_ALPHA = ("align-by-socket", "distribute-cpus-across-cores")
"""Known upstream, but behind a feature gate that is off."""
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


@dataclass(frozen=True, slots=True)
class CpuOptions:
    """`cpuManagerPolicyOptions`."""

    full_cores: bool = False
    spread: bool = False
    strict: bool = False
    by_cache: bool = False


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """One kubelet's. Policies are named as in KubeletConfiguration, amounts are in cpus (thousandths) and bytes."""

    cpu_policy: str = NONE
    cpu_options: Mapping[str, str] = field(default_factory=dict)
    reserved_cpus: frozenset[int] = frozenset()
    """`reservedSystemCPUs`."""
    reserved_milli: int = 0
    """kubeReserved and systemReserved of cpu together."""
    reconcile_seconds: float = 10.0
    """When what could not be told to a container is tried again."""
    memory_policy: str = NO_MEMORY
    reserved_memory: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """`reservedMemory`: NUMA node -> `memory` or `hugepages-<size>` -> bytes."""
    kept_back: Mapping[str, int] = field(default_factory=dict)
    """What the node keeps back of each kind of memory in all; the former must add up to that."""
    topology_policy: str = NONE
    topology_scope: str = CONTAINER
    topology_options: Mapping[str, str] = field(default_factory=dict)


def cpu_options(given: Mapping[str, str]) -> CpuOptions:
    """The options of the policy `static`. Raises ValueError."""
    values: dict[str, bool] = {}
    for name, value in given.items():
        if name in _ALPHA:
            raise ValueError(f'CPU Manager Policy Alpha-level Options not enabled, but option "{name}" provided')
        if name not in (_FULL, _SPREAD, _STRICT, _CACHE):
            raise ValueError(f'unknown CPU Manager Policy option: "{name}"')
        values[name] = _flag(name, value)
    if values.get(_CACHE) and values.get(_SPREAD):
        raise ValueError(f"static policy options {_CACHE} and {_SPREAD} can not be used at the same time")
    return CpuOptions(*(values.get(name, False) for name in (_FULL, _SPREAD, _STRICT, _CACHE)))


def topology_options(given: Mapping[str, str]) -> TopologyOptions:
    """The options of the Topology Manager's policies. Raises ValueError."""
    closest, most = False, MOST_NODES
    for name, value in given.items():
        if name == "prefer-closest-numa-nodes":
            closest = _flag(name, value)
        elif name == "max-allowable-numa-nodes":
            most = _most_nodes(name, value)
        else:
            raise ValueError(f'unknown Topology Manager Policy option: "{name}"')
    return TopologyOptions(closest, most)


def check_policies(settings: PlacementSettings) -> None:
    """Raise ValueError for a policy or scope that there is not."""
    if settings.cpu_policy not in (NONE, STATIC_CPUS):
        raise ValueError(f'unknown policy: "{settings.cpu_policy}"')
    if settings.cpu_policy == NONE and settings.cpu_options:
        listed = " ".join(f"{k}:{v}" for k, v in sorted(settings.cpu_options.items()))
        raise ValueError(f"None policy: received unsupported options=map[{listed}]")
    if settings.memory_policy == "BestEffort":
        raise ValueError('policy "BestEffort" is not available for platform "linux"')
    if settings.memory_policy not in (NO_MEMORY, STATIC_MEMORY):
        raise ValueError(f'unknown policy: "{settings.memory_policy}"')
    if settings.topology_policy not in POLICIES:
        raise ValueError(f'unknown policy: "{settings.topology_policy}"')
    if settings.topology_scope not in SCOPES:
        raise ValueError(f'unknown scope: "{settings.topology_scope}"')


def _flag(name: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise ValueError(f'bad value for option "{name}": strconv.ParseBool: parsing "{value}": invalid syntax')
    return value in _TRUE


def _most_nodes(name: str, value: str) -> int:
    try:
        most = int(value)
    except ValueError:
        text = f'strconv.Atoi: parsing "{value}": invalid syntax'
        raise ValueError(f'unable to convert policy option to integer "{name}": {text}') from None
    if most < MOST_NODES:
        raise ValueError(f'the minimum value of "{name}" should not be less than {MOST_NODES}')
    return most
