"""The shell that grows volumes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from kumo.api.objects import Key, Object, annotations_of, key_of, name_of, namespace_of
from kumo.api.resources import PODS, core
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import secrets, volumes
from kumo.kubernetes.csi_controllers.resizer import decision, forms
from kumo.kubernetes.csi_controllers.tools import Backoff, Tools, Writes
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import NORMAL, WARNING, EventRecorder

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
_INFEASIBLE = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND"})
_log = structlog.get_logger("kumo.csi-resizer")


class Resizer:
    """Asks the driver for larger volumes. `controls`: it grows volumes; else only nodes grow their file systems."""

    def __init__(self, tools: Tools, recorder: EventRecorder) -> None:
        self._tools = tools
        self._recorder = recorder
        self._controls = "EXPAND_VOLUME" in tools.facts.controller
        self._backoff = Backoff(tools.config)
        self._writes = Writes()
        self._surely_failed: set[Key] = set()
        self._in_use: set[Key] = set()
        self._not_before: dict[Key, float] = {}
        self.name = f"{tools.facts.name}-resizer"
        self._claims, self._volumes = (tools.informers.informer(gvr) for gvr in (CLAIMS, VOLUMES))
        self._pods = tools.informers.informer(PODS) if "volume_expansion.OFFLINE" in tools.facts.plugin else None
        self._controller = Controller(self.name, self._reconcile, workers=tools.config.workers)
        self._controller.watch(self._claims)
        self._controller.watch(self._volumes, _claim_of)
        if self._pods is not None:
            self._controller.watch(self._pods, self._waiting_claims)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _waiting_claims(self, pod: Object) -> Iterable[Key]:
        return [key for key in _used(pod) if key in self._in_use]

    async def _reconcile(self, key: Key) -> float | None:
        claim = self._claims.get_key(key)
        volume = self._volumes.get(((claim or {}).get("spec") or {}).get("volumeName") or "")
        if claim is None or volume is None or not self._tools.is_ours(volume):
            self._forget(key)
            return None
        if self._writes.is_stale(claim):
            return None
        volume = await self._note_done(claim, volume)
        if not decision.needs_resize(claim, volume):
            self._forget(key)
            return None
        goal = decision.target(claim, volume, failed=key in self._surely_failed, controls=self._controls)
        if goal is None:
            return None
        same = decision.allocated(claim) == goal
        left = self._not_before.get(key, 0.0) - time.monotonic()
        if same and left > 0 and decision.resize_status(claim) == decision.CONTROLLER_INFEASIBLE:
            return left
        wanted = forms.in_progress(claim, goal, fresh=not same)
        claim = await self._write(claim, wanted, annotation=None)
        if key in self._in_use and self._is_used(key):
            where = f"{namespace_of(claim)}/{name_of(claim)}"
            why = "only supports offline expansion and volume is currently in-use"
            text = f"Unable to expand {where} because CSI driver {self._tools.facts.name} {why}"
            self._recorder.event(claim, WARNING, "VolumeResizeFailed", text)
            raise Temporary(text, self._backoff.failed(key))
        text = f"External resizer is resizing volume {name_of(volume)}"
        self._recorder.event(claim, NORMAL, "Resizing", text)
        self._in_use.discard(key)
        await self._resize(key, claim, volume, goal)
        self._forget(key)
        return None

    def _forget(self, key: Key) -> None:
        self._backoff.forget(key)
        self._surely_failed.discard(key)
        self._in_use.discard(key)
        self._not_before.pop(key, None)

    async def _note_done(self, claim: Object, volume: Object) -> Object:
        """Once the file system has the volume's size, the volume need not remember the old one."""
        if forms.SIZE_BEFORE_RESIZE not in annotations_of(volume):
            return volume
        if decision.capacity(claim) < volumes.size(volume, "spec", "capacity"):
            return volume
        patch = {"metadata": {"annotations": {forms.SIZE_BEFORE_RESIZE: None}}}
        return await self._tools.client.patch(VOLUMES, name_of(volume), patch)

    async def _resize(self, key: Key, claim: Object, volume: Object, goal: int) -> None:
        try:
            size, node_too = await self._ask(volume, goal)
        except CsiError as error:
            await self._refused(key, claim, volume, error)
            return
        except (secrets.SecretError, volumes.Unsupported) as error:
            text = self._failure(volume, str(error))
            self._recorder.event(claim, WARNING, "VolumeResizeFailed", text)
            raise Temporary(text, self._backoff.failed(key)) from None
        await self._grown(claim, volume, size, node_too=node_too)
        if node_too:
            claim = await self._write(claim, forms.waiting_for_node(claim), annotation=None)
            text = "Require file system resize of volume on node"
            self._recorder.event(claim, NORMAL, "FileSystemResizeRequired", text)
        else:
            claim = await self._write(claim, forms.finished(claim, size), annotation="true")
            self._recorder.event(claim, NORMAL, "VolumeResizeSuccessful", "Resize volume succeeded")
        _log.info("volume grown", volume=name_of(volume), bytes=size, node_too=node_too)

    async def _ask(self, volume: Object, goal: int) -> tuple[int, bool]:
        """The new size, and whether the node has to grow the file system. Raises CsiError and SecretError."""
        if not self._controls:
            return goal, True
        source = volume["spec"]["csi"]
        request = pb.ControllerExpandVolumeRequest(volume_id=source["volumeHandle"])
        request.capacity_range.required_bytes = goal
        request.volume_capability.CopyFrom(volumes.capability_of(volume, many_writers=self._tools.facts.many_writers))
        request.secrets.update(await secrets.read(self._tools.client, source.get("controllerExpandSecretRef")))
        answer = await self._tools.csi.controller.expand(request, self._tools.config.timeout)
        return answer.capacity_bytes or goal, answer.node_expansion_required

    def _failure(self, volume: Object, why: str) -> str:
        return f'resize volume "{name_of(volume)}" by resizer "{self._tools.facts.name}" failed: {why}'

    async def _refused(self, key: Key, claim: Object, volume: Object, error: CsiError) -> None:
        if error.code == "FAILED_PRECONDITION":
            self._in_use.add(key)
        infeasible = error.code in _INFEASIBLE
        if error.final:
            self._surely_failed.add(key)
            await self._write(claim, forms.failed(claim, error.wire, infeasible=infeasible), annotation=None)
        else:
            self._surely_failed.discard(key)
        text = self._failure(volume, error.wire)
        self._recorder.event(claim, WARNING, "VolumeResizeFailed", text)
        if infeasible:
            self._not_before[key] = time.monotonic() + self._tools.config.infeasible
            raise Temporary(text, self._tools.config.infeasible)
        raise Temporary(text, self._backoff.failed(key))

    async def _grown(self, claim: Object, volume: Object, size: int, *, node_too: bool) -> None:
        """Write the volume's new size, and the old one of its file system."""
        if volumes.size(volume, "spec", "capacity") == size:
            return
        patch: dict[str, Any] = {"spec": {"capacity": {"storage": volumes.in_bytes(size)}}}
        if node_too and forms.SIZE_BEFORE_RESIZE not in annotations_of(volume):
            old = ((claim.get("status") or {}).get("capacity") or {}).get("storage") or "0"
            patch["metadata"] = {"annotations": {forms.SIZE_BEFORE_RESIZE: old}}
        await self._tools.client.patch(VOLUMES, name_of(volume), patch)

    async def _write(self, claim: Object, status: Mapping[str, Any], *, annotation: str | None) -> Object:
        """Write the claim's status, and whether its node has nothing to do."""
        old = annotations_of(claim).get(forms.NO_NODE_EXPANSION)
        if status == (claim.get("status") or {}) and old == annotation:
            return claim
        meta: dict[str, Any] = {"resourceVersion": claim["metadata"]["resourceVersion"]}
        if old != annotation:
            meta["annotations"] = {forms.NO_NODE_EXPANSION: annotation}
        fields = ("conditions", "capacity", "allocatedResources", "allocatedResourceStatuses")
        patch = {"metadata": meta, "status": {f: status.get(f) or None for f in fields}}
        if not status.get("allocatedResourceStatuses"):
            patch["status"]["allocatedResourceStatuses"] = None
        namespace = namespace_of(claim)
        made = await self._tools.client.patch(CLAIMS, name_of(claim), patch, namespace, subresource="status")
        return self._writes.note(made)

    def _is_used(self, key: Key) -> bool:
        if self._pods is None:
            return False
        ended = ("Succeeded", "Failed")
        running = (p for p in self._pods.objects(key.namespace) if (p.get("status") or {}).get("phase") not in ended)
        return any(key in _used(p) for p in running if (p.get("spec") or {}).get("nodeName"))


def _claim_of(volume: Object) -> list[Key]:
    ref = (volume.get("spec") or {}).get("claimRef")
    return [Key(ref.get("namespace") or "", ref.get("name") or "")] if ref else []


def _used(pod: Object) -> list[Key]:
    namespace, _ = key_of(pod)
    found = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            found.append(Key(namespace, volume["persistentVolumeClaim"].get("claimName") or ""))
        elif volume.get("ephemeral") is not None:
            found.append(Key(namespace, f"{name_of(pod)}-{volume['name']}"))
    return found
