"""Everything between a pod that waits and a domain that runs: network, disks, cloud-init, then the launcher's turn.

Each part can be done again at any time: virt-handler may die between any two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.objects import Object, namespace_of
from kumo.api.resources import SECRETS
from kumo.host.cloud_init import iso_image
from kumo.host.network.namespaces import run_in_netns
from kumo.host.nftables import NftError
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.common import launcher_options
from kumo.kubevirt.common.launcher_options import Options
from kumo.kubevirt.virt_handler import cloud_init, config_disks, container_disk, pod_files, volumes
from kumo.kubevirt.virt_handler.machine import Machine
from kumo.kubevirt.virt_handler.network import plan, setup
from kumo.machinery.client import Client

_SYNC_TIMEOUT = 120.0

Unable = (plan.NetworkInvalid, container_disk.DiskInvalid, cloud_init.CloudInitInvalid, NftError)
"""What `start` raises when the VMI cannot run as it is."""


async def start(vmi: Object, machine: Machine, client: Client, *, kvm: bool, tun: str) -> bool:
    """Prepare the pod and have the domain started; whether it was this call that started it.

    Raises NetworkInvalid, DiskInvalid, CloudInitInvalid, ValueError for a VMI that cannot run as it is; LauncherError,
    LauncherGone, OSError, TimeoutError when the node is to blame.
    """
    launcher = await machine.client()
    secrets = await _secrets(client, vmi)
    seed = cloud_init.seed(vmi, cloud_init.Sources(secrets))
    binding, disks = await asyncio.gather(
        asyncio.to_thread(_network, vmi, machine, launcher.pid, tun),
        asyncio.to_thread(_files, vmi, machine, launcher.pid, seed),
    )
    options = Options(
        kvm=kvm,
        memory_bytes=volumes.memory_bytes(vmi),
        nics=(binding.nic,) if binding else (),
        leases=(binding.lease,) if binding and binding.lease else (),
        volumes=volumes.sources(vmi, disks, seed),
        tcg_cache_mib=contract.TCG_CACHE_MIB,
        ovmf_path=contract.OVMF_PATH,
        cpu_model=_cpu_model(vmi, kvm),
    )
    params = {"vmi": vmi, "options": launcher_options.to_json(options)}
    answer = await launcher.call("SyncVirtualMachine", params, _SYNC_TIMEOUT)
    machine.domain = answer["domain"]
    return bool(answer["created"])


def _cpu_model(vmi: Object, kvm: bool) -> str:
    """Emulation has no host CPU to pass through: the guest gets the nearest that it can emulate."""
    model = (vmi["spec"]["domain"].get("cpu") or {}).get("model")
    return "maximum" if model == "host-passthrough" and not kvm else ""


async def _secrets(client: Client, vmi: Object) -> dict[str, Mapping[str, str]]:
    found: dict[str, Mapping[str, str]] = {}
    for name in sorted(cloud_init.wanted_secrets(vmi)):
        try:
            secret = await client.get(SECRETS, name, namespace_of(vmi))
        except StatusError as error:
            if error.code != 404:
                raise
            continue
        found[name] = secret.get("data") or {}
    return found


def _network(vmi: Object, machine: Machine, pid: int, tun: str) -> plan.Binding | None:
    """Make the guest's network in the pod's namespace. Blocks."""
    namespace = f"/proc/{pid}/ns/net"
    pod = machine.interface()
    if pod is None:
        pod = run_in_netns(namespace, setup.inspect)
        machine.remember(pod)
    with pod_files.root_of(pid) as root:
        servers, search = plan.parse_resolv_conf(pod_files.read(root, "/etc/resolv.conf").decode(errors="replace"))
    binding = plan.pod_binding(vmi, pod, servers, search)
    if binding is not None:
        wanted = binding
        run_in_netns(namespace, lambda: setup.apply(wanted, tun))
    return binding


def _files(vmi: Object, machine: Machine, pid: int, seed: cloud_init.Seed | None) -> dict[int, str]:
    """Find the container disks (by index), write the images for cloud-init and configuration. Blocks."""
    sizes: dict[str, int] = {}
    with pod_files.root_of(pid) as root:
        disks = {
            index: container_disk.find(root, index, volume["containerDisk"].get("path") or "").path
            for index, volume in volumes.container_disks(vmi).items()
        }
        if seed is not None:
            image = iso_image(seed.files, seed.label)
            sizes[seed.volume] = len(image)
            pod_files.write(root, seed.path, image, contract.UID)
        for name, content in config_disks.contents(root, vmi).items():
            image = iso_image(content.files, content.label)
            sizes[name] = len(image)
            pod_files.write(root, volumes.config_disk(name), image, contract.UID)
    machine.sizes = sizes
    return disks


def macs(vmi: Object, pod: plan.PodInterface | None) -> dict[str, str]:
    """The MAC address that each interface of the guest has, by name."""
    found: dict[str, str] = {}
    interfaces: list[dict[str, Any]] = (vmi["spec"]["domain"].get("devices") or {}).get("interfaces") or []
    for interface in interfaces:
        mac = interface.get("macAddress") or ""
        if not mac and interface.get("bridge") is not None and pod is not None:
            mac = pod.mac
        found[interface["name"]] = (mac or plan.default_mac(vmi, interface["name"])).replace("-", ":").lower()
    return found
