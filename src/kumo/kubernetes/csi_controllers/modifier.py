"""Changes volumes to what their claims' VolumeAttributesClass says: the modifying half of external-resizer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from kumo.api.objects import Key, Object, annotations_of, key_of, name_of, namespace_of, timestamp
from kumo.api.resources import GVR, core
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.host.grpc_status import wire_text
from kumo.kubernetes.csi_controllers import secrets, volumes
from kumo.kubernetes.csi_controllers.tools import Backoff, Tools, Writes
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import NORMAL, WARNING, EventRecorder

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
CLASSES = GVR("storage.k8s.io", "v1", "volumeattributesclasses", False)
SECRET_NAME = "volume.kubernetes.io/controller-modify-secret-name"
SECRET_NAMESPACE = "volume.kubernetes.io/controller-modify-secret-namespace"
_PENDING, _IN_PROGRESS, _INFEASIBLE = "Pending", "InProgress", "Infeasible"
_MODIFYING, _ERROR = "ModifyingVolume", "ModifyVolumeError"


def asked(claim: Object) -> str:
    """The attributes class that the claim wants; empty for none."""
    return (claim.get("spec") or {}).get("volumeAttributesClassName") or ""


def current(claim: Object) -> str:
    """The attributes class that the claim's volume has; empty for none."""
    return (claim.get("status") or {}).get("currentVolumeAttributesClassName") or ""


def progress(claim: Object) -> dict[str, Any] | None:
    """How far a change got: `status` and `targetVolumeAttributesClassName`; None if there is none."""
    found: dict[str, Any] | None = (claim.get("status") or {}).get("modifyVolumeStatus")
    return found


def condition(kind: str, message: str, reason: str = "") -> dict[str, Any]:
    """A condition of a claim that is being changed."""
    made = {"type": kind, "status": "True", "lastProbeTime": timestamp(), "lastTransitionTime": None}
    return {**made, "message": message} | ({"reason": reason} if reason else {})


class Modifier:
    """Asks the driver to change volumes, and keeps at a change that it may have begun."""

    def __init__(self, tools: Tools, recorder: EventRecorder) -> None:
        self._tools = tools
        self._recorder = recorder
        self._backoff = Backoff(tools.config)
        self._writes = Writes()
        self._uncertain: set[Key] = set()
        self._not_before: dict[Key, tuple[str, float]] = {}
        self._seen: set[Key] = set()
        self.name = f"{tools.facts.name}-modifier"
        self._claims, self._volumes = (tools.informers.informer(gvr) for gvr in (CLAIMS, VOLUMES))
        self._classes = tools.informers.informer(CLASSES)
        self._controller = Controller(self.name, self._reconcile, workers=tools.config.workers)
        self._controller.watch(self._claims)
        self._controller.watch(self._volumes, lambda _: ())
        self._controller.watch(self._classes, self._of_class)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _of_class(self, attributes: Object) -> Iterable[Key]:
        return [key_of(c) for c in self._claims.objects() if asked(c) == name_of(attributes) != current(c)]

    async def _reconcile(self, key: Key) -> float | None:
        claim = self._claims.get_key(key)
        volume = self._volumes.get(((claim or {}).get("spec") or {}).get("volumeName") or "")
        bound = claim is not None and (claim.get("status") or {}).get("phase") == "Bound"
        if claim is None or not bound or volume is None or not self._tools.is_ours(volume):
            self._backoff.forget(key)
            self._uncertain.discard(key)
            return None
        if self._writes.is_stale(claim):
            return None
        state = progress(claim)
        begun = state is not None and state.get("status") == _IN_PROGRESS
        if begun and key not in self._seen:
            self._uncertain.add(key)  # An earlier run of ours may have asked for it.
        self._seen.add(key)
        wanted, target = asked(claim), (state or {}).get("targetVolumeAttributesClassName") or ""
        if state is None and wanted == current(claim):
            return None
        if not wanted and not begun:
            await self._roll_back(claim)
            return None
        held = self._not_before.get(key)
        if held is not None and held[0] == wanted and held[1] > time.monotonic():
            return held[1] - time.monotonic()
        fresh = not (begun and key in self._uncertain) and bool(wanted)
        return await self._change(key, claim, volume, wanted if fresh else target, fresh=fresh)

    async def _roll_back(self, claim: Object) -> None:
        conditions = (claim.get("status") or {}).get("conditions") or []
        left = [c for c in conditions if c.get("type") != _MODIFYING]
        if left != conditions:
            self._recorder.event(claim, NORMAL, "VolumeModifyCanceled", "Cancelled modify.")
            await self._patch(claim, {"conditions": left})

    async def _change(self, key: Key, claim: Object, volume: Object, name: str, *, fresh: bool) -> float | None:
        attributes = self._classes.get(name)
        if attributes is None:
            self._recorder.event(claim, WARNING, "VolumeModifyFailed", f'VAC "{name}" does not exist.')
            if fresh and (progress(claim) or {}).get("status") != _PENDING:
                await self._patch(claim, {"modifyVolumeStatus": {"status": _PENDING}})
            return None
        if fresh:
            text = f'Modifying volume to "{name}" is in progress.'
            state = {"status": _IN_PROGRESS, "targetVolumeAttributesClassName": name}
            claim = await self._patch(claim, self._with(claim, state, [condition(_MODIFYING, text)]))
            text = f"external resizer is modifying volume {name_of(claim)} with vac {name}"
            self._recorder.event(claim, NORMAL, "VolumeModify", text)
        try:
            await self._ask(claim, volume, attributes)
        except CsiError as error:
            await self._refused(key, claim, name, error)
        except secrets.SecretError as error:
            await self._refused(key, claim, name, CsiError("UNKNOWN", str(error)))
        await self._done(key, claim, volume, name)
        return None

    async def _ask(self, claim: Object, volume: Object, attributes: Object) -> None:
        parameters = dict(attributes.get("parameters") or {})
        if self._tools.config.extra_metadata:
            parameters[volumes.CLAIM_NAME] = name_of(claim)
            parameters[volumes.CLAIM_NAMESPACE] = namespace_of(claim)
            parameters[volumes.VOLUME_NAME] = name_of(volume)
        handle = volume["spec"]["csi"]["volumeHandle"]
        request = pb.ControllerModifyVolumeRequest(volume_id=handle, mutable_parameters=parameters)
        annotations = annotations_of(volume)
        if annotations.get(SECRET_NAME):
            ref = {"name": annotations[SECRET_NAME], "namespace": annotations.get(SECRET_NAMESPACE, "")}
            request.secrets.update(await secrets.read(self._tools.client, ref))
        await self._tools.csi.controller.modify(request, self._tools.config.timeout)

    async def _refused(self, key: Key, claim: Object, name: str, error: CsiError) -> None:
        """Write down why, tell it, and raise Temporary."""
        infeasible = error.final and error.code == "INVALID_ARGUMENT"
        going_on = "failed. Waiting for retry." if error.final else "is still in progress."
        code = wire_text(error.code, "").split("code = ")[1].split(" desc")[0]
        conditions = [
            condition(_MODIFYING, f'Modifying volume to "{name}" {going_on}'),
            condition(_ERROR, error.message, code),
        ]
        state = {"status": _INFEASIBLE if infeasible else _IN_PROGRESS, "targetVolumeAttributesClassName": name}
        await self._patch(claim, self._with(claim, state, conditions))
        text = error.wire if error.final else f"{error.wire}. Still modifying to VAC {name}"
        self._recorder.event(claim, WARNING, "VolumeModifyFailed", text)
        if error.final:
            self._uncertain.discard(key)
        else:
            self._uncertain.add(key)
        if infeasible:
            self._not_before[key] = (name, time.monotonic() + self._tools.config.infeasible)
            raise Temporary(text, self._tools.config.infeasible)
        raise Temporary(text, self._backoff.failed(key))

    async def _done(self, key: Key, claim: Object, volume: Object, name: str) -> None:
        """The volume first: a claim that says it is done has a volume that says so."""
        patch = {"spec": {"volumeAttributesClassName": name}}
        await self._tools.client.patch(VOLUMES, name_of(volume), patch)
        conditions = (claim.get("status") or {}).get("conditions") or []
        left = [c for c in conditions if c.get("type") not in (_MODIFYING, _ERROR)]
        status = {"modifyVolumeStatus": None, "currentVolumeAttributesClassName": name, "conditions": left or None}
        claim = await self._patch(claim, status)
        text = f"external resizer modified volume {name_of(claim)} with vac {name} successfully"
        self._recorder.event(claim, NORMAL, "VolumeModifySuccessful", text)
        self._backoff.forget(key)
        self._uncertain.discard(key)
        self._not_before.pop(key, None)

    def _with(self, claim: Object, state: dict[str, Any], conditions: list[dict[str, Any]]) -> dict[str, Any]:
        kinds = {c["type"] for c in conditions}
        left = [c for c in (claim.get("status") or {}).get("conditions") or [] if c.get("type") not in kinds]
        return {"modifyVolumeStatus": state, "conditions": [*left, *conditions]}

    async def _patch(self, claim: Object, status: dict[str, Any]) -> Object:
        patch = {"metadata": {"resourceVersion": claim["metadata"]["resourceVersion"]}, "status": status}
        namespace = namespace_of(claim)
        made = await self._tools.client.patch(CLAIMS, name_of(claim), patch, namespace, subresource="status")
        return self._writes.note(made)
