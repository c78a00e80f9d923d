"""The control parts of KubeVirt and OpenStack, as the control plane takes them in."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import kumo
from kumo.api.errors import StatusError, is_already_exists
from kumo.api.users import MASTERS_GROUP, UserInfo, service_account_user
from kumo.cli.disks import NodeDisks
from kumo.cli.instance import Instance
from kumo.cli.node_rights import virt_rights
from kumo.cli.prepare import Pki
from kumo.host.kvm import recorded
from kumo.kubevirt.virt_api.component import VirtApi
from kumo.kubevirt.virt_controller.component import VirtController
from kumo.kubevirt.virt_controller.launcher import LauncherConfig
from kumo.machinery.client import Client
from kumo.machinery.controller import Component
from kumo.machinery.extension import AdmissionHook, ApiGroup, TokenAuthenticator
from kumo.machinery.http import Handler
from kumo.machinery.informer import Informers
from kumo.machinery.transport import HttpTransport
from kumo.openstack import PREFIXES, OpenStack, OpenStackConfig, clouds_yaml

_INSTALLER = UserInfo("system:kumo-installer", (MASTERS_GROUP,))
ClientFor = Callable[[UserInfo], Client]


@dataclass(frozen=True, slots=True)
class Wing:
    """What a wing brings: hooks and groups for the API server, paths of its own, objects to install, components."""

    step: str
    install: Callable[[], Awaitable[None]]
    components: Sequence[Component] = ()
    hooks: Sequence[AdmissionHook] = ()
    groups: Sequence[ApiGroup] = ()
    token_authenticators: Sequence[TokenAuthenticator] = ()
    prefixes: Sequence[str] = ()
    handler: Handler | None = None


def kubevirt(instance: Instance, pki: Pki, informers: Informers, client_for: ClientFor) -> Wing:
    """virt-api and virt-controller."""

    def account(name: str) -> Client:
        return client_for(service_account_user("kubevirt", name))

    def dial(address: str) -> HttpTransport:
        pair = pki.kubelet_client
        return HttpTransport(f"https://{address}", ca=pki.ca, cert=pair.cert, key=pair.key)

    own = Informers(informers.client)
    api = VirtApi(account("kubevirt-apiserver"), own, dial)
    package = Path(kumo.__file__).parent
    launcher = LauncherConfig(
        version=kumo.__version__,
        package_dir=str(package),
        capabilities_dir=str(instance.node_dir / "virt-handler" / "capabilities"),
    )
    controller = VirtController(account("kubevirt-controller"), own, launcher)

    async def install() -> None:
        kvm = await asyncio.to_thread(recorded, instance.kvm_path)
        installer = client_for(_INSTALLER)
        await api.install(installer, use_emulation=not kvm.usable)
        for gvr, obj in virt_rights():
            try:
                await installer.create(gvr, obj)
            except StatusError as error:
                if not is_already_exists(error):
                    raise

    return Wing("KubeVirt", install, components=(own, controller), hooks=api.hooks, groups=api.groups)


def openstack(instance: Instance, informers: Informers, client_for: ClientFor) -> Wing:
    """Keystone, Glance and Nova; `clouds.yaml` with the administrator's password is written here, and kept."""
    password = _openstack_password(instance)
    config = OpenStackConfig(images_dir=instance.images_dir, admin_password=password)
    disks = NodeDisks(instance.containerd_socket, instance.images_dir / "uploads")
    service = OpenStack(config, client_for(_INSTALLER), client_for, disks)

    async def install() -> None:
        await service.install()
        text = clouds_yaml(instance.url, password, instance.pki_dir / "ca.crt")
        await asyncio.to_thread(_write_private, instance.clouds_yaml, text)

    return Wing(
        "OpenStack",
        install,
        token_authenticators=[service.authenticate_token],
        prefixes=PREFIXES,
        handler=service.handler,
    )


def _openstack_password(instance: Instance) -> str:
    """The administrator's password: what clouds.yaml says, else a new one."""
    try:
        kept = yaml.safe_load(instance.clouds_yaml.read_text())["clouds"]["kumo"]["auth"]["password"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        kept = None
    return kept if isinstance(kept, str) and kept else secrets.token_urlsafe(18)


def _write_private(path: Path, text: str) -> None:
    """Replace the file, which nobody but its owner may read."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
