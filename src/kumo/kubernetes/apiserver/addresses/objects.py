"""What an IPAddress of a Service looks like, and which addresses a Service has."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kumo.api.objects import Object, labels_of, name_of, namespace_of, new_uid, timestamp
from kumo.api.resources import GVR

ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses", False)
FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
_FIELDS: Object = {
    "f:metadata": {"f:labels": {".": {}, f"f:{FAMILY_LABEL}": {}, f"f:{MANAGED_LABEL}": {}}},
    "f:spec": {"f:parentRef": {".": {}, "f:name": {}, "f:namespace": {}, "f:resource": {}}},
}


def family_of(address: str) -> str:
    """IPv4 or IPv6."""
    return "IPv6" if ":" in address else "IPv4"


def canonical(address: str) -> str:
    """The one form of an address, which its object is named by. Raises ValueError for what is none."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        # Services of long ago may have addresses with leading zeros, which are decimal there.
        return str(ipaddress.ip_address(".".join(str(int(part)) for part in address.split("."))))


def addresses_of(service: Object | None) -> Iterator[str]:
    """The cluster addresses of a service, in their one form; what is no address is left out."""
    if service is None:
        return
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return
    for address in spec.get("clusterIPs") or [spec.get("clusterIP")]:
        if address and address != "None":
            try:
                yield canonical(address)
            except ValueError:
                continue


def new_labels(address: str) -> dict[str, str]:
    """The labels of an address that the allocator gave."""
    return {FAMILY_LABEL: family_of(address), MANAGED_LABEL: MANAGER}


def new_address(address: str, service: Object) -> Object:
    """The object for an address of the service, complete but for its revision."""
    now = timestamp()
    parent = {"name": name_of(service), "namespace": namespace_of(service), "resource": "services"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address,
            "uid": new_uid(),
            "creationTimestamp": now,
            "labels": new_labels(address),
            "managedFields": [
                {
                    "manager": "kube-apiserver",
                    "operation": "Update",
                    "apiVersion": "networking.k8s.io/v1",
                    "time": now,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": _FIELDS,
                }
            ],
        },
        "spec": {"parentRef": parent},
    }


def is_managed(address: Object) -> bool:
    """Whether the allocator made it, and so looks after it."""
    return labels_of(address).get(MANAGED_LABEL) == MANAGER


def parent_of(address: Object) -> tuple[str, str, str, str]:
    """Whose it is: group, resource, namespace, name."""
    parent = (address.get("spec") or {}).get("parentRef") or {}
    return tuple(parent.get(key) or "" for key in ("group", "resource", "namespace", "name"))  # type: ignore[return-value]


def is_of(address: Object, service: Object) -> bool:
    """Whether the address is the service's."""
    return parent_of(address) == ("", "services", namespace_of(service), name_of(service))
