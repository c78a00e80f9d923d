"""What the cloud is made of, as Nova shows it: nodes as hypervisors and services, zones, limits and use."""

from __future__ import annotations

import uuid
from typing import Any

from kumo.api.objects import Object, labels_of, name_of, uid_of
from kumo.api.quantities import parse, whole
from kumo.api.resources import NODES
from kumo.machinery.http import Response
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, reply
from kumo.openstack.common.times import without_zone
from kumo.openstack.nova.policy import enforce
from kumo.openstack.nova.servers.find import Servers
from kumo.openstack.nova.servers.view import DEFAULT_ZONE, flavor_of, host_of

_ZONE_LABEL = "topology.kubernetes.io/zone"
_SPACE = uuid.UUID("6a8e7c5e-3d1b-4f44-8c5f-b2f7c9d06a10")
_UNLIMITED = -1


class Infrastructure:
    """The paths about nodes, zones, limits and quotas."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._client = servers.client

    def routes(self) -> list[Route]:
        """Its part of Nova's table."""
        return [
            Route("GET", "/v2.1/os-availability-zone", self.zones),
            Route("GET", "/v2.1/os-availability-zone/detail", self.zones_detail),
            Route("GET", "/v2.1/os-hypervisors", self.hypervisors),
            Route("GET", "/v2.1/os-hypervisors/detail", self.hypervisors_detail),
            Route("GET", "/v2.1/os-hypervisors/{id}", self.hypervisor),
            Route("GET", "/v2.1/os-services", self.services),
            Route("GET", "/v2.1/limits", self.limits),
            Route("GET", "/v2.1/os-quota-sets/{project}", self.quota),
            Route("GET", "/v2.1/os-quota-sets/{project}/defaults", self.quota),
            Route("GET", "/v2.1/extensions", self.extensions),
        ]

    async def _nodes(self) -> list[Object]:
        return sorted((await self._client.list(NODES)).items, key=name_of)

    async def zones(self, call: Call) -> Response:
        """Zones by name and state."""
        return reply({"availabilityZoneInfo": _zones(await self._nodes(), detail=False)})

    async def zones_detail(self, call: Call) -> Response:
        """Zones with their nodes (administrators)."""
        enforce(call.caller, "os_compute_api:os-availability-zone:detail")
        return reply({"availabilityZoneInfo": _zones(await self._nodes(), detail=True)})

    async def _shown(self, call: Call, *, detail: bool) -> list[dict[str, Any]]:
        enforce(call.caller, "os_compute_api:os-hypervisors:list")
        found = []
        nodes = await self._nodes()
        used = await self._used() if detail else {}
        for index, node in enumerate(nodes, 1):
            shown: dict[str, Any] = {
                "id": uid_of(node) if call.at_least(53) else index,
                "hypervisor_hostname": name_of(node),
                "state": "up" if _ready(node) else "down",
                "status": "disabled" if node["spec"].get("unschedulable") else "enabled",
            }
            if detail:
                shown |= _details(node, index, call, used.get(name_of(node), (0, 0, 0)))
            found.append(shown)
        if pattern := call.query.get("hypervisor_hostname_pattern"):
            found = [h for h in found if pattern in h["hypervisor_hostname"]]
        return found

    async def _used(self) -> dict[str, tuple[int, int, int]]:
        """CPUs, MiB and machines in use, by node."""
        found: dict[str, tuple[int, int, int]] = {}
        for server in await self._servers.all():
            if host := host_of(server):
                cpus, ram, count = found.get(host, (0, 0, 0))
                flavor = flavor_of(server)
                found[host] = (cpus + flavor.vcpus, ram + flavor.ram, count + 1)
        return found

    async def hypervisors(self, call: Call) -> Response:
        """Nodes, briefly (administrators)."""
        return reply({"hypervisors": await self._shown(call, detail=False)})

    async def hypervisors_detail(self, call: Call) -> Response:
        """Nodes with what they have (administrators)."""
        return reply({"hypervisors": await self._shown(call, detail=True)})

    async def hypervisor(self, call: Call) -> Response:
        """One node (administrators)."""
        for found in await self._shown(call, detail=True):
            if str(found["id"]) == call.params["id"]:
                return reply({"hypervisor": found})
        raise ApiError(404, f"Compute host {call.params['id']} could not be found.")

    async def services(self, call: Call) -> Response:
        """One nova-compute a node (administrators)."""
        enforce(call.caller, "os_compute_api:os-services:list")
        found = []
        for index, node in enumerate(await self._nodes(), 1):
            if call.query.get("host", name_of(node)) != name_of(node):
                continue
            shown: dict[str, Any] = {
                "binary": "nova-compute",
                "host": name_of(node),
                "id": _service_id(node) if call.at_least(53) else index,
                "zone": _zone(node),
                "status": "disabled" if node["spec"].get("unschedulable") else "enabled",
                "state": "up" if _ready(node) else "down",
                "updated_at": without_zone(_heartbeat(node)),
                "disabled_reason": None,
            }
            if call.at_least(11):
                shown["forced_down"] = False
            found.append(shown)
        if call.query.get("binary", "nova-compute") != "nova-compute":
            found = []
        return reply({"services": found})

    async def limits(self, call: Call) -> Response:
        """What the project may have (no limits are set but Nova's constants) and what it has."""
        used = [flavor_of(s) for s in await self._servers.all(call.project.namespace)]
        absolute: dict[str, int] = {
            "maxTotalCores": _UNLIMITED,
            "maxTotalInstances": _UNLIMITED,
            "maxTotalKeypairs": _UNLIMITED,
            "maxServerMeta": 128,
            "maxTotalRAMSize": _UNLIMITED,
            "maxServerGroups": 0,
            "maxServerGroupMembers": 0,
            "totalRAMUsed": sum(f.ram for f in used),
            "totalCoresUsed": sum(f.vcpus for f in used),
            "totalInstancesUsed": len(used),
            "totalServerGroupsUsed": 0,
        }
        if not call.at_least(39):
            absolute["maxImageMeta"] = 128
        if not call.at_least(57):
            absolute |= {"maxPersonality": 0, "maxPersonalitySize": 0}
        if not call.at_least(36):
            absolute |= {"maxTotalFloatingIps": 0, "maxSecurityGroups": 0, "maxSecurityGroupRules": 0}
            absolute |= {"totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0}
        return reply({"limits": {"rate": list[Any](), "absolute": absolute}})

    async def quota(self, call: Call) -> Response:
        """The project's quota: nothing is limited but by Kubernetes' own ResourceQuota objects."""
        enforce(call.caller, "os_compute_api:os-quota-sets:show")
        project = call.params["project"]
        if not call.caller.is_admin and (call.caller.project is None or call.caller.project.id != project):
            raise ApiError(403, "Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.")
        quota: dict[str, Any] = {"id": project, "metadata_items": 128, "server_groups": 0, "server_group_members": 0}
        quota |= dict.fromkeys(("cores", "instances", "ram", "key_pairs"), _UNLIMITED)
        if not call.at_least(36):
            quota |= dict.fromkeys(("fixed_ips", "floating_ips", "security_groups", "security_group_rules"), _UNLIMITED)
        if not call.at_least(57):
            quota |= dict.fromkeys(("injected_files", "injected_file_content_bytes", "injected_file_path_bytes"), 0)
        return reply({"quota_set": quota})

    async def extensions(self, call: Call) -> Response:
        """Extensions: what they once added is part of the API now."""
        return reply({"extensions": list[Any]()})


def _condition(node: Object) -> dict[str, Any]:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == "Ready"), {})


def _ready(node: Object) -> bool:
    return _condition(node).get("status") == "True"


def _heartbeat(node: Object) -> str:
    return str(_condition(node).get("lastHeartbeatTime") or node["metadata"]["creationTimestamp"])


def _zone(node: Object) -> str:
    return labels_of(node).get(_ZONE_LABEL) or DEFAULT_ZONE


def _service_id(node: Object) -> str:
    return str(uuid.uuid5(_SPACE, uid_of(node)))


def _zones(nodes: list[Object], *, detail: bool) -> list[dict[str, Any]]:
    found: dict[str, list[Object]] = {}
    for node in nodes:
        found.setdefault(_zone(node), []).append(node)
    return [
        {
            "zoneName": zone,
            "zoneState": {"available": any(_ready(n) for n in members)},
            "hosts": {name_of(n): {"nova-compute": _service_state(n)} for n in members} if detail else None,
        }
        for zone, members in sorted((found or {DEFAULT_ZONE: []}).items())
    ]


def _service_state(node: Object) -> dict[str, Any]:
    active = not node["spec"].get("unschedulable")
    return {"available": _ready(node), "active": active, "updated_at": without_zone(_heartbeat(node))}


def _details(node: Object, index: int, call: Call, used: tuple[int, int, int]) -> dict[str, Any]:
    status = node.get("status") or {}
    addresses = status.get("addresses") or ()
    service = _service_id(node) if call.at_least(53) else index
    made: dict[str, Any] = {
        "hypervisor_type": "QEMU",
        "hypervisor_version": 0,
        "host_ip": next((a["address"] for a in addresses if a["type"] == "InternalIP"), ""),
        "service": {"id": service, "host": name_of(node), "disabled_reason": None},
    }
    if call.at_least(88):
        return made | {"uptime": None}
    capacity = status.get("capacity") or {}
    cpus, memory = whole(capacity.get("cpu", "0")), int(parse(str(capacity.get("memory", "0")))) >> 20
    disk = int(parse(str(capacity.get("ephemeral-storage", "0")))) >> 30
    return made | {
        "vcpus": cpus,
        "memory_mb": memory,
        "local_gb": disk,
        "vcpus_used": used[0],
        "memory_mb_used": used[1],
        "local_gb_used": 0,
        "free_ram_mb": memory - used[1],
        "free_disk_gb": disk,
        "current_workload": 0,
        "running_vms": used[2],
        "disk_available_least": disk,
        "cpu_info": {} if call.at_least(28) else "{}",
    }
