"""The resource claim controller: makes the ResourceClaims that pods have templates for, and frees those not needed.

resource.k8s.io/v1. A pod's claims are named in its `status.resourceClaimStatuses`; a claim's `status.reservedFor` loses
pods that are over or gone, and with the last of them the claim its devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import (
    Key,
    Object,
    annotations_of,
    controller_of,
    is_deleting,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from kumo.api.resources import GVR, PODS
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import WARNING, EventRecorder
from kumo.machinery.informer import Informers

_GROUP = ("resource.k8s.io", "v1")
CLAIMS = GVR(*_GROUP, "resourceclaims")
TEMPLATES = GVR(*_GROUP, "resourceclaimtemplates")
ANNOTATION = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"
_BY_CLAIM, _BY_TEMPLATE, _BY_OWNER = "resource-claim", "resource-claim-template", "owner-pod"
_LONGEST_PREFIX, _MOST_HOLDERS = 57, 256
_APPLY = "application/apply-patch+yaml"


def claim_name(pod: Object, entry: Mapping[str, Any]) -> str | None:
    """The name of the claim that an entry of `spec.resourceClaims` stands for; "" for none, None: not known yet."""
    if entry.get("resourceClaimName"):
        return str(entry["resourceClaimName"])
    for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if status.get("name") == entry["name"]:
            return status.get("resourceClaimName") or ""
    return None


def entries_of(pod: Object) -> list[Mapping[str, Any]]:
    """A pod's `spec.resourceClaims`."""
    return (pod.get("spec") or {}).get("resourceClaims") or []


def claim_from(template: Object, pod: Object, name: str) -> Object:
    """The claim that the pod's entry of that name gets from a template."""
    given = (template.get("spec") or {}).get("metadata") or {}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod), "controller": True}
    meta: dict[str, Any] = {
        "generateName": prefix_for(name_of(pod), name),
        "namespace": namespace_of(pod),
        "annotations": {**(given.get("annotations") or {}), ANNOTATION: name},
        "ownerReferences": [owner],
    }
    if given.get("labels"):
        meta["labels"] = dict(given["labels"])
    spec = deepcopy((template.get("spec") or {}).get("spec") or {})
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": meta, "spec": spec}


def prefix_for(pod: str, name: str) -> str:
    """What generated names begin with: both names, each shortened in proportion where they are too long."""
    prefix = f"{pod}-{name}-"
    if len(prefix) <= _LONGEST_PREFIX:
        return prefix
    total = len(prefix)
    return f"{pod[: len(pod) * _LONGEST_PREFIX // total]}-{name[: len(name) * _LONGEST_PREFIX // total]}"


def is_done(pod: Object) -> bool:
    """Whether a pod will never use its claims (again)."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    return is_deleting(pod) and not (pod.get("spec") or {}).get("nodeName")


def owner_of(claim: Object) -> Mapping[str, Any] | None:
    """The pod that the claim was made for."""
    owner = controller_of(claim)
    return owner if owner is not None and owner.get("kind") == "Pod" and owner.get("apiVersion") == "v1" else None


def holders_of(claim: Object) -> list[Mapping[str, Any]]:
    """Who the claim is reserved for."""
    return (claim.get("status") or {}).get("reservedFor") or []


def foreign(pod: Object, claim: Object) -> str:
    """Why a claim that a template was for is not the pod's; empty if it is."""
    if (controller_of(claim) or {}).get("uid") == uid_of(pod):
        return ""
    space = namespace_of(pod)
    return f"ResourceClaim {space}/{name_of(claim)} was not created for Pod {space}/{name_of(pod)} (Pod is not owner)"


class ResourceClaimController:
    """Two queues: pods whose claims are to be made or reserved, claims that may be free."""

    name = "resourceclaim-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, "resource_claim")
        self._pods = informers.informer(PODS)
        self._claims, self._templates = informers.informer(CLAIMS), informers.informer(TEMPLATES)
        self._pods.add_index(_BY_CLAIM, _claims_named)
        self._pods.add_index(_BY_TEMPLATE, _templates_named)
        self._claims.add_index(_BY_OWNER, lambda claim: [(owner_of(claim) or {}).get("uid", "")])
        self._made: dict[str, Object] = {}
        """Claims that the informer does not know yet, by uid."""
        self._controller = Controller(self.name, self._reconcile_pod, workers=2)
        self._freeing = Controller("resourceclaim-freeing", self._reconcile_claim, workers=2)
        self._controller.watch(self._pods, lambda pod: [key_of(pod)] if entries_of(pod) else [])
        self._freeing.watch(self._claims)
        self._freeing.watch(self._pods, _claim_keys)
        self._controller.watch(self._claims, self._pods_of)
        self._controller.watch(self._templates, self._pods_waiting)
        self._claims.on_change(self._claim_seen)

    async def run(self) -> None:
        """Run until cancelled."""
        for informer in (self._pods, self._claims, self._templates):
            await informer.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._controller.run())
            group.create_task(self._freeing.run())

    def _pods_of(self, claim: Object) -> Iterable[Key]:
        pods = self._pods.by_index(_BY_CLAIM, f"{namespace_of(claim)}/{name_of(claim)}")
        return [key_of(p) for p in pods]

    def _pods_waiting(self, template: Object) -> Iterable[Key]:
        pods = self._pods.by_index(_BY_TEMPLATE, f"{namespace_of(template)}/{name_of(template)}")
        return [key_of(p) for p in pods]

    def _claim_seen(self, old: Object | None, new: Object | None) -> None:
        self._made.pop(uid_of(new or old or {}), None)

    # -- pods -------------------------------------------------------------------------------------------------------

    async def _reconcile_pod(self, key: Key) -> float | None:
        pod = self._pods.get_key(key)
        if pod is None or is_deleting(pod) or is_done(pod):
            return None
        names: dict[str, str] = {}
        for entry in entries_of(pod):
            try:
                made = await self._claim_for(pod, entry)
            except (StatusError, OSError) as error:
                text = f"PodResourceClaim {entry['name']}: {error}"
                self._recorder.event(pod, WARNING, "FailedResourceClaimCreation", text)
                raise
            if made is not None:
                names[entry["name"]] = name_of(made)
        if names:
            await self._tell(pod, names)
        if (pod.get("spec") or {}).get("nodeName"):
            await self._reserve(pod)
        return None

    async def _claim_for(self, pod: Object, entry: Mapping[str, Any]) -> Object | None:
        """The claim that the pod's status does not name yet; None if there is nothing to do."""
        name = claim_name(pod, entry)
        if name == "" or not entry.get("resourceClaimTemplateName"):
            return None
        if name is not None:
            known = self._claims.get(name, namespace_of(pod))
            if (known is not None and not foreign(pod, known)) or self._just_made(pod, entry["name"], name):
                return None
        found = self._find(pod, entry["name"])
        if found is not None:
            return found
        template = self._templates.get(entry["resourceClaimTemplateName"], namespace_of(pod))
        if template is None:
            wanted = entry["resourceClaimTemplateName"]
            text = f'resourceclaimtemplate.resource.k8s.io "{wanted}" not found'
            raise StatusError(404, "NotFound", f'resource claim template "{wanted}": {text}')
        try:
            made = await self._client.create(CLAIMS, claim_from(template, pod, entry["name"]))
        except StatusError as error:
            raise StatusError(error.code, error.reason, f"create ResourceClaim : {error}") from error
        if self._claims.get(name_of(made), namespace_of(made)) is None:
            self._made[uid_of(made)] = made
        return made

    def _just_made(self, pod: Object, entry: str, name: str) -> bool:
        return any(name_of(c) == name for c in self._made.values() if _is_for(c, pod, entry))

    def _find(self, pod: Object, entry: str) -> Object | None:
        """A claim that was made for the pod before its status could say so."""
        claims = (*self._claims.by_index(_BY_OWNER, uid_of(pod)), *self._made.values())
        return next((c for c in claims if _is_for(c, pod, entry)), None)

    async def _tell(self, pod: Object, names: dict[str, str]) -> None:
        known = {e["name"]: claim_name(pod, e) for e in entries_of(pod) if not e.get("resourceClaimName")}
        told = {name: made for name, made in known.items() if made} | names
        statuses = [{"name": name, "resourceClaimName": made} for name, made in told.items()]
        patch = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name_of(pod), "namespace": namespace_of(pod)},
            "status": {"resourceClaimStatuses": statuses},
        }
        await self._client.patch(
            PODS,
            name_of(pod),
            patch,
            namespace_of(pod),
            kind=_APPLY,
            subresource="status",
            field_manager="ResourceClaimController",
            force=True,
        )

    async def _reserve(self, pod: Object) -> None:
        """A pod that was bound past the scheduler gets the claims that have devices."""
        for entry in entries_of(pod):
            claim = self._claims.get(claim_name(pod, entry) or "", namespace_of(pod))
            if claim is None or not (claim.get("status") or {}).get("allocation"):
                continue
            if entry.get("resourceClaimTemplateName") and foreign(pod, claim):
                continue
            holders = holders_of(claim)
            if any(h.get("uid") == uid_of(pod) for h in holders) or len(holders) >= _MOST_HOLDERS:
                continue
            mine = {"resource": "pods", "name": name_of(pod), "uid": uid_of(pod)}
            status = {**claim["status"], "reservedFor": [*holders, mine]}
            await self._client.update_status(CLAIMS, {**claim, "status": status})

    # -- claims -----------------------------------------------------------------------------------------------------

    async def _reconcile_claim(self, key: Key) -> float | None:
        claim = self._claims.get_key(key)
        if claim is None:
            return None
        before = holders_of(claim)
        left = [h for h in before if await self._uses(claim, h)]
        protected = FINALIZER in (claim["metadata"].get("finalizers") or [])
        if len(left) < len(before):
            claim = await self._write_holders(claim, left, free=protected and not left)
        elif protected and is_deleting(claim) and not left and (claim.get("status") or {}).get("allocation"):
            claim = await self._write_holders(claim, left, free=True)
        elif not (protected and is_deleting(claim) and not left):
            protected = False
        if protected and not (claim.get("status") or {}).get("allocation"):
            finalizers = [f for f in claim["metadata"].get("finalizers") or [] if f != FINALIZER]
            claim = await self._client.update(
                CLAIMS, {**claim, "metadata": {**claim["metadata"], "finalizers": finalizers}}
            )
        if not left:
            await self._delete_unused(claim)
        return None

    async def _uses(self, claim: Object, holder: Mapping[str, Any]) -> bool:
        """Whether who the claim is reserved for still needs it. Others than pods are not known here."""
        if holder.get("apiGroup") or holder.get("resource") != "pods":
            return True
        pod = self._pods.get(holder["name"], namespace_of(claim))
        if pod is None:  # perhaps one that the informer does not know yet
            try:
                pod = await self._client.get(PODS, holder["name"], namespace_of(claim))
            except StatusError as error:
                if not is_not_found(error):
                    raise
                return False
            return uid_of(pod) == holder.get("uid")
        return uid_of(pod) == holder.get("uid") and not is_done(pod)

    async def _write_holders(self, claim: Object, left: list[Mapping[str, Any]], *, free: bool) -> Object:
        status = {k: v for k, v in (claim.get("status") or {}).items() if k != "reservedFor"}
        if left:
            status["reservedFor"] = left
        if free:
            status.pop("allocation", None)
        return await self._client.update_status(CLAIMS, {**claim, "status": status})

    async def _delete_unused(self, claim: Object) -> None:
        """A claim made for a pod that is over goes before the pod does."""
        owner = owner_of(claim)
        pod = self._pods.get(owner["name"], namespace_of(claim)) if owner is not None else None
        if owner is None or pod is None or is_deleting(claim):
            return
        if uid_of(pod) != owner.get("uid") or is_done(pod):
            try:
                await self._client.delete(CLAIMS, name_of(claim), namespace_of(claim))
            except StatusError as error:
                if not is_not_found(error):
                    raise


def _is_for(claim: Object, pod: Object, entry: str) -> bool:
    return (owner_of(claim) or {}).get("uid") == uid_of(pod) and annotations_of(claim).get(ANNOTATION) == entry


def _claims_named(pod: Object) -> Iterator[str]:
    for entry in entries_of(pod):
        name = claim_name(pod, entry)
        if name:
            yield f"{namespace_of(pod)}/{name}"


def _templates_named(pod: Object) -> Iterator[str]:
    for entry in entries_of(pod):
        if entry.get("resourceClaimTemplateName"):
            yield f"{namespace_of(pod)}/{entry['resourceClaimTemplateName']}"


def _claim_keys(pod: Object) -> Iterable[Key]:
    names = [claim_name(pod, entry) for entry in entries_of(pod)]
    names.append(((pod.get("status") or {}).get("extendedResourceClaimStatus") or {}).get("resourceClaimName"))
    return [Key(namespace_of(pod), name) for name in names if name]
