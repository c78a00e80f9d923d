"""How a server looks at each microversion. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object, annotations_of, labels_of, name_of, uid_of
from kumo.openstack.common import names
from kumo.openstack.common.times import without_zone
from kumo.openstack.nova.flavors import Flavor, mebibytes
from kumo.openstack.nova.networks import POD_NETWORK_NAME
from kumo.openstack.nova.servers import notes
from kumo.openstack.nova.servers.state import launched_at, state_of

DEFAULT_ZONE = "nova"


@dataclass(frozen=True, slots=True)
class Server:
    """A machine with its instance, its project's id and the flavors there are (by instance type)."""

    vm: Object
    vmi: Object | None
    project_id: str
    flavors: Mapping[str, Flavor]


def host_of(server: Server) -> str:
    """The node that the machine runs on, empty if none."""
    return str(((server.vmi or {}).get("status") or {}).get("nodeName") or "")


def flavor_of(server: Server) -> Flavor:
    """The machine's flavor as it was at its creation; for machines made with kubectl what their specification says."""
    kept = notes.flavor(server.vm)
    if kept is not None:
        return kept
    reference = (server.vm["spec"].get("instancetype") or {}).get("name", "")
    if reference in server.flavors:
        return server.flavors[reference]
    domain = server.vm["spec"]["template"]["spec"].get("domain") or {}
    cpu = domain.get("cpu") or {}
    cores = int(cpu.get("cores", 1)) * int(cpu.get("sockets", 1)) * int(cpu.get("threads", 1))
    requests = (domain.get("resources") or {}).get("requests") or {}
    memory = (domain.get("memory") or {}).get("guest") or requests.get("memory") or "0"
    ram = mebibytes(memory)
    return Flavor("", f"{cores} vCPU, {ram} MiB", ram, cores)


def image_id(vm: Object) -> str:
    """The id of the image that the server was made from, empty if none."""
    return annotations_of(vm).get(names.IMAGE_ID, "")


def addresses(server: Server) -> dict[str, list[dict[str, Any]]]:
    """The machine's addresses; the pods' network is the one network there is."""
    found: list[dict[str, Any]] = []
    for interface in ((server.vmi or {}).get("status") or {}).get("interfaces") or ():
        for address in interface.get("ipAddresses") or ([interface["ipAddress"]] if interface.get("ipAddress") else ()):
            found.append(
                {
                    "version": 6 if ":" in address else 4,
                    "addr": address,
                    "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": interface.get("mac", ""),
                }
            )
    return {POD_NETWORK_NAME: found} if found else {}


def links(identity: str, base: str) -> list[dict[str, str]]:
    """Where a server is."""
    return [
        {"rel": "self", "href": f"{base}/compute/v2.1/servers/{identity}"},
        {"rel": "bookmark", "href": f"{base}/compute/servers/{identity}"},
    ]


def brief(server: Server, base: str) -> dict[str, Any]:
    """Id, name and links."""
    identity = uid_of(server.vm)
    return {"id": identity, "name": names.display_name(server.vm), "links": links(identity, base)}


def _flavor(server: Server, base: str, minor: int) -> dict[str, Any]:
    flavor = flavor_of(server)
    if minor < 47:
        href = f"{base}/compute/flavors/{flavor.id}"
        return {"id": flavor.id, "links": [{"rel": "bookmark", "href": href}]}
    made: dict[str, Any] = {
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "ephemeral": flavor.ephemeral,
        "swap": flavor.swap,
        "original_name": flavor.name,
        "extra_specs": flavor.extra_specs,
    }
    return made


def _image(server: Server, base: str) -> Any:
    identity = image_id(server.vm)
    if not identity:
        return ""
    return {"id": identity, "links": [{"rel": "bookmark", "href": f"{base}/compute/images/{identity}"}]}


def _host_id(server: Server) -> str:
    host = host_of(server)
    return hashlib.sha224(f"{server.project_id}{host}".encode()).hexdigest() if host else ""


def _updated(vm: Object) -> str:
    times = [f.get("time") or "" for f in vm["metadata"].get("managedFields") or ()]
    return str(max([*times, vm["metadata"]["creationTimestamp"]]))


def _attributes(server: Server, minor: int) -> dict[str, Any]:
    """What only administrators see."""
    host = host_of(server) or None
    made: dict[str, Any] = {
        "OS-EXT-SRV-ATTR:host": host,
        "OS-EXT-SRV-ATTR:instance_name": f"{server.vm['metadata'].get('namespace')}_{name_of(server.vm)}",
        "OS-EXT-SRV-ATTR:hypervisor_hostname": host,
    }
    if minor >= 3:
        made |= {
            "OS-EXT-SRV-ATTR:hostname": hostname(server.vm),
            "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:launch_index": notes.read(server.vm, notes.LAUNCH_INDEX, 0),
            "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:reservation_id": annotations_of(server.vm).get(notes.RESERVATION, ""),
            "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
            "OS-EXT-SRV-ATTR:user_data": None,
        }
    if minor >= 16:
        made["host_status"] = "UP" if host else ""
    return made


def hostname(vm: Object) -> str:
    """The guest's host name."""
    return str(vm["spec"]["template"]["spec"].get("hostname") or name_of(vm))


def detail(server: Server, base: str, minor: int, *, admin: bool, show: bool = False) -> dict[str, Any]:
    """All of a server; `show`: as the answer for one server, which has more than an entry of a list."""
    vm, state = server.vm, state_of(server.vm, server.vmi)
    started = launched_at(server.vmi)
    annotations = annotations_of(vm)
    made: dict[str, Any] = {
        "accessIPv4": "",
        "accessIPv6": "",
        "addresses": addresses(server),
        "created": vm["metadata"]["creationTimestamp"],
        "flavor": _flavor(server, base, minor),
        "hostId": _host_id(server),
        "id": uid_of(vm),
        "image": _image(server, base),
        "links": links(uid_of(vm), base),
        "metadata": notes.read(vm, notes.METADATA, {}),
        "name": names.display_name(vm),
        "status": state.status,
        "tenant_id": server.project_id,
        "user_id": labels_of(vm).get(names.USER) or annotations.get(notes.USER_ID, ""),
        "updated": _updated(vm),
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": annotations.get(notes.ZONE) or (DEFAULT_ZONE if host_of(server) else ""),
        "config_drive": annotations.get(notes.CONFIG_DRIVE, ""),
        "key_name": annotations.get(notes.KEY_NAME),
        "OS-SRV-USG:launched_at": without_zone(started) if started else None,
        "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": state.task_state,
        "OS-EXT-STS:vm_state": state.vm_state,
        "OS-EXT-STS:power_state": state.power_state,
        "os-extended-volumes:volumes_attached": [],
        "security_groups": [{"name": "default"}],
    }
    if state.status in ("ACTIVE", "BUILD", "PAUSED", "REBOOT"):
        made["progress"] = 0
    if state.fault:
        made["fault"] = {"code": 500, "created": _updated(vm), "message": state.fault}
    if admin:
        made |= _attributes(server, minor)
    elif minor >= 90:
        made["OS-EXT-SRV-ATTR:hostname"] = hostname(vm)
    return made | _later(vm, minor, show=show)


def _later(vm: Object, minor: int, *, show: bool) -> dict[str, Any]:
    """What microversions have added since 2.1."""
    annotations = annotations_of(vm)
    locked = notes.LOCKED in annotations
    additions: tuple[tuple[int, str, Any], ...] = (
        (9, "locked", locked),
        (19, "description", annotations.get(names.DESCRIPTION)),
        (26, "tags", notes.strings(vm, names.TAGS)),
        (63, "trusted_image_certificates", None),
        (73, "locked_reason", (annotations.get(notes.LOCKED) or None) if locked else None),
        (96, "pinned_availability_zone", annotations.get(notes.ZONE)),
    )
    made = {key: value for since, key, value in additions if minor >= since}
    if show and minor >= 71:
        made["server_groups"] = []
    return made
