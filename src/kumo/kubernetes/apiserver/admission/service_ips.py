"""Cluster addresses and node ports of services: given at creation, kept for life, free again after deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kumo.api.errors import Cause, internal, invalid
from kumo.api.objects import Object
from kumo.api.resources import SERVICES
from kumo.kubernetes.apiserver.admission.refusals import object_name
from kumo.kubernetes.apiserver.admission.service_pools import Exhausted, OutOfRange, Pool, Taken
from kumo.kubernetes.apiserver.admission.service_ranges import ServiceRanges
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader
from kumo.kubernetes.apiserver.kinds.service_carry import fill_families
from kumo.kubernetes.apiserver.kinds.service_validation import validate_cluster_ips

_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
_HEADLESS = "None"


class ServiceAllocator:
    """Fills `clusterIP(s)`, `ipFamilies`, `ipFamilyPolicy` and `nodePort`s of services from the ranges of the cluster.

    `ports` is the first and the last node port.
    """

    def __init__(self, reader: Reader, cidr: str, ports: tuple[int, int] = (30000, 32767)) -> None:
        self._reader = reader
        self._ranges = ServiceRanges(reader, cidr)
        self._addresses = self._ranges.own
        self._range = ports
        size = ports[1] - ports[0] + 1
        static = min(max(16, size // 32), 128) if size > 32 else 0
        self._ports = Pool(*ports, preferred=ports[0] + static)
        self._revision = -1
        self._given: dict[int, list[Callable[[], None]]] = {}
        reader.listen(SERVICES, self._stored)

    # -- the steps --------------------------------------------------------------------------------------------------

    def mutate(self, attrs: AdmissionAttributes) -> None:
        """Give the service what it lacks. Raises 422 for an address or port that is taken or out of range.

        Nothing is kept on a dry run.
        """
        service = attrs.object
        if attrs.subresource or service is None or attrs.operation not in ("CREATE", "UPDATE"):
            return
        self._refresh()
        spec: dict[str, Any] = service.setdefault("spec", {})
        old: dict[str, Any] = {}
        if attrs.operation == "UPDATE" and attrs.old_object is not None:
            old = attrs.old_object.get("spec") or {}
        given: list[Callable[[], None]] = []
        try:
            self._address(attrs, spec, old, given)
            self._node_ports(attrs, spec, old, given)
        except BaseException:
            _undo(given)
            raise
        if attrs.dry_run:
            _undo(given)
        else:
            self._given[id(attrs)] = given
            if len(self._given) > 1024:
                self._given.pop(next(iter(self._given)))
                self._ports.tidy()
                self._ranges.tidy()

    def abandon(self, attrs: AdmissionAttributes) -> None:
        """The write did not happen: what it was given is free at once (else after seconds)."""
        _undo(self._given.pop(id(attrs), []))

    # -- what is taken ----------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        revision = self._reader.revision(SERVICES)
        if not self._ranges.refresh() and revision == self._revision:
            return
        addresses: list[int] = []
        ports: list[int] = []
        for service in self._reader.objects(SERVICES):
            spec = service.get("spec") or {}
            for address in spec.get("clusterIPs") or [spec.get("clusterIP")]:
                if address and address != _HEADLESS:
                    try:
                        addresses.append(self._addresses.number(address))
                    except (ValueError, OutOfRange):
                        continue
            ports.extend(_ports_of(spec))
        self._ranges.hold(addresses)
        self._ports.hold(ports)
        self._revision = revision

    def _stored(self, namespace: str, name: str) -> None:
        """A service is stored: it says itself what it holds, for just as long as it is there."""
        service = self._reader.get(SERVICES, name, namespace)
        if service is None:
            return
        spec = service.get("spec") or {}
        for port in _ports_of(spec):
            self._ports.release(port)
        for address in spec.get("clusterIPs") or ():
            if address != _HEADLESS:
                try:
                    self._ranges.release(self._addresses.number(address))
                except (ValueError, OutOfRange):
                    continue

    # -- addresses --------------------------------------------------------------------------------------------------

    def _address(
        self,
        attrs: AdmissionAttributes,
        spec: dict[str, Any],
        old: dict[str, Any],
        given: list[Callable[[], None]],
    ) -> None:
        if (spec.get("type") or "ClusterIP") == "ExternalName":
            return
        found: list[Cause] = []
        validate_cluster_ips(spec, old, found)
        found = found or fill_families(spec, old, self._addresses.family)
        if found:
            raise invalid("", "Service", object_name(attrs), found)
        wanted = spec.get("clusterIP") or ""
        if wanted == _HEADLESS:
            return
        pool = self._ranges
        if wanted and wanted == old.get("clusterIP"):
            number = None
        elif wanted:
            number = self._chosen(attrs, wanted)
        else:
            try:
                number = pool.next()
            except Exhausted:
                raise internal(f"failed to allocate a serviceIP: range is full ({self._spans()})") from None
            wanted = self._addresses.text(number)
        if number is not None:
            given.append(lambda: pool.release(number))
        spec["clusterIP"] = wanted
        spec["clusterIPs"] = [wanted]

    def _spans(self) -> str:
        return ",".join(self._ranges.blocks())

    def _chosen(self, attrs: AdmissionAttributes, wanted: str) -> int:
        try:
            number = self._addresses.number(wanted)
            self._ranges.take(number)
            return number
        except ValueError:
            why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            raise self._invalid(attrs, "spec.clusterIPs[0]", f'Invalid value: "{wanted}": {why}') from None
        except OutOfRange:
            why = f"provided IP is not in the valid range. The range of valid IPs is {self._spans()}"
        except Taken:
            why = "provided IP is already allocated"
        text = f'Invalid value: ["{wanted}"]: failed to allocate IP {wanted}: {why}'
        raise self._invalid(attrs, "spec.clusterIPs", text)

    # -- ports ------------------------------------------------------------------------------------------------------

    def _node_ports(
        self,
        attrs: AdmissionAttributes,
        spec: dict[str, Any],
        old: dict[str, Any],
        given: list[Callable[[], None]],
    ) -> None:
        kind = spec.get("type") or "ClusterIP"
        if kind not in _WITH_NODE_PORTS:
            return
        give = kind == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
        kept = set(_ports_of(old))
        own: dict[int, set[str]] = {}
        for index, port in enumerate(spec.get("ports") or ()):
            protocol, wanted = port.get("protocol") or "TCP", port.get("nodePort")
            if wanted and (wanted in kept or (wanted in own and protocol not in own[wanted])):
                own.setdefault(wanted, set()).add(protocol)
                continue
            if wanted:
                self._take_port(attrs, f"spec.ports[{index}].nodePort", wanted, given)
            elif give:
                # One number may serve TCP and UDP of the same port (as upstream).
                twin = next(
                    (
                        p["nodePort"]
                        for p in (spec["ports"])[:index]
                        if p.get("nodePort")
                        and p.get("port") == port.get("port")
                        and protocol not in own[p["nodePort"]]
                    ),
                    None,
                )
                port["nodePort"] = wanted = twin or self._next_port(given)
            if wanted:
                own.setdefault(wanted, set()).add(protocol)
        if kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            wanted = spec.get("healthCheckNodePort")
            if wanted and wanted not in kept:
                self._take_port(attrs, "spec.healthCheckNodePort", wanted, given)
            elif not wanted:
                spec["healthCheckNodePort"] = self._next_port(given)

    def _next_port(self, given: list[Callable[[], None]]) -> int:
        try:
            port = self._ports.next()
        except Exhausted:
            raise internal("failed to allocate a nodePort: range is full") from None
        given.append(lambda: self._ports.release(port))
        return port

    def _take_port(self, attrs: AdmissionAttributes, field: str, wanted: int, given: list[Callable[[], None]]) -> None:
        try:
            self._ports.take(wanted)
        except OutOfRange:
            why = f"provided port is not in the valid range. The range of valid ports is {_span(self._range)}"
        except Taken:
            why = "provided port is already allocated"
        else:
            given.append(lambda: self._ports.release(wanted))
            return
        raise self._invalid(attrs, field, f"Invalid value: {wanted}: {why}")

    def _invalid(self, attrs: AdmissionAttributes, field: str, text: str) -> Exception:
        return invalid("", "Service", object_name(attrs), [Cause(field, text)])


def _span(ports: tuple[int, int]) -> str:
    return f"{ports[0]}-{ports[1]}"


def _undo(given: list[Callable[[], None]]) -> None:
    for release in given:
        release()


def _ports_of(spec: Object) -> Iterator[int]:
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"]
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"]
