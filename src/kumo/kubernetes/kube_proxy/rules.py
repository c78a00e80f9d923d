"""The wanted state in nft's language: one family's table without Services, and the `Fragment` of each Service. No I/O.

service-ips          address . protocol . port -> chain of the Service port (or of its external way)
service-nodeports    protocol . port           -> its external way
unanswered-*         the same, for ports that nobody answers: refused, or dropped where only another node may answer
balanced             addresses of load balancers: whatever is no port of theirs is refused
hairpin              address . address of every endpoint among the pods: who reaches himself is masqueraded
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from kumo.host.fragments import Element, Fragment, disjoint
from kumo.host.nftables import replaced
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig, Network
from kumo.kubernetes.kube_proxy.endpoints import Endpoint
from kumo.kubernetes.kube_proxy.services import ServicePort


def base(config: KubeProxyConfig, network: Network) -> str:
    """The family's table without any Service, in place of whatever was there.

    Refusals come after the address translation (priority 0): what still has an address of the service range then has
    no Service, no such port or no endpoint.
    """
    mark, family = f"{config.mark:#x}", network.family
    ip, address = family.keyword, family.address_type
    ports = [n for n in config.node_port_addresses if ip_network(n, strict=False).version == family.version]
    on_node = f"{ip} daddr {{ {', '.join(ports)} }} " if ports else ""
    loopback = f"""
        ct status dnat ip saddr 127.0.0.0/8 ip daddr {network.cluster_cidr} masquerade fully-random"""
    nowhere = config.node_port_addresses and not ports
    node_ports = f"{on_node}fib daddr type local {ip} daddr != @balanced meta l4proto . th dport"
    return f"""{replaced(ip, config.table)}
table {ip} {config.table} {{
    map service-ips {{ type {address} . inet_proto . inet_service : verdict; }}
    map service-nodeports {{ type inet_proto . inet_service : verdict; }}
    map unanswered-ips {{ type {address} . inet_proto . inet_service : verdict; }}
    map unanswered-nodeports {{ type inet_proto . inet_service : verdict; }}
    set balanced {{ type {address}; }}
    set hairpin {{ type {address} . {address}; }}

    chain mark-for-masquerade {{
        meta mark set meta mark or {mark}
    }}
    chain services {{
        {ip} daddr {network.service_cidr} {ip} saddr != {network.cluster_cidr} jump mark-for-masquerade
        {ip} daddr . meta l4proto . th dport vmap @service-ips
        {"" if nowhere else f"{node_ports} vmap @service-nodeports"}
    }}
    chain prerouting {{ type nat hook prerouting priority dstnat; goto services; }}
    chain output {{ type nat hook output priority -100; goto services; }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ct status dnat {ip} saddr . {ip} daddr @hairpin masquerade fully-random{loopback if ip == "ip" else ""}
        meta mark and {mark} != {mark} return
        meta mark set meta mark xor {mark}
        masquerade fully-random
    }}
    chain refuse {{
        meta l4proto tcp reject with tcp reset
        reject
    }}
    chain refuse-new {{
        {ip} daddr . meta l4proto . th dport vmap @unanswered-ips
        {ip} daddr {network.service_cidr} goto refuse
        {ip} daddr @balanced meta l4proto {{ tcp, udp, sctp }} goto refuse
        {"" if nowhere else f"{node_ports} vmap @unanswered-nodeports"}
    }}
    chain filter-input {{ type filter hook input priority filter; ct state new goto refuse-new; }}
    chain filter-forward {{ type filter hook forward priority filter; ct state new goto refuse-new; }}
    chain filter-output {{ type filter hook output priority filter; ct state new goto refuse-new; }}
}}
"""


class Writer:
    """Fragments of one family. `own_addresses` are the node's, as far as they decide about source ranges."""

    def __init__(self, network: Network, own_addresses: Iterable[str] = ()) -> None:
        self._network = network
        self._family = network.family
        self._pods = ip_network(network.cluster_cidr)
        own = [ip_address(a) for a in own_addresses]
        self._own = [a for a in own if a.version == self._family.version]

    def fragment(self, ports: Iterable[ServicePort]) -> Fragment:
        """What a Service's ports add."""
        made = Fragment()
        for port in ports:
            self._add_port(made, port)
            for endpoint in {*port.inside, *((*port.cluster, *port.local) if port.is_external else ())}:
                if ip_address(endpoint.address) in self._pods:
                    made.elements[Element("hairpin", f"{endpoint.address} . {endpoint.address}")] = ""
            for address in port.balanced:
                made.elements[Element("balanced", address)] = ""
        return made

    def _add_port(self, made: Fragment, port: ServicePort) -> None:
        inside = self._add_choice(made, port, port.inside)
        for address in port.cluster_addresses:
            # Without any endpoint there is nothing to do: the rest of the service range is refused anyway.
            if inside:
                made.elements[Element("service-ips", _address_key(address, port))] = f"goto {inside}"
            elif port.anywhere:
                made.elements[Element("unanswered-ips", _address_key(address, port))] = "drop"
        if not port.is_external:
            return
        outside = self._add_external(made, port)
        guarded = self._add_guard(made, port, outside) if outside and port.balanced and port.source_ranges else outside
        for addresses, chain in ((port.external_addresses, outside), (port.balanced, guarded)):
            for address in addresses:
                _lead(made, "ips", _address_key(address, port), chain)
        if port.node_port:
            _lead(made, "nodeports", f"{port.protocol} . {port.node_port}", outside)

    def _add_external(self, made: Fragment, port: ServicePort) -> str:
        """The way in from outside: masqueraded, or only to this node's endpoints with the client's address kept.

        Pods and the node itself use the whole cluster's endpoints even where the policy is Local. The chain's name, or
        "" when there is nobody to answer.
        """
        if not port.anywhere:
            return ""
        cluster = self._add_choice(made, port, port.cluster)
        name = _name("ext", port, "")
        if not port.external_local:
            if not cluster:
                return ""
            made.chains[name] = ("jump mark-for-masquerade", f"goto {cluster}")
            return name
        local = self._add_choice(made, port, port.local)
        rules = []
        if cluster:
            rules += [
                f"{self._family.keyword} saddr {self._network.cluster_cidr} goto {cluster}",
                "fib saddr type local jump mark-for-masquerade",
                f"fib saddr type local goto {cluster}",
            ]
        rules.append(f"goto {local}" if local else "drop")
        made.chains[name] = tuple(rules)
        return name

    def _add_guard(self, made: Fragment, port: ServicePort, outside: str) -> str:
        """What only the source ranges may pass; and the node (as the balancer's address), if its own is in them."""
        ranges = [ip_network(r) for r in port.source_ranges]
        sources = list(port.source_ranges)
        if any(a in r for a in self._own for r in ranges):
            sources += [a for a in port.balanced if not any(ip_address(a) in r for r in ranges)]
        name = _name("fw", port, "")
        made.chains[name] = (
            f"{self._family.keyword} saddr != {{ {', '.join(disjoint(sources))} }} drop",
            f"goto {outside}",
        )
        return name

    def _add_choice(self, made: Fragment, port: ServicePort, endpoints: tuple[Endpoint, ...]) -> str:
        """The chain that leads to the endpoints by turns; its name, or "" without endpoints."""
        if not endpoints:
            return ""
        # The set of endpoints is in the name where the policies differ, so that each has its chain.
        name = _name("svc" if endpoints == port.cluster else "loc", port, "")
        if name in made.chains:
            return name
        if port.affinity:
            made.chains[name] = self._sticky(made, port, endpoints)
        elif len(endpoints) == 1:
            target = self._family.target(*endpoints[0])
            made.chains[name] = (f"meta l4proto {port.protocol} dnat to {target}",)
        else:
            choices = ", ".join(f"{n} : {e.address} . {e.port}" for n, e in enumerate(endpoints))
            made.chains[name] = (
                f"meta l4proto {port.protocol} dnat {self._family.keyword} to "
                f"numgen inc mod {len(endpoints)} map {{ {choices} }}",
            )
        return name

    def _sticky(self, made: Fragment, port: ServicePort, endpoints: tuple[Endpoint, ...]) -> tuple[str, ...]:
        """Each endpoint has a set of the clients it served of late, in which they are looked up first."""
        ip, rules, choices = self._family.keyword, [], []
        for number, endpoint in enumerate(endpoints):
            target = self._family.target(*endpoint)
            clients = _name("aff", port, f"{target}/{port.affinity}")
            chain = _name("ep", port, f"{target}/{port.affinity}")
            made.sets[clients] = (
                f"type {self._family.address_type}; size 65535; flags dynamic,timeout; timeout {port.affinity}s;"
            )
            made.chains[chain] = (
                f"update @{clients} {{ {ip} saddr }}",
                f"meta l4proto {port.protocol} dnat to {target}",
            )
            rules.append(f"{ip} saddr @{clients} goto {chain}")
            choices.append(f"{number} : goto {chain}")
        rules.append(f"numgen inc mod {len(endpoints)} vmap {{ {', '.join(choices)} }}")
        return tuple(rules)


def _lead(made: Fragment, kind: str, key: str, chain: str) -> None:
    place, value = (f"service-{kind}", f"goto {chain}") if chain else (f"unanswered-{kind}", "goto refuse")
    made.elements[Element(place, key)] = value


def _address_key(address: str, port: ServicePort) -> str:
    return f"{address} . {port.protocol} . {port.port}"


def _name(prefix: str, port: ServicePort, more: str) -> str:
    """A unique name that can be read in `nft list`, at most 100 characters long."""
    digest = hashlib.sha256(f"{port.title}/{port.protocol}/{more}".encode()).hexdigest()[:12]
    return f"{prefix}-{digest}-{port.title}"[:100].rstrip("-./")
