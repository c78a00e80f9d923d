"""KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): read from a file, checked, made into profiles.

Everything that decides anything is followed; what is about another process (leader election, client connections,
debugging, parallelism) is accepted and has no meaning here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumo.kubernetes.scheduler.extender_settings import ExtenderSettings, read_extender
from kumo.kubernetes.scheduler.plugins.base import Plugin
from kumo.kubernetes.scheduler.plugins.resource_claims import NAME as CLAIMS
from kumo.kubernetes.scheduler.profile import (
    DEFAULT_NAME,
    DEFAULT_PLUGINS,
    FACTORIES,
    GATES,
    PREEMPTION,
    Profile,
    default_profile,
)
from kumo.kubernetes.scheduler.settings import SettingsError, fields_of, integer, items, known_fields, text_of

API_VERSION = "kubescheduler.config.k8s.io/v1"
KIND = "KubeSchedulerConfiguration"
_TOP = [
    "apiVersion",
    "kind",
    "parallelism",
    "leaderElection",
    "clientConnection",
    "enableProfiling",
    "enableContentionProfiling",
    "percentageOfNodesToScore",
    "podInitialBackoffSeconds",
    "podMaxBackoffSeconds",
    "profiles",
    "extenders",
    "delayCacheUntilActive",
]
POINTS = [
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "multiPoint",
]
_KNOWN = frozenset(name for name, _ in DEFAULT_PLUGINS)
_ARGS = {
    "DefaultPreemption": ("minCandidateNodesPercentage", "minCandidateNodesAbsolute"),
    "InterPodAffinity": ("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"),
    "NodeAffinity": ("addedAffinity",),
    "NodeResourcesBalancedAllocation": ("resources",),
    "NodeResourcesFit": ("ignoredResources", "ignoredResourceGroups", "scoringStrategy"),
    "PodTopologySpread": ("defaultConstraints", "defaultingType"),
    "VolumeBinding": ("bindTimeoutSeconds", "shape"),
}
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says: the profiles, the extenders, and how long pods back off (seconds)."""

    profiles: tuple[Profile, ...] = (default_profile(),)
    extenders: tuple[ExtenderSettings, ...] = ()
    initial_backoff: float = 1.0
    max_backoff: float = 10.0


def read(path: Path) -> Configuration:
    """The configuration in a file (YAML or JSON). Raises SettingsError, which names the file and the field."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    try:
        return parse(document)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def parse(document: Any) -> Configuration:
    """The configuration that a document describes. Raises SettingsError."""
    body = fields_of(document, "the document")
    if body.get("apiVersion") != API_VERSION or body.get("kind") != KIND:
        raise SettingsError(f"apiVersion and kind must be {API_VERSION} and {KIND}")
    known_fields(body, _TOP, "")
    percentage = integer(body, "percentageOfNodesToScore", 0, 0, 100)
    first = integer(body, "podInitialBackoffSeconds", 1, 1, 1 << 31)
    longest = integer(body, "podMaxBackoffSeconds", 10, 1, 1 << 31)
    if longest < first:
        raise SettingsError("podMaxBackoffSeconds: must be greater than or equal to podInitialBackoffSeconds")
    extenders = tuple(
        read_extender(fields_of(e, f"extenders[{i}]"), f"extenders[{i}]")
        for i, e in enumerate(items(body, "extenders", ""))
    )
    unfitted = sorted({name for extender in extenders for name in extender.unfitted})
    profiles = tuple(
        _profile(fields_of(p, f"profiles[{i}]"), f"profiles[{i}]", percentage, unfitted)
        for i, p in enumerate(items(body, "profiles", "") or [{}])
    )
    names = [p.name for p in profiles]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise SettingsError(f'profiles[{i}].schedulerName: duplicate value: "{name}"')
    if sum(bool(e.bind_verb) for e in extenders) > 1:
        raise SettingsError("extenders: only one extender can implement bind")
    return Configuration(profiles, extenders, float(first), float(longest))


def _profile(body: Mapping[str, Any], where: str, percentage: int, unfitted: Sequence[str]) -> Profile:
    known_fields(body, ("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"), where)
    name = text_of(body, "schedulerName", where) or DEFAULT_NAME
    plugins = fields_of(body.get("plugins") or {}, f"{where}.plugins")
    known_fields(plugins, POINTS, f"{where}.plugins")
    args = _arguments(items(body, "pluginConfig", where), f"{where}.pluginConfig")
    if unfitted:
        fit = args.get("NodeResourcesFit", {})
        args["NodeResourcesFit"] = {**fit, "ignoredResources": [*(fit.get("ignoredResources") or ()), *unfitted]}
    made = {plugin: factory(args.get(plugin, {})) for plugin, factory in FACTORIES.items()}
    enabled = {point: _enabled(plugins, point, f"{where}.plugins") for point in POINTS if point != "multiPoint"}
    if "PrioritySort" not in enabled["queueSort"]:
        raise SettingsError(
            f'{where}: only one queue sort plugin required for profile with scheduler name "{name}", but got 0'
        )
    if "DefaultBinder" not in enabled["bind"]:
        raise SettingsError(f'{where}: at least one bind plugin is needed for profile with scheduler name "{name}"')
    weights = enabled["score"]
    filtering = {**enabled["filter"], **enabled["preFilter"]}
    preemption = args.get(PREEMPTION, {})
    return Profile(
        name,
        filters=tuple(p for p in _ordered(made, filtering) if p.filters),
        scorers=tuple((p, weights[p.name]) for p in _ordered(made, weights) if p.scores and weights[p.name]),
        percentage=integer(body, "percentageOfNodesToScore", percentage, 0, 100),
        preemption=PREEMPTION in enabled["postFilter"],
        claims=CLAIMS in enabled["postFilter"],
        gates=GATES in enabled["preEnqueue"],
        candidates=(
            integer(preemption, "minCandidateNodesPercentage", 10, 0, 100),
            integer(preemption, "minCandidateNodesAbsolute", 100, 0, 1 << 31),
        ),
        bind_timeout=float(integer(args.get("VolumeBinding", {}), "bindTimeoutSeconds", 600, 0, 1 << 31)),
        by_name=made,
    )


def _ordered(made: Mapping[str, Plugin], enabled: Mapping[str, int]) -> list[Plugin]:
    return [made[name] for name in enabled if name in made]


def _enabled(plugins: Mapping[str, Any], point: str, where: str) -> dict[str, int]:
    """The plugins of an extension point with their weights, in order: the point's own, then those of all points."""
    general, off_everywhere = _set(plugins, "multiPoint", where)
    own, off = _set(plugins, point, where)
    found: dict[str, int] = {}
    for name, weight in own.items():
        found[name] = weight or dict(DEFAULT_PLUGINS).get(name) or 1
    everywhere: dict[str, int] = {}
    for name, weight in DEFAULT_PLUGINS:
        if "*" not in off_everywhere and name not in off_everywhere:
            everywhere[name] = general.get(name) or weight
    for name, weight in general.items():
        everywhere.setdefault(name, weight)
    for name, weight in everywhere.items():
        if name not in found and name not in off and "*" not in off:
            found[name] = weight or 1
    return found


def _set(plugins: Mapping[str, Any], point: str, where: str) -> tuple[dict[str, int], set[str]]:
    body = fields_of(plugins.get(point) or {}, f"{where}.{point}")
    known_fields(body, ("enabled", "disabled"), f"{where}.{point}")
    enabled: dict[str, int] = {}
    for i, entry in enumerate(items(body, "enabled", f"{where}.{point}")):
        at = f"{where}.{point}.enabled[{i}]"
        name = text_of(fields_of(entry, at), "name", at)
        if name not in _KNOWN:
            raise SettingsError(f'{at}.name: "{name}" is no plugin; there are: {", ".join(sorted(_KNOWN))}')
        if name in enabled:
            raise SettingsError(f'{at}.name: "{name}" is enabled twice')
        enabled[name] = integer(entry, "weight", 0, 0, 1 << 31)
    disabled = {
        text_of(fields_of(entry, f"{where}.{point}.disabled[{i}]"), "name", f"{where}.{point}.disabled[{i}]")
        for i, entry in enumerate(items(body, "disabled", f"{where}.{point}"))
    }
    return enabled, disabled


def _arguments(entries: Sequence[Any], where: str) -> dict[str, Mapping[str, Any]]:
    """The arguments of plugins by name, checked."""
    found: dict[str, Mapping[str, Any]] = {}
    for i, entry in enumerate(entries):
        at = f"{where}[{i}]"
        body = fields_of(entry, at)
        known_fields(body, ("name", "args"), at)
        name = text_of(body, "name", at)
        if name in found:
            raise SettingsError(f"{at}: repeated config for plugin {name}")
        if name not in _ARGS:
            raise SettingsError(f'{at}.name: "{name}" is no plugin with arguments; such are: {", ".join(_ARGS)}')
        args = fields_of(body.get("args") or {}, f"{at}.args")
        known_fields(args, (*_ARGS[name], "apiVersion", "kind"), f"{at}.args")
        _check(name, args, f"{at}.args")
        found[name] = args
    return found


def _check(name: str, args: Mapping[str, Any], where: str) -> None:
    if name == "NodeResourcesFit":
        strategy = fields_of(args.get("scoringStrategy") or {}, f"{where}.scoringStrategy")
        kind = strategy.get("type") or _STRATEGIES[0]
        if kind not in _STRATEGIES:
            raise SettingsError(f"{where}.scoringStrategy.type: {kind!r} is none of {', '.join(_STRATEGIES)}")
        _check_resources(strategy, f"{where}.scoringStrategy")
        if kind == "RequestedToCapacityRatio":
            _check_shape(strategy, f"{where}.scoringStrategy.requestedToCapacityRatio")
    elif name == "NodeResourcesBalancedAllocation":
        _check_resources(args, where)
    elif name == "InterPodAffinity":
        integer(args, "hardPodAffinityWeight", 1, 0, 100)
    elif name == "PodTopologySpread":
        kind = args.get("defaultingType") or "System"
        if kind not in ("System", "List"):
            raise SettingsError(f"{where}.defaultingType: {kind!r} is none of System, List")
        for i, constraint in enumerate(items(args, "defaultConstraints", where)):
            _check_constraint(
                fields_of(constraint, f"{where}.defaultConstraints[{i}]"), f"{where}.defaultConstraints[{i}]"
            )
        if kind == "System" and args.get("defaultConstraints"):
            raise SettingsError(f"{where}.defaultingType: must be List when defaultConstraints are given")


def _check_resources(body: Mapping[str, Any], where: str) -> None:
    for i, entry in enumerate(items(body, "resources", where)):
        at = f"{where}.resources[{i}]"
        text_of(fields_of(entry, at), "name", at)
        integer(entry, "weight", 1, 1, 100)


def _check_shape(strategy: Mapping[str, Any], where: str) -> None:
    ratio = fields_of(strategy.get("requestedToCapacityRatio") or {}, where)
    last = -1
    points = items(ratio, "shape", where)
    if not points:
        raise SettingsError(f"{where}.shape: at least one point must be specified")
    for i, point in enumerate(points):
        at = integer(fields_of(point, f"{where}.shape[{i}]"), "utilization", 0, 0, 100)
        integer(point, "score", 0, 0, 10)
        if at <= last:
            raise SettingsError(f"{where}.shape[{i}].utilization: values must be sorted in increasing order")
        last = at


def _check_constraint(body: Mapping[str, Any], where: str) -> None:
    integer(body, "maxSkew", 0, 1, 1 << 31)
    text_of(body, "topologyKey", where)
    if body.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
        raise SettingsError(f"{where}.whenUnsatisfiable: must be DoNotSchedule or ScheduleAnyway")
    if body.get("labelSelector"):
        raise SettingsError(
            f"{where}.labelSelector: constraint must not define a selector, as they are deduced for each pod"
        )
