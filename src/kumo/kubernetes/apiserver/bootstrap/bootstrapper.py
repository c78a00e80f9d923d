"""Putting the default objects in place: list what there is, create what is missing, add what lacks."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Key, Object, key_of
from kumo.api.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    GVR,
    NAMESPACES,
    PRIORITYCLASSES,
    ROLEBINDINGS,
    ROLES,
    SERVICES,
)
from kumo.kubernetes.apiserver.authentication.front_proxy import FrontProxyConfig
from kumo.kubernetes.apiserver.bootstrap.default_roles import default_rbac
from kumo.kubernetes.apiserver.bootstrap.identity_objects import identity_objects
from kumo.kubernetes.apiserver.bootstrap.reconcile import reconciled
from kumo.machinery.client import Client

_log = structlog.get_logger("kumo.bootstrap")
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_KINDS: dict[str, GVR] = {
    "Namespace": NAMESPACES,
    "ClusterRole": CLUSTERROLES,
    "Role": ROLES,
    "ClusterRoleBinding": CLUSTERROLEBINDINGS,
    "RoleBinding": ROLEBINDINGS,
    "PriorityClass": PRIORITYCLASSES,
    "Service": SERVICES,
    "ConfigMap": CONFIGMAPS,
}
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class BootstrapConfig:
    """What the defaults depend on: the service ranges (CIDRs, by comma), where the API server is reached by pods."""

    service_cidr: str
    advertise_address: str
    advertise_port: int = 6443
    client_ca_pem: str = ""
    front_proxy: FrontProxyConfig | None = None


async def bootstrap(
    client: Client,
    config: BootstrapConfig,
    extra: Sequence[tuple[GVR, Object]] = (),
    finished: Callable[[str], None] = lambda _: None,
) -> None:
    """Make the defaults true; safe to repeat. `extra` are objects of other wings, created in order if missing.

    `finished` is told "namespaces" and "defaults". Raises the StatusError of a write that fails for another reason than
    somebody being faster.
    """
    await _ensure(client, [(NAMESPACES, _namespace(n)) for n in SYSTEM_NAMESPACES])
    finished("namespaces")
    identity = identity_objects(config.client_ca_pem, config.front_proxy)
    defaults = (*default_rbac(), *_priority_classes(), own_service(config), *identity)
    wanted = [(_KINDS[o["kind"]], o) for o in defaults]
    await _ensure(client, wanted)
    finished("defaults")
    namespaces = [(g, o) for g, o in extra if g == NAMESPACES]
    await _ensure(client, namespaces)
    await _ensure(client, [(g, o) for g, o in extra if g != NAMESPACES])


async def _ensure(client: Client, wanted: Sequence[tuple[GVR, Object]]) -> None:
    kinds = list(dict.fromkeys(gvr for gvr, _ in wanted))
    lists = await asyncio.gather(*(client.list(gvr) for gvr in kinds))
    found: dict[tuple[GVR, Key], Object] = {
        (gvr, key_of(o)): o for gvr, answer in zip(kinds, lists, strict=True) for o in answer.items
    }
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(gvr: GVR, obj: Object) -> bool:
        async with gate:
            return await _ensure_one(client, gvr, obj, found.get((gvr, key_of(obj))))

    changed = await asyncio.gather(*(one(gvr, obj) for gvr, obj in wanted))
    if any(changed):
        _log.info("default objects written", count=sum(changed), of=len(changed))


async def _ensure_one(client: Client, gvr: GVR, wanted: Object, found: Object | None) -> bool:
    for _ in range(5):
        try:
            if found is None:
                await client.create(gvr, wanted)
                return True
            new = reconciled(found, wanted)
            if new is None:
                return False
            await client.update(gvr, new)
            return True
        except StatusError as error:
            # Another server of the same store may be faster: then the own service's address is taken, too.
            if found is not None and not is_conflict(error):
                raise
            key = key_of(wanted)
            try:
                found = await client.get(gvr, key.name, key.namespace)
            except StatusError as missing:
                if not (is_not_found(missing) and is_already_exists(error)):
                    raise error from None
                found = None
    return False


def _namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _priority_classes() -> list[Object]:
    def one(name: str, value: int, description: str) -> Object:
        return {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "globalDefault": False,
            "preemptionPolicy": "PreemptLowerPriority",
            "description": description,
        }

    return [
        one(
            "system-node-critical",
            2000001000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        one(
            "system-cluster-critical",
            2000000000,
            "Used for system critical pods that must run in the cluster, "
            "but can be moved to another node if necessary.",
        ),
    ]


def own_service(config: BootstrapConfig) -> Object:
    """The service `default/kubernetes` (its endpoints: `own_endpoints`)."""
    network = ipaddress.ip_network(config.service_cidr.partition(",")[0])
    own = str(network[1])
    family = f"IPv{network.version}"
    meta = {"name": "kubernetes", "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**meta, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": own,
            "clusterIPs": [own],
            "ipFamilies": [family],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.advertise_port}],
        },
    }
