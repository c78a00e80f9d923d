"""Rules on what an instance takes over from pods: names, DNS, affinity, spreading, probes, accounts."""

from __future__ import annotations

import ipaddress
from typing import Any

from kumo.kubevirt.common.specs import Spec, pod_network, volumes
from kumo.kubevirt.virt_api.validation.causes import (
    Causes,
    invalid,
    label_problems,
    required,
    subdomain_problems,
    unsupported,
)

_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None", "")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def name_rules(field: str, spec: Spec) -> Causes:
    """Host name and subdomain."""
    if spec.get("hostname"):
        problems = label_problems(spec["hostname"])
        if problems:
            path = f"{field}.hostname"
            yield invalid(path, f"{path} does not conform to the kubernetes DNS_LABEL rules : {', '.join(problems)}")
    if spec.get("subdomain"):
        problems = subdomain_problems(spec["subdomain"])
        if problems:
            path = f"{field}.subdomain"
            text = f"{path} does not conform to the kubernetes DNS_SUBDOMAIN rules : {', '.join(problems)}"
            yield invalid(path, text)


def affinity_rules(field: str, spec: Spec) -> Causes:
    """Affinities must be ones that a pod may have; paths are upstream's, which leave `affinity` out."""
    affinity = spec.get("affinity") or {}
    node = affinity.get("nodeAffinity") or {}
    hard = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    base = f"{field}.nodeAffinity"
    if hard is not None:
        path = f"{base}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        if not hard.get("nodeSelectorTerms"):
            message = "must have at least one node selector term"
            yield invalid(path, f"{path}: Required value: {message}")
        for index, term in enumerate(hard.get("nodeSelectorTerms") or ()):
            yield from _node_term_rules(f"{path}[{index}]", term)
    for index, soft in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        path = f"{base}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _weight_rules(path, soft.get("weight", 0))
        yield from _node_term_rules(f"{path}.preference", soft.get("preference") or {})
    for kind in ("podAffinity", "podAntiAffinity"):
        yield from _pod_affinity_rules(f"{field}.{kind}", affinity.get(kind) or {})


def _weight_rules(path: str, weight: int) -> Causes:
    if not 1 <= weight <= 100:
        path = f"{path}.weight"
        yield invalid(path, f"{path}: Invalid value: {weight}: must be in the range 1-100")


def _node_term_rules(path: str, term: dict[str, Any]) -> Causes:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        own = f"{path}.matchExpressions[{index}]"
        operator, values = expression.get("operator"), expression.get("values") or []
        if operator not in _OPERATORS:
            message = f'Invalid value: "{operator}": not a valid selector operator'
            yield invalid(f"{own}.operator", f"{own}.operator: {message}")
        elif operator in ("In", "NotIn") and not values:
            message = "Required value: must be specified when `operator` is 'In' or 'NotIn'"
            yield invalid(f"{own}.values", f"{own}.values: {message}")
        elif operator in ("Exists", "DoesNotExist") and values:
            message = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield invalid(f"{own}.values", f"{own}.values: {message}")
        elif operator in ("Gt", "Lt") and len(values) != 1:
            message = "Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield invalid(f"{own}.values", f"{own}.values: {message}")


def _pod_affinity_rules(base: str, affinity: dict[str, Any]) -> Causes:
    for index, term in enumerate(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
        path = f"{base}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _topology_key_rules(path, term)
    for index, soft in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        path = f"{base}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        yield from _weight_rules(path, soft.get("weight", 0))
        yield from _topology_key_rules(f"{path}.podAffinityTerm", soft.get("podAffinityTerm") or {})


def _topology_key_rules(path: str, term: dict[str, Any]) -> Causes:
    if not term.get("topologyKey"):
        path = f"{path}.topologyKey"
        yield invalid(path, f"{path}: Required value: can not be empty")


def spread_rules(field: str, spec: Spec) -> Causes:
    """Topology spread constraints."""
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        path = f"{field}.topologySpreadConstraints[{index}]"
        skew = constraint.get("maxSkew", 0)
        if skew <= 0:
            yield invalid(f"{path}.maxSkew", f"{path}.maxSkew: Invalid value: {skew}: must be greater than zero")
        if not constraint.get("topologyKey"):
            yield invalid(f"{path}.topologyKey", f"{path}.topologyKey: Required value: can not be empty")
        action = constraint.get("whenUnsatisfiable")
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            known = '"DoNotSchedule", "ScheduleAnyway"'
            message = f'{path}.whenUnsatisfiable: Unsupported value: "{action}": supported values: {known}'
            yield invalid(f"{path}.whenUnsatisfiable", message)


def probe_rules(field: str, spec: Spec) -> Causes:
    """Readiness and liveness probes: one handler each, and the pod network where it needs one."""
    kinds = ("readinessProbe", "livenessProbe")
    for kind in kinds:
        probe, path = spec.get(kind), f"{field}.{kind}"
        if probe is None:
            continue
        count = sum(probe.get(h) is not None for h in ("httpGet", "tcpSocket", "exec", "guestAgentPing"))
        if count > 1:
            yield invalid(path, f"{path} must have exactly one probe type set")
        if count < 1:
            names = f"either {path}.tcpSocket, {path}.exec or {path}.httpGet must be set"
            yield required(path, f"{names} if a {path} is specified")
    if pod_network(spec) is None:
        for kind in kinds:
            for handler in ("httpGet", "tcpSocket"):
                if (spec.get(kind) or {}).get(handler) is not None:
                    path = f"{field}.{kind}.{handler}"
                    yield invalid(path, f"{path} is only allowed if the Pod Network is attached")


def dns_rules(field: str, spec: Spec) -> Causes:
    """DNS policy and configuration."""
    policy, config, own = spec.get("dnsPolicy", ""), spec.get("dnsConfig"), f"{field}.dnsConfig"
    if policy not in _DNS_POLICIES:
        known = f"[{' '.join(_DNS_POLICIES)}]"
        yield unsupported(f"{field}.dnsPolicy", f"DNSPolicy: {policy} is not supported, valid values: {known}")
    if policy == "None" and config is None:
        yield required(own, "must provide `dnsConfig` when `dnsPolicy` is None")
        return
    servers = (config or {}).get("nameservers") or []
    if policy == "None" and not servers:
        yield required("nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
        return
    if config is None:
        return
    if len(servers) > 3:
        yield invalid("nameservers", f"must not have more than 3 nameservers: [{' '.join(servers)}]")
    for server in servers:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            yield invalid("nameservers", f"must be valid IP address: {server}")
    searches = config.get("searches") or []
    if len(searches) > 6:
        yield invalid("searchDomains", "must not have more than 6 search paths")
    if len(" ".join(searches)) > 256:
        yield invalid("searchDomains", "must not have more than 256 characters (including spaces) in the search list")
    for search in searches:
        for problem in subdomain_problems(search):
            yield invalid("searchDomains", problem)
    if any(not option.get("name") for option in config.get("options") or ()):
        yield invalid("options", "Option.Name must not be empty")


def account_rules(field: str, spec: Spec) -> Causes:
    """The service account, and the volume that may bring it into the guest."""
    name, path = spec.get("serviceAccountName"), f"{field}.serviceAccountName"
    if not name:
        return
    problems = subdomain_problems(name)
    if problems:
        yield invalid(path, f"{path} is not a valid service account name: {'; '.join(problems)}")
    for volume in volumes(spec):
        account = (volume.get("serviceAccount") or {}).get("serviceAccountName", name)
        if account != name:
            words = "must reference the same service account"
            yield invalid(path, f'spec.serviceAccountName "{name}" and serviceAccount volume "{account}" {words}')
            return
