"""NetworkPolicies and pods as values: what decides about packets, and nothing else. No I/O.

Source: the NetworkPolicy API (networking.k8s.io/v1), with its defaults: a policy without `policyTypes` isolates for
ingress, and for egress too if it has egress rules; a rule without peers means everybody, without ports every port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from kumo.api.objects import Key, Object, annotations_of, key_of, labels_of, namespace_of, uid_of
from kumo.api.selectors import matches

INGRESS, EGRESS = "in", "out"
_ENDED = ("Succeeded", "Failed")


class NamedPort(NamedTuple):
    """A port that a pod has given a name; `protocol` in lower case."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as far as policies see it. One without addresses is nobody."""

    key: Key
    labels: Mapping[str, str]
    node: str
    addresses: tuple[str, ...] = ()
    ports: frozenset[NamedPort] = frozenset()
    uid: str = ""


@dataclass(frozen=True, slots=True)
class PortMatch:
    """Ports of one protocol: one by its number, one by its name, a range, or all (number 0 and no name)."""

    protocol: str
    number: int = 0
    last: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A range of addresses without some of it."""

    cidr: str
    excepts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Pods by their namespace and labels; without a namespace selector those of the policy's own namespace."""

    namespaces: Mapping[str, Any] | None
    pods: Mapping[str, Any] | None

    def means(self, pod: Pod, policy_namespace: str, namespace_labels: Mapping[str, str] | None) -> bool:
        """Whether the pod is meant; `namespace_labels` are those of its namespace, None if that is unknown."""
        if self.namespaces is None:
            if pod.key.namespace != policy_namespace:
                return False
        elif namespace_labels is None or not matches(self.namespaces, namespace_labels):
            return False
        return self.pods is None or matches(self.pods, pod.labels)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may, at which ports. No peers: everybody; no ports: all of them."""

    blocks: tuple[Block, ...] = ()
    selections: tuple[Selection, ...] = ()
    everybody: bool = False
    ports: tuple[PortMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; `ingress` and `egress` are None where it does not isolate."""

    key: Key
    selector: Mapping[str, Any]
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None

    def selects(self, pod: Pod) -> bool:
        """Whether the policy is about the pod."""
        return pod.key.namespace == self.key.namespace and matches(self.selector, pod.labels)

    def rules(self, direction: str) -> tuple[Rule, ...] | None:
        """The rules for `INGRESS` or `EGRESS`."""
        return self.ingress if direction == INGRESS else self.egress

    @property
    def selections(self) -> list[Selection]:
        """Every peer that is meant by labels."""
        return [s for rules in (self.ingress, self.egress) for rule in rules or () for s in rule.selections]

    @property
    def names(self) -> bool:
        """Whether a port is meant by its name."""
        return any(p.name for rules in (self.ingress, self.egress) for rule in rules or () for p in rule.ports)


def pod_of(obj: Object) -> Pod | None:
    """The pod, unless it shares the node's network or has ended. Its addresses are those in its status."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in _ENDED:
        return None
    listed = [entry.get("ip") for entry in status.get("podIPs") or ()] or [status.get("podIP")]
    addresses = tuple(a for a in listed if a)
    return Pod(
        key_of(obj), labels_of(obj), spec.get("nodeName") or "", addresses, frozenset(_named(spec)), identity_of(obj)
    )


def identity_of(obj: Object) -> str:
    """The UID by which the pod's node knows it: of a mirror, that of the static pod it shows."""
    return annotations_of(obj).get("kubernetes.io/config.mirror") or uid_of(obj)


def _named(spec: Mapping[str, Any]) -> Iterable[NamedPort]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name"):
                protocol = str(port.get("protocol") or "TCP").lower()
                yield NamedPort(port["name"], protocol, int(port["containerPort"]))


def policy_of(obj: Object) -> Policy:
    """The policy."""
    spec = obj.get("spec") or {}
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    ingress = tuple(_rule(r, "from") for r in spec.get("ingress") or ()) if "Ingress" in types else None
    egress = tuple(_rule(r, "to") for r in spec.get("egress") or ()) if "Egress" in types else None
    return Policy(key_of(obj), spec.get("podSelector") or {}, ingress, egress)


def _rule(rule: Mapping[str, Any], peers: str) -> Rule:
    listed = rule.get(peers) or ()
    blocks = tuple(_block(p["ipBlock"]) for p in listed if p.get("ipBlock"))
    selections = tuple(
        Selection(p.get("namespaceSelector"), p.get("podSelector")) for p in listed if not p.get("ipBlock")
    )
    return Rule(blocks, selections, not listed, tuple(_port(p) for p in rule.get("ports") or ()))


def _block(block: Mapping[str, Any]) -> Block:
    whole = ip_network(block["cidr"], strict=False)
    excepts = tuple(str(ip_network(e, strict=False)) for e in block.get("except") or ())
    return Block(str(whole), excepts)


def _port(port: Mapping[str, Any]) -> PortMatch:
    protocol, found = str(port.get("protocol") or "TCP").lower(), port.get("port")
    if found is None:
        return PortMatch(protocol)
    if isinstance(found, str):
        return PortMatch(protocol, name=found)
    return PortMatch(protocol, int(found), int(port.get("endPort") or found))


def family_of(address: str) -> str:
    """`ip` or `ip6`."""
    return "ip" if ip_address(address).version == 4 else "ip6"


def resolver_pods(piece: Object, labels: Mapping[str, str]) -> list[Pod]:
    """The cluster DNS of each node as pods, which it is elsewhere: policies that allow it by labels must mean it."""
    ports = frozenset(
        NamedPort(str(p.get("name") or ""), str(p.get("protocol") or "TCP").lower(), int(p["port"]))
        for p in piece.get("ports") or ()
        if p.get("port")
    )
    return [
        Pod(Key(namespace_of(piece), f"cluster-dns {address}"), labels, "", (address,), ports)
        for endpoint in piece.get("endpoints") or ()
        if not endpoint.get("targetRef")
        for address in endpoint["addresses"]
    ]
