"""What a name in the cluster's zone means. No I/O: a question and the catalog in, records out.

Source: "Kubernetes DNS-Based Service Discovery", schema version 1.1.0; where that is silent, CoreDNS's behaviour.

    <service>.<ns>.svc.<zone>                        A, AAAA, SRV   the cluster IPs; headless: every ready endpoint
    _<port>._<proto>.<service>.<ns>.svc.<zone>       SRV
    <hostname>.<service>.<ns>.svc.<zone>             A, AAAA        one endpoint
    <a-b-c-d>.<ns>.pod.<zone>                        A, AAAA        a pod by its address
    <d.c.b.a>.in-addr.arpa, <...>.ip6.arpa           PTR
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

from dnslib import AAAA, CNAME, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A

from kumo.api.objects import Key, Object, key_of
from kumo.kubernetes.dns.catalog import Backend, cluster_addresses
from kumo.kubernetes.dns.config import ClusterDnsConfig

SCHEMA_VERSION = "1.1.0"
_REVERSE, _REVERSE6 = ".in-addr.arpa", ".ip6.arpa"


class Names(Protocol):
    """What a zone needs of a catalog."""

    def has_namespace(self, name: str) -> bool:
        """Whether there is such a namespace."""
        ...

    def service(self, key: Key) -> Object | None:
        """The Service, or None."""
        ...

    def backends(self, key: Key) -> list[Backend]:
        """The Service's ready endpoints."""
        ...

    def services_at(self, address: str) -> list[Object]:
        """The Services with that cluster IP."""
        ...

    def backends_at(self, address: str) -> list[Backend]:
        """The endpoints with that address."""
        ...


@dataclass(slots=True)
class Found:
    """An answer's content. `alias` is a name that the caller has to resolve and append (ExternalName)."""

    code: int = RCODE.NOERROR
    answers: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    alias: str = ""


class Zone:
    """The authority for the cluster's names."""

    def __init__(self, config: ClusterDnsConfig, names: Names) -> None:
        self._config = config
        self._names = names
        self._zone = config.zone.strip(".").lower()
        self._ranges = [ip_network(r) for r in config.own_ranges if r]

    def owns(self, name: str) -> bool:
        """Whether nobody upstream may be asked for this name (lower case, no dot at its end)."""
        if name == self._zone or name.endswith("." + self._zone):
            return True
        address = _reverse_address(name)
        if address is None:
            return False
        at_home = any(ip_address(address) in r for r in self._ranges)
        return at_home or bool(self._names.services_at(address) or self._names.backends_at(address))

    def soa(self, name: str = "") -> RR:
        """What accompanies a negative answer about the name; its last number is for how long that may be cached.

        It is that of the zone in which the name lies: resolvers take no other's word.
        """
        reverse = next((z for z in (_REVERSE, _REVERSE6) if name.lower().endswith(z)), "")
        ttl = self._config.ttl
        times = (1, 7200, 1800, 86400, ttl)
        server, mailbox = f"ns.dns.{self._zone}.", f"hostmaster.{self._zone}."
        return RR(f"{reverse[1:] or self._zone}.", QTYPE.SOA, rdata=SOA(server, mailbox, times), ttl=ttl)

    def answer(self, name: str, kind: int) -> Found:
        """The records of type `kind` at `name` (as asked, without the dot at its end), which the zone must own."""
        lower = name.lower()
        if lower.endswith((_REVERSE, _REVERSE6)):
            return self._reverse(name, lower, kind)
        labels = lower[: -len(self._zone)].rstrip(".").split(".") if lower != self._zone else []
        match labels:
            case []:
                return self._apex(name, kind)
            case ["dns-version"]:
                return self._only(name, kind, QTYPE.TXT, TXT(SCHEMA_VERSION))
            case ["dns"] | ["svc"] | ["pod"]:
                return Found()
            case ["ns", "dns"]:
                return self._only(name, kind, QTYPE.A, A(self._config.service_address))
            case [namespace, "svc" | "pod"]:
                return Found() if self._names.has_namespace(namespace) else _nothing()
            case [pod, namespace, "pod"]:
                return self._pod(name, kind, pod, namespace)
            case [*rest, service, namespace, "svc"]:
                return self._service(name, kind, rest, Key(namespace, service))
        return _nothing()

    def _record(self, name: str, kind: int, data: object) -> RR:
        return RR(name, kind, rdata=data, ttl=self._config.ttl)

    def _only(self, name: str, kind: int, has: int, data: object) -> Found:
        """A name with one record, of type `has`; asked for any other type it is empty."""
        return Found(answers=[self._record(name, has, data)]) if kind in (has, QTYPE.ANY) else Found()

    def _apex(self, name: str, kind: int) -> Found:
        if kind == QTYPE.SOA:
            return Found(answers=[self.soa()])
        if kind == QTYPE.NS:
            server = f"ns.dns.{self._zone}."
            glue = self._record(server, QTYPE.A, A(self._config.service_address))
            return Found(answers=[self._record(name, QTYPE.NS, NS(server))], additional=[glue])
        return Found()

    def _pod(self, name: str, kind: int, pod: str, namespace: str) -> Found:
        address = _pod_address(pod)
        if not address or not self._names.has_namespace(namespace):
            return _nothing()
        return self._addresses(name, kind, [address])

    # -- services ---------------------------------------------------------------------------------------------------

    def _service(self, name: str, kind: int, rest: list[str], key: Key) -> Found:
        service = self._names.service(key)
        if service is None or len(rest) > 2:
            return _nothing()
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return self._external(name, spec.get("externalName") or "") if not rest else _nothing()
        if len(rest) == 2:
            return self._srv(name, kind, service, key, rest[0], rest[1])
        if len(rest) == 1:
            return self._endpoint(name, kind, key, rest[0])
        if kind == QTYPE.SRV:
            return self._srv(name, kind, service, key, "", "")
        addresses = cluster_addresses(service)
        if not addresses:
            backends = self._names.backends(key)
            if not backends:
                return _nothing()
            addresses = [b.address for b in backends]
        return self._addresses(name, kind, addresses)

    def _addresses(self, name: str, kind: int, addresses: list[str]) -> Found:
        found = [a for a in dict.fromkeys(addresses) if kind in (_type_of(a), QTYPE.ANY)]
        random.shuffle(found)
        return Found(answers=[self._address_record(name, a) for a in found])

    def _address_record(self, name: str, address: str) -> RR:
        data: object = AAAA(address) if ":" in address else A(address)
        return self._record(name, _type_of(address), data)

    def _endpoint(self, name: str, kind: int, key: Key, hostname: str) -> Found:
        addresses = [b.address for b in self._names.backends(key) if b.hostname.lower() == hostname]
        return self._addresses(name, kind, addresses) if addresses else _nothing()

    def _external(self, name: str, target: str) -> Found:
        target = target.rstrip(".")
        try:
            alias = CNAME(target + ".")
        except ValueError:  # Kubernetes takes labels above 63 bytes, which no name can have.
            return Found(code=RCODE.SERVFAIL)
        return Found(answers=[self._record(name, QTYPE.CNAME, alias)], alias=target)

    def _srv(self, name: str, kind: int, service: Object, key: Key, port: str, protocol: str) -> Found:
        targets = self._targets(service, key)
        if port:
            if not (port.startswith("_") and protocol.startswith("_")):
                return _nothing()
            targets = [t for t in targets if (t[0], t[1]) == (port[1:], protocol[1:])]
        if not targets:
            return _nothing()
        if kind not in (QTYPE.SRV, QTYPE.ANY):
            return Found()
        named = dict.fromkeys((number, target) for _, _, number, target, _ in targets)
        weight = max(1, 100 // len(named))
        glue = dict.fromkeys((target, address) for _, _, _, target, address in targets)
        return Found(
            answers=[self._record(name, QTYPE.SRV, SRV(0, weight, number, target)) for number, target in named],
            additional=[self._address_record(target, address) for target, address in glue],
        )

    def _targets(self, service: Object, key: Key) -> list[tuple[str, str, int, str, str]]:
        """Port name, protocol, number, host name and address of everything that a SRV record can name."""
        domain = f"{key.name}.{key.namespace}.svc.{self._zone}."
        addresses = cluster_addresses(service)
        if addresses:
            return [
                (str(p.get("name") or ""), str(p.get("protocol") or "TCP").lower(), int(p["port"]), domain, address)
                for p in service["spec"].get("ports") or ()
                for address in addresses
            ]
        return [
            (port, protocol, number, f"{backend.hostname}.{domain}", backend.address)
            for backend in self._names.backends(key)
            for port, protocol, number in backend.ports
        ]

    def _reverse(self, name: str, lower: str, kind: int) -> Found:
        address = _reverse_address(lower)
        if address is None:
            return _nothing()
        suffix = f"svc.{self._zone}."
        found = [f"{k.name}.{k.namespace}.{suffix}" for k in map(key_of, self._names.services_at(address))]
        if not found:
            backends = self._names.backends_at(address)
            found = [f"{b.hostname}.{b.service.name}.{b.service.namespace}.{suffix}" for b in backends]
        if not found:
            return _nothing()
        if kind not in (QTYPE.PTR, QTYPE.ANY):
            return Found()
        return Found(answers=[self._record(name, QTYPE.PTR, PTR(n)) for n in dict.fromkeys(found)])


def _nothing() -> Found:
    return Found(RCODE.NXDOMAIN)


def _type_of(address: str) -> int:
    return int(QTYPE.AAAA if ":" in address else QTYPE.A)


def _pod_address(label: str) -> str:
    """The address that a pod's label stands for (`10-244-1-2`, `fd00--2`), or the empty string."""
    for kind, separator in ((IPv4Address, "."), (IPv6Address, ":")):
        try:
            return str(kind(label.replace("-", separator)))
        except AddressValueError:
            continue
    return ""


def _reverse_address(name: str) -> str | None:
    """The address that a name of the reverse zones stands for (RFC 1035, RFC 3596), or None."""
    try:
        if name.endswith(_REVERSE):
            parts = name[: -len(_REVERSE)].split(".")
            return str(IPv4Address(".".join(reversed(parts)))) if len(parts) == 4 else None
        if name.endswith(_REVERSE6):
            digits = "".join(reversed(name[: -len(_REVERSE6)].split(".")))
            return str(IPv6Address(int(digits, 16))) if len(digits) == 32 else None
    except ValueError:
        return None
    return None
