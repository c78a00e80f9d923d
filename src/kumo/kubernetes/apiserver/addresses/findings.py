"""What is wrong between a Service and the IPAddress objects, and what to do. Pure.

Reasons and messages of events, and the times of grace, are upstream's (`ipallocator/controller/repairip.go`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal, NamedTuple

from kumo.api.objects import Object, labels_of, name_of, namespace_of, parse_timestamp
from kumo.kubernetes.apiserver.addresses.objects import (
    FAMILY_LABEL,
    addresses_of,
    family_of,
    is_managed,
    is_of,
    parent_of,
)

_ORPHAN_GRACE = 60.0
_STRAY_GRACE = 5.0


class Finding(NamedTuple):
    """What to do, and the event that says so. `wait`: nothing yet, but look again in `after` seconds."""

    deed: Literal["create", "recreate", "delete", "tell", "wait"]
    reason: str = ""
    message: str = ""
    after: float = 0.0


def of_service(
    service: Object, address: str, found: Object | None, other: Object | None, blocks: Iterable[str]
) -> Finding | None:
    """About an address that the service has: `found` is its object, `other` the service that this names.

    `blocks` are the CIDRs of all ServiceCIDRs.
    """
    family, whose = family_of(address), f"{namespace_of(service)}/{name_of(service)}"
    if not any(_holds(block, address) for block in blocks):
        text = f"Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
        return Finding("tell", "ClusterIPOutOfRange", text)
    if found is None:
        text = f"Cluster IP [{family}]: {address} is not allocated; repairing"
        return Finding("create", "ClusterIPNotAllocated", text)
    if not is_of(found, service):
        if parent_of(found)[:2] == ("", "services") and other is not None:
            if address not in addresses_of(other):
                return None
            text = f"Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service"
            return Finding("tell", "ClusterIPAlreadyAllocated", text)
        text = f"the ClusterIP [{family}]: {address} for Service {whose} has a wrong reference; repairing"
        return Finding("recreate", "ClusterIPNotAllocated", text)
    if not is_managed(found) or labels_of(found).get(FAMILY_LABEL) != family:
        return Finding("recreate")
    return None


def of_address(found: Object, service: Object | None, now: float) -> Finding | None:
    """About an object that the allocator looks after: `service` is the one that it names."""
    if not is_managed(found):
        return None
    name, (group, resource, namespace, parent) = name_of(found), parent_of(found)
    if group or resource != "services":
        text = f"IPAddress {name} appears to have been modified, not referencing a Service: cleaning up"
        return Finding("delete", "IPAddressNotAllocated", text)
    age = now - parse_timestamp(found["metadata"]["creationTimestamp"])
    if service is None:
        if age <= _ORPHAN_GRACE:
            return Finding("wait", after=_ORPHAN_GRACE - age)
        text = f"IPAddress: {name} for Service {namespace}/{parent} appears to have leaked: cleaning up"
        return Finding("delete", "IPAddressNotAllocated", text)
    if name in addresses_of(service):
        return None
    if age <= _STRAY_GRACE:
        return Finding("wait", after=_STRAY_GRACE - age)
    text = f"IPAddress: {name} for Service {namespace}/{parent} has a wrong reference; cleaning up"
    return Finding("delete", "IPAddressWrongReference", text)


def _holds(block: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)
