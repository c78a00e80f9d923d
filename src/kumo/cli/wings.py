"""The control parts of KubeVirt and OpenStack, as the control plane takes them in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kumo.api.users import UserInfo
from kumo.cli.instance import Instance
from kumo.cli.prepare import Pki
from kumo.machinery.client import Client
from kumo.machinery.controller import Component
from kumo.machinery.extension import AdmissionHook, ApiGroup, TokenAuthenticator
from kumo.machinery.http import Handler
from kumo.machinery.informer import Informers

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
    return Wing("KubeVirt", _nothing)


def openstack(instance: Instance, informers: Informers, client_for: ClientFor) -> Wing:
    """Keystone, Glance and Nova."""
    return Wing("OpenStack", _nothing)
