"""Installing KubeVirt: what virt-operator does elsewhere. Idempotent, run at every start.

Makes the namespace, the CRDs, the roles, the service accounts' rights and the KubeVirt object, and keeps that object's
status. Its `spec` is the user's: it is written at the first start only.
"""

from __future__ import annotations

from typing import Any

from kumo.api.conditions import set_condition
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, name_of, namespace_of, timestamp
from kumo.api.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CRDS,
    GVR,
    KUBEVIRTS,
    NAMESPACES,
    SERVICEACCOUNTS,
)
from kumo.kubevirt.common.config import host_architecture
from kumo.kubevirt.common.names import API_VERSION, GIT_VERSION, INSTALL_NAMESPACE
from kumo.kubevirt.virt_api.crds import custom_resource_definitions
from kumo.kubevirt.virt_api.roles import component_roles, user_bindings, user_roles
from kumo.machinery.client import Client

KUBEVIRT_NAME = "kubevirt"
_READY = "All components are ready."
_COLLECTIONS = {"ClusterRole": CLUSTERROLES, "ClusterRoleBinding": CLUSTERROLEBINDINGS}


async def install(client: Client, *, use_emulation: bool = False) -> Object:
    """Install or update KubeVirt; the KubeVirt object, phase Deployed.

    `client` must be allowed to do everything. `use_emulation`: this machine has no KVM, so that a new KubeVirt object
    allows emulation; an existing one keeps what it says. Raises StatusError when the API server refuses.
    """
    labels = {"kubevirt.io": "", "pod-security.kubernetes.io/enforce": "privileged"}
    namespace = {"name": INSTALL_NAMESPACE, "labels": labels}
    await _ensure(client, NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace}, keep=True)
    for crd in custom_resource_definitions():
        await _ensure(client, CRDS, crd)
    for obj in (*user_roles(), *user_bindings(), *component_roles()):
        await _ensure(client, _COLLECTIONS[obj["kind"]], obj)
    for name in ("kubevirt-apiserver", "kubevirt-controller", "kubevirt-handler", "kubevirt-operator"):
        meta = {"name": name, "namespace": INSTALL_NAMESPACE, "labels": {"kubevirt.io": ""}}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        await _ensure(client, SERVICEACCOUNTS, account, keep=True)
    kubevirt = await _ensure(client, KUBEVIRTS, kubevirt_object(use_emulation), keep=True)
    return await _set_status(client, kubevirt)


def kubevirt_object(use_emulation: bool) -> Object:
    """The KubeVirt object of a first start."""
    developer: dict[str, Any] = {"featureGates": []}
    if use_emulation:
        developer["useEmulation"] = True
    return {
        "apiVersion": API_VERSION,
        "kind": "KubeVirt",
        "metadata": {"name": KUBEVIRT_NAME, "namespace": INSTALL_NAMESPACE},
        "spec": {
            "certificateRotateStrategy": {},
            "configuration": {"developerConfiguration": developer},
            "customizeComponents": {},
            "imagePullPolicy": "IfNotPresent",
            "workloadUpdateStrategy": {},
        },
    }


def deployed_status(old: dict[str, Any] | None, generation: int, now: str) -> dict[str, Any]:
    """The status of an installation in which everything runs, from the one before."""
    status = dict(old or {})
    conditions: list[dict[str, Any]] = [dict(c) for c in status.get("conditions") or ()]
    for kind, value, reason, message in (
        ("Created", "True", "AllResourcesCreated", "All resources were created."),
        ("Available", "True", "AllComponentsReady", _READY),
        ("Progressing", "False", "AllComponentsReady", _READY),
        ("Degraded", "False", "AllComponentsReady", _READY),
    ):
        made = {"type": kind, "status": value, "reason": reason, "message": message}
        if set_condition(conditions, made, now):
            next(c for c in conditions if c["type"] == kind).setdefault("lastProbeTime", now)
    version = GIT_VERSION
    return status | {
        "conditions": conditions,
        "defaultArchitecture": host_architecture(),
        "observedGeneration": generation,
        "observedKubeVirtVersion": version,
        "operatorVersion": version,
        "targetKubeVirtVersion": version,
        "phase": "Deployed",
    }


async def _set_status(client: Client, kubevirt: Object) -> Object:
    generation = int(kubevirt["metadata"].get("generation", 0))
    wanted = deployed_status(kubevirt.get("status"), generation, timestamp())
    if wanted == kubevirt.get("status"):
        return kubevirt
    return await client.update_status(KUBEVIRTS, {**kubevirt, "status": wanted})


async def _ensure(client: Client, gvr: GVR, obj: Object, *, keep: bool = False) -> Object:
    """Make the object, or bring an existing one to the wanted state (`keep`: leave it as it is)."""
    try:
        found = await client.get(gvr, name_of(obj), namespace_of(obj))
    except StatusError as error:
        if not is_not_found(error):
            raise
        try:
            return await client.create(gvr, obj)
        except StatusError as lost:
            if not is_already_exists(lost):
                raise
            return await client.get(gvr, name_of(obj), namespace_of(obj))
    if keep:
        return found
    wanted = {**found, **{k: v for k, v in obj.items() if k != "metadata"}}
    labels = {**(found["metadata"].get("labels") or {}), **(obj["metadata"].get("labels") or {})}
    if labels:
        wanted["metadata"] = {**found["metadata"], "labels": labels}
    return found if wanted == found else await client.update(gvr, wanted)
