"""Policies and pods in nft's language, for one family. No I/O.

A pod that is isolated has an entry in `isolated-in` or `isolated-out`, which leads to the chain of just the policies
that are about it; pods with the same policies share it. Each of these jumps to its policies' chains, and drops what
none of them lets through. Who may leave goes on to the check of who may come in (`inward`).

Only new connections are judged. What a pod says to itself passes, and what its own node says to it (the kubelet's
probes); pods in the node's network are the node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Protocol

from kumo.api.objects import Key
from kumo.host.fragments import Element, Fragment, disjoint
from kumo.host.nftables import replaced
from kumo.kubernetes.network_policy.policies import (
    EGRESS,
    INGRESS,
    Block,
    Pod,
    Policy,
    PortMatch,
    Rule,
    Selection,
    family_of,
)

FAMILIES = ("ip", "ip6")
_ALLOWED = {INGRESS: "accept", EGRESS: "goto inward"}
_PEER = {INGRESS: "saddr", EGRESS: "daddr"}
_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept"


def base(table: str, family: str) -> str:
    """The family's table without any policy, in place of whatever was there."""
    address = "ipv4_addr" if family == "ip" else "ipv6_addr"
    begin = f"""ct state established,related accept
        {_NEIGHBOURS if family == "ip6" else ""}
        {family} saddr . {family} daddr @self accept
        {family} saddr vmap @isolated-out"""
    return f"""{replaced(family, table)}
table {family} {table} {{
    map isolated-in {{ type {address} : verdict; }}
    map isolated-out {{ type {address} : verdict; }}
    set self {{ type {address} . {address}; }}

    chain inward {{
        {family} daddr vmap @isolated-in
        accept
    }}
    chain forward {{
        type filter hook forward priority filter + 5;
        {begin}
        goto inward
    }}
    chain input {{
        type filter hook input priority filter + 5;
        {begin}
    }}
}}
"""


def pod_fragment(pod: Pod, isolating: Mapping[str, Sequence[Policy]], family: str) -> Fragment:
    """The entries of a pod with the policies that isolate it in each direction."""
    made = Fragment()
    for address in pod.addresses:
        if family_of(address) != family:
            continue
        for direction, policies in isolating.items():
            if policies:
                chain = gate_name(direction, policies)
                made.elements[Element(f"isolated-{direction}", address)] = f"goto {chain}"
                made.elements[Element("self", f"{address} . {address}")] = ""
    return made


def gate_fragment(direction: str, policies: Sequence[Policy]) -> Fragment:
    """The chain of pods that are isolated by just these policies."""
    jumps = tuple(f"jump {policy_name(direction, p.key)}" for p in _sorted(policies))
    return Fragment(chains={gate_name(direction, policies): (*jumps, "drop")})


def gate_key(direction: str, policies: Sequence[Policy]) -> Key:
    """Whose fragment a gate is."""
    return Key("gate", gate_name(direction, policies))


def gate_name(direction: str, policies: Sequence[Policy]) -> str:
    """The name of the chain of these policies."""
    return f"{direction}-{_digest(*(str(p.key) for p in _sorted(policies)))}"


def policy_name(direction: str, key: Key) -> str:
    """The name of a policy's chain, which can be read in `nft list`."""
    return f"policy-{direction}-{_digest(str(key))}-{key.namespace}/{key.name}"[:100].rstrip("-./")


def _sorted(policies: Sequence[Policy]) -> list[Policy]:
    return sorted(policies, key=lambda p: p.key)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


class World(Protocol):
    """Which pods there are, for `PolicyWriter`."""

    def pods(self) -> Iterable[Pod]:
        """Everybody in the cluster."""
        ...

    def selected(self, policy: Policy) -> Iterable[Pod]:
        """Whom the policy is about."""
        ...

    def meant(self, selection: Selection, namespace: str) -> Iterable[Pod]:
        """Whom a peer of a policy in that namespace means."""
        ...


class PolicyWriter:
    """One policy's fragment in one family; `world` gives the pods that are meant now."""

    def __init__(self, policy: Policy, family: str, world: World) -> None:
        self._policy = policy
        self._family = family
        self._world = world
        self._made = Fragment()

    def fragment(self) -> Fragment:
        """Chains, sets and elements."""
        for direction in (INGRESS, EGRESS):
            rules = self._policy.rules(direction)
            if rules is None:
                continue
            lines = [line for n, rule in enumerate(rules) for line in self._lines(direction, n, rule)]
            self._made.chains[policy_name(direction, self._policy.key)] = tuple(lines)
        return self._made

    def _lines(self, direction: str, number: int, rule: Rule) -> Iterable[str]:
        for peer in self._peers(direction, number, rule):
            for port in self._ports(direction, rule.ports):
                yield " ".join(part for part in (peer, port, _ALLOWED[direction]) if part)

    def _peers(self, direction: str, number: int, rule: Rule) -> Iterable[str]:
        if rule.everybody:
            yield ""
        where = f"{self._family} {_PEER[direction]}"
        for block in rule.blocks:
            text = _block(block, where, self._family)
            if text is not None:
                yield text
        if rule.selections:
            name = f"peers-{direction}-{number}-{_digest(str(self._policy.key))}"
            pods = [p for s in rule.selections for p in self._world.meant(s, self._policy.key.namespace)]
            self._set(name, "", {a for pod in pods for a in self._addresses(pod)})
            yield f"{where} @{name}"

    def _ports(self, direction: str, ports: Sequence[PortMatch]) -> Iterable[str]:
        if not ports:
            yield ""
        for protocol in sorted({p.protocol for p in ports}):
            mine = [p for p in ports if p.protocol == protocol]
            if any(not p.number and not p.name for p in mine):
                yield f"meta l4proto {protocol}"
                continue
            ranges = _merged((p.number, p.last) for p in mine if p.number)
            if ranges:
                yield f"{protocol} dport {{ {', '.join(f'{a}-{b}' if a != b else str(a) for a, b in ranges)} }}"
            for name in sorted({p.name for p in mine if p.name}):
                yield self._named(direction, protocol, name)

    def _named(self, direction: str, protocol: str, port: str) -> str:
        """A name means what the pod that is talked to calls so: one that the policy is about, or any one."""
        pods = self._world.pods() if direction == EGRESS else self._world.selected(self._policy)
        name = f"ports-{direction}-{_digest(str(self._policy.key), protocol, port)}"
        keys = {
            f"{address} . {p.number}"
            for pod in pods
            for p in pod.ports
            if (p.name, p.protocol) == (port, protocol)
            for address in self._addresses(pod)
        }
        self._set(name, " . inet_service", keys)
        return f"meta l4proto {protocol} {self._family} daddr . th dport @{name}"

    def _addresses(self, pod: Pod) -> list[str]:
        return [a for a in pod.addresses if family_of(a) == self._family]

    def _set(self, name: str, more: str, keys: set[str]) -> None:
        address = "ipv4_addr" if self._family == "ip" else "ipv6_addr"
        self._made.sets[name] = f"type {address}{more};"
        for key in sorted(keys):
            self._made.elements[Element(name, key)] = ""


def _block(block: Block, where: str, family: str) -> str | None:
    whole = ip_network(block.cidr)
    if (whole.version == 4) != (family == "ip"):
        return None
    parts = [f"{where} {whole}"] if whole.prefixlen else []
    if block.excepts:
        parts.append(f"{where} != {{ {', '.join(disjoint(block.excepts))} }}")
    return " ".join(parts)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges without overlaps, which a set of intervals does not take."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found
