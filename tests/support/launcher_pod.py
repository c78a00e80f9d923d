"""A launcher pod made straight through CRI, as the kubelet would from virt-controller's template."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import kumo
from kumo.host.containerd.archive import File, build_image
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.virt_handler import launcher_image
from support.containerd import Instance

VERSION = "test"
DISK_IMAGE = "kumo.dev/test-disk:1"
EMPTY_DIRS = {
    "private": contract.PRIVATE_DIR,
    "public": contract.SHARE_DIR,
    "ephemeral-disks": contract.EPHEMERAL_DISK_DIR,
    "libvirt-runtime": contract.LIBVIRT_RUNTIME_DIR,
    "sockets": contract.SOCKETS_DIR,
    "hotplug-disks": contract.HOTPLUG_DIR,
}


@dataclass
class LauncherPod:
    """A running launcher pod."""

    instance: Instance
    root: Path
    uid: str
    sandbox: str
    container: str
    ip: str

    @property
    def sockets(self) -> Path:
        """The emptyDir with the launcher's socket, on the node."""
        return self.volume("sockets")

    def volume(self, name: str) -> Path:
        """An emptyDir of the pod, on the node."""
        return empty_dir(self.root, self.uid, name)

    def log(self) -> str:
        """What the launcher has written."""
        path = self.root / "logs" / self.uid / "compute.log"
        return path.read_text() if path.exists() else ""

    async def exit_code(self, timeout: float = 60.0) -> int:
        """Wait for the container's end; its exit code."""
        async with asyncio.timeout(timeout):
            while True:
                status = await self.instance.engine.runtime.container_status(self.container)
                if status.state == 2:
                    return int(status.exit_code)
                await asyncio.sleep(0.1)


def empty_dir(root: Path, uid: str, name: str) -> Path:
    return root / "pods" / uid / "volumes" / "kubernetes.io~empty-dir" / name


async def import_images(instance: Instance, disk: Path) -> None:
    """The launcher's image and one with a container disk."""
    await launcher_image.ensure(instance.engine, VERSION)
    disk_image = build_image(files=[File("/disk", mode=0o755), File("/disk/disk.img", disk, 0o440, 107, 107)])
    await instance.engine.images.import_image(disk_image, [DISK_IMAGE])


def _mounts(root: Path, uid: str, disks: list[Path], capabilities: Path | None) -> list[cri.Mount]:
    found = [
        cri.Mount(container_path="/usr", host_path=contract.HOST_USR, readonly=True),
        cri.Mount(container_path=contract.PACKAGE_MOUNT, host_path=str(Path(kumo.__file__).parent), readonly=True),
    ]
    if capabilities is not None:
        found.append(cri.Mount(container_path=contract.CAPABILITIES_DIR, host_path=str(capabilities), readonly=True))
    for name, path in EMPTY_DIRS.items():
        host = empty_dir(root, uid, name)
        host.mkdir(parents=True)
        os.chown(host, 0, contract.UID)
        host.chmod(0o2775)
        found.append(cri.Mount(container_path=path, host_path=str(host)))
    for index, disk in enumerate(disks):
        found.append(cri.Mount(container_path=contract.image_volume(index), host_path=str(disk), readonly=True))
    return found


def make_tun(path: Path) -> Path:
    """A /dev/net/tun that everybody may open."""
    if not path.exists():
        os.mknod(path, 0o600 | 0o020000, os.makedev(10, 200))
        path.chmod(0o666)
    return path


@contextlib.asynccontextmanager
async def launcher_pod(
    instance: Instance,
    root: Path,
    name: str,
    vmi_uid: str,
    *,
    namespace: str = "default",
    disks: int = 1,
    arguments: tuple[str, ...] = (),
    capabilities: Path | None = None,
) -> AsyncIterator[LauncherPod]:
    """Run a launcher pod for the VMI of that name and uid; removed afterwards."""
    uid = secrets.token_hex(8)
    engine = instance.engine
    mounted = []
    for index in range(disks):
        target = root / "images" / uid / f"disk_{index}"
        await engine.snapshots.mount_image(DISK_IMAGE, target, f"{uid}-{index}")
        mounted.append(target)
    logs = root / "logs" / uid
    logs.mkdir(parents=True)
    hosts = logs / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {name}\n")  # libvirt asks for its own host's name
    labels = {
        "io.kubernetes.pod.name": f"virt-launcher-{name}",
        "io.kubernetes.pod.namespace": namespace,
        "io.kubernetes.pod.uid": uid,
    }
    pod = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=f"virt-launcher-{name}", uid=uid, namespace=namespace),
        hostname=name,
        log_directory=str(logs),
        dns_config=cri.DNSConfig(servers=["10.96.0.10"], searches=[f"{namespace}.svc.cluster.local"]),
        labels=labels,
        linux=cri.LinuxPodSandboxConfig(cgroup_parent=f"{instance.cgroup}/{uid}"),
    )
    sandbox = await engine.runtime.run_sandbox(pod)
    try:
        status = await engine.runtime.sandbox_status(sandbox)
        args = ["--name", name, "--uid", vmi_uid, "--namespace", namespace, "--run-as-nonroot", *arguments]
        user = cri.Int64Value(value=contract.UID)
        config = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="compute"),
            image=cri.ImageSpec(image=contract.image_reference(VERSION)),
            command=list(contract.COMMAND),
            args=args,
            envs=[cri.KeyValue(key=k, value=v.encode()) for k, v in contract.ENVIRONMENT.items()],
            mounts=[
                *_mounts(root, uid, mounted, capabilities),
                cri.Mount(container_path="/etc/hosts", host_path=str(hosts)),
            ],
            devices=[
                cri.Device(container_path="/dev/net/tun", host_path=str(make_tun(root / "tun")), permissions="rw")
            ],
            labels={**labels, "io.kubernetes.container.name": "compute"},
            log_path="compute.log",
            linux=cri.LinuxContainerConfig(
                security_context=cri.LinuxContainerSecurityContext(
                    capabilities=cri.Capability(drop_capabilities=["ALL"]),
                    run_as_user=user,
                    run_as_group=user,
                    supplemental_groups=[contract.UID],
                    no_new_privs=True,
                    namespace_options=cri.NamespaceOption(pid=1),
                )
            ),
        )
        container = await engine.runtime.create_container(sandbox, config, pod)
        await engine.runtime.start_container(container)
        yield LauncherPod(instance, root, uid, sandbox, container, status.status.network.ip)
    finally:
        with contextlib.suppress(Exception):
            await engine.runtime.stop_sandbox(sandbox)
            await engine.runtime.remove_sandbox(sandbox)
        for index, target in enumerate(mounted):
            await engine.snapshots.unmount_image(target, f"{uid}-{index}")
        await asyncio.to_thread(shutil.rmtree, root / "pods" / uid, ignore_errors=True)
