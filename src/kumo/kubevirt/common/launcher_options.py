"""What virt-handler adds to a VirtualMachineInstance before it asks for a domain: whatever needs the node to know.

Over the socket it is JSON with the same field names; quantities are resolved to bytes, paths are paths in the pod.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Nic(NamedTuple):
    """One network interface of the guest: the tap device that waits for it in the pod's namespace."""

    name: str
    tap: str
    mac: str
    mtu: int = 0


class Lease(NamedTuple):
    """What the DHCP server on `bridge` tells its one client (RFC 2131, RFC 2132). Addresses are dotted quads."""

    bridge: str
    mac: str
    address: str
    prefix: int
    server: str
    router: str
    mtu: int
    hostname: str
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    routes: tuple[tuple[str, int, str], ...] = ()
    """Static routes (destination, prefix, gateway), for option 121; needed when the router is outside the subnet."""


class Volume(NamedTuple):
    """The file or device behind one of the VMI's volumes."""

    path: str
    format: str = "raw"
    block: bool = False
    backing_path: str = ""
    """Where the launcher links the read-only base of an overlay; empty for a volume that is written directly."""
    backing_source: str = ""
    """The base file itself, in the pod."""
    backing_format: str = ""
    capacity: int = 0
    """Bytes of an empty disk that the launcher has to make; 0 otherwise."""
    cache: str = ""


class Options(NamedTuple):
    """Everything that the converter and the launcher need beside the VMI."""

    kvm: bool
    memory_bytes: int
    nics: tuple[Nic, ...] = ()
    leases: tuple[Lease, ...] = ()
    volumes: dict[str, Volume] = {}
    tcg_cache_mib: int = 32
    ovmf_path: str = "/usr/share/OVMF"
    cpu_model: str = ""
    """Overrides the CPU model of the VMI (a node that emulates cannot give it host-passthrough)."""


def from_json(body: dict[str, Any]) -> Options:
    """The options that `to_json` made a body of. Raises TypeError for unknown or missing fields."""
    fields = dict(body)
    fields["nics"] = tuple(Nic(**nic) for nic in fields.get("nics", ()))
    fields["leases"] = tuple(
        Lease(
            **{
                **lease,
                "dns": tuple(lease.get("dns", ())),
                "search": tuple(lease.get("search", ())),
                "routes": tuple((d, int(p), g) for d, p, g in lease.get("routes", ())),
            }
        )
        for lease in fields.get("leases", ())
    )
    fields["volumes"] = {name: Volume(**volume) for name, volume in fields.get("volumes", {}).items()}
    return Options(**fields)


def to_json(options: Options) -> dict[str, Any]:
    """The options as a JSON-shaped dictionary."""
    body = options._asdict()
    body["nics"] = [nic._asdict() for nic in options.nics]
    body["leases"] = [lease._asdict() for lease in options.leases]
    body["volumes"] = {name: volume._asdict() for name, volume in options.volumes.items()}
    return body
