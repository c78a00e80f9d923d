"""What containers have, as messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.claims.manager import ClaimManager
from kumo.kubernetes.kubelet.claims.records import ClaimRecord
from kumo.kubernetes.kubelet.devices.ledger import NOWHERE, Claim, Ledger
from kumo.kubernetes.kubelet.devices.stubs import podresources_pb2 as pb
from kumo.kubernetes.kubelet.placement.manager import Placement
from kumo.kubernetes.kubelet.placement.memory import Block
from kumo.kubernetes.kubelet.spec import Container, containers, init_containers


class Holdings:
    """Answers from what the managers of one kubelet know."""

    def __init__(self, ledger: Ledger, placement: Placement, claims: ClaimManager) -> None:
        self._ledger = ledger
        self._placement = placement
        self._claims = claims

    def pod(self, pod: Object, *, devices_only: bool = False) -> pb.PodResources:
        """A pod's containers: sidecars and regular ones."""
        listed = [*containers(pod)]
        if not devices_only:
            listed = [*(c for c in init_containers(pod) if is_sidecar(c)), *listed]
        made = [self._container(pod, c, devices_only=devices_only) for c in listed]
        return pb.PodResources(name=name_of(pod), namespace=namespace_of(pod), containers=made)

    def _container(self, pod: Object, container: Container, *, devices_only: bool) -> pb.ContainerResources:
        uid, name = uid_of(pod), container["name"]
        given = self._ledger.claims.get(uid, {}).get(name, {})
        if devices_only:
            plain = [
                pb.ContainerDevices(resource_name=d.resource_name, device_ids=d.device_ids) for d in devices_of(given)
            ]
            return pb.ContainerResources(name=name, devices=plain)
        return pb.ContainerResources(
            name=name,
            devices=devices_of(given),
            cpu_ids=sorted(self._placement.cpu_book.of(uid, name) or ()),
            memory=memory_of(self._placement.memory_book.of(uid, name)),
            dynamic_resources=[claim_of(record) for record in self._claims.records_of(pod, container)],
        )

    def allocatable(self) -> pb.AllocatableResourcesResponse:
        """What the node has to give, taken or not."""
        devices = []
        for resource, ids in self._ledger.healthy.items():
            known = self._ledger.known(resource)
            for device in sorted(ids):
                places = known[device].nodes if device in known else ()
                devices += [_device(resource, device, node) for node in places or (NOWHERE,)]
        return pb.AllocatableResourcesResponse(
            devices=devices,
            cpu_ids=sorted(self._placement.allocatable_cpus),
            memory=memory_of(self._placement.allocatable_memory),
        )


def devices_of(given: Mapping[str, Claim]) -> list[pb.ContainerDevices]:
    """Each device of a container, once for each NUMA node that it is at."""
    return [
        _device(resource, device, node)
        for resource, claim in sorted(given.items())
        for node, ids in sorted(claim.devices.items())
        for device in ids
    ]


def _device(resource: str, device: str, node: int) -> pb.ContainerDevices:
    made = pb.ContainerDevices(resource_name=resource, device_ids=[device])
    if node != NOWHERE:
        made.topology.nodes.add(ID=node)
    return made


def memory_of(blocks: Iterable[Block]) -> list[pb.ContainerMemory]:
    """Memory and huge pages with their NUMA nodes."""
    return [
        pb.ContainerMemory(
            memory_type=b.kind, size=b.size, topology=pb.TopologyInfo(nodes=[pb.NUMANode(ID=n) for n in b.nodes])
        )
        for b in blocks
    ]


def claim_of(record: ClaimRecord) -> pb.DynamicResource:
    """The prepared devices of a claim."""
    made: list[Any] = []
    for driver, devices in record.drivers.items():
        for device in devices:
            found = pb.ClaimResource(driver_name=driver, pool_name=device.pool, device_name=device.device)
            found.cdi_devices.extend(pb.CDIDevice(name=name) for name in device.cdi)
            if device.share:
                found.share_id = device.share
            made.append(found)
    return pb.DynamicResource(claim_name=record.name, claim_namespace=record.namespace, claim_resources=made)
