"""virt-api as one value: what an API server takes in, and what has to be installed first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kumo.kubevirt.common.live_config import LiveConfig
from kumo.kubevirt.virt_api.admission import admission_hooks
from kumo.kubevirt.virt_api.install import install
from kumo.kubevirt.virt_api.subresources import subresource_group
from kumo.machinery.client import Client, Transport
from kumo.machinery.extension import AdmissionHook, ApiGroup
from kumo.machinery.informer import Informers


class VirtApi:
    """Hooks and API group of KubeVirt.

    `client` acts as `system:serviceaccount:kubevirt:kubevirt-apiserver` (group `system:authenticated`). `dial` gives a
    transport to the virt-handler at `host:port`, which is closed after use. `informers` follow the KubeVirt object; the
    composition runs them, best after `install`, since before it there is nothing to follow.
    """

    def __init__(self, client: Client, informers: Informers, dial: Callable[[str], Transport]) -> None:
        self.config = LiveConfig(informers)
        self.hooks: Sequence[AdmissionHook] = admission_hooks(client, self.config)
        self.groups: Sequence[ApiGroup] = (subresource_group(client, self.config, dial),)

    async def install(self, client: Client, *, use_emulation: bool = False) -> None:
        """Install KubeVirt; `client` may do everything. `use_emulation`: this machine has no KVM."""
        await install(client, use_emulation=use_emulation)
