"""The control parts of KubeVirt and OpenStack, as the control plane takes them in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import kumo
from kumo.api.users import MASTERS_GROUP, UserInfo, service_account_user
from kumo.cli.instance import Instance
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


async def _nothing() -> None:
    return


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
        await api.install(client_for(_INSTALLER), use_emulation=not kvm.usable)

    return Wing("KubeVirt", install, components=(own, controller), hooks=api.hooks, groups=api.groups)


def openstack(instance: Instance, informers: Informers, client_for: ClientFor) -> Wing:
    """Keystone, Glance and Nova."""
    return Wing("OpenStack", _nothing)
