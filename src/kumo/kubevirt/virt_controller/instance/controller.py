"""The shell of the VMI controller: creates and deletes pods, writes the instance."""

from __future__ import annotations

import copy
from collections.abc import Callable

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import (
    Key,
    Object,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    timestamp,
    uid_of,
)
from kumo.api.resources import PODS, VMIS, VMS
from kumo.kubevirt.common import names
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.virt_controller.conditions import is_status
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.instance import pods
from kumo.kubevirt.virt_controller.instance.claims import ClaimReader
from kumo.kubevirt.virt_controller.instance.patch import instance_patch
from kumo.kubevirt.virt_controller.instance.state import HANDLER_PHASES, View, new_state
from kumo.kubevirt.virt_controller.launcher import LauncherConfig, launcher_pod
from kumo.kubevirt.virt_controller.launcher.volumes import ClaimNotFound
from kumo.kubevirt.virt_controller.patches import tested_patch
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

_RENDER = "failed to render launch manifest"
_SYNCED_LABELS = (names.NODE_NAME_LABEL,)


class InstanceController:
    """Keeps VirtualMachineInstances. `client` acts as virt-controller."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        events: EventRecorder,
        config: Callable[[], ClusterConfig],
        launcher: LauncherConfig,
    ) -> None:
        self._client = client
        self._events = events
        self._config = config
        self._launcher = launcher
        self._vmis = informers.informer(VMIS)
        self._vms = informers.informer(VMS)
        self._pods = informers.informer(PODS, label_selector=f"{names.APP_LABEL}=virt-launcher")
        self._pods.add_index("owner", lambda pod: [(controller_of(pod) or {}).get("uid") or ""])
        self._claims = ClaimReader(client)
        self._made: dict[str, Object] = {}
        self.controller = Controller("virt-controller vmi", self.reconcile)
        self.controller.watch(self._vmis)
        self.controller.watch_owned(self._pods, "VirtualMachineInstance")

    async def reconcile(self, key: Key) -> float | None:
        """Make one instance right."""
        cached = self._vmis.get_key(key)
        if cached is None:
            self._made = {uid: pod for uid, pod in self._made.items() if _instance_key(pod) != key}
            return None
        vmi = copy.deepcopy(cached)
        vmi.setdefault("apiVersion", names.API_VERSION)
        vmi.setdefault("kind", "VirtualMachineInstance")
        owned = self._owned(vmi)
        pod = pods.current_pod(vmi, owned)
        failure: SyncFailure | None = None
        try:
            made = await self._sync(vmi, pod, owned)
            if made is not None:
                pod, owned = made, [*owned, made]
        except SyncFailure as error:
            failure = error
        await self._update(vmi, View(owned, pod, self._launcher.image, self._has_machine(vmi), failure))
        if failure is not None and failure.retry:
            raise StatusError(500, failure.reason, str(failure))
        return None

    def _owned(self, vmi: Object) -> list[Object]:
        """The instance's pods, the one just made among them even if the cache has not got it yet."""
        found = self._pods.by_index("owner", uid_of(vmi))
        made = self._made.get(uid_of(vmi))
        if made is not None and uid_of(made) in {uid_of(p) for p in found}:
            del self._made[uid_of(vmi)]
            made = None
        return [*found, made] if made is not None and not found else list(found)

    def _has_machine(self, vmi: Object) -> bool:
        owner = controller_of(vmi)
        if owner is None or owner.get("kind") != "VirtualMachine":
            return False
        return uid_of(self._vms.get(owner["name"], namespace_of(vmi)) or {}) == str(owner["uid"])

    # -- pods -------------------------------------------------------------------------------------------------------

    async def _sync(self, vmi: Object, pod: Object | None, owned: list[Object]) -> Object | None:
        """Delete the pods of an instance that is to go, make the pod of a new one; the pod if one was made."""
        phase = (vmi.get("status") or {}).get("phase") or ""
        if is_deleting(vmi):
            await self._delete_pods(vmi, owned)
            return None
        if phase in names.FINAL_PHASES or pod is not None or phase not in ("", names.PENDING):
            return None
        return await self._create_pod(vmi)

    async def _create_pod(self, vmi: Object) -> Object:
        try:
            claims = await self._claims.of(vmi)
            wanted = launcher_pod(vmi, self._config(), self._launcher, claims=claims)
        except ClaimNotFound as error:
            text = f"{_RENDER}: {error}"
            self._events.event(vmi, WARNING, "FailedPvcNotFound", text)
            raise SyncFailure("FailedPvcNotFound", text) from error
        except (ValueError, KeyError) as error:
            raise SyncFailure("FailedCreate", f"{_RENDER}: {error}") from error
        try:
            made = await self._client.create(PODS, wanted)
        except StatusError as error:
            there = await self._already_there(vmi, wanted) if is_already_exists(error) else None
            if there is not None:
                return there
            self._events.event(vmi, WARNING, "FailedCreate", f"Error creating pod: {error}")
            raise SyncFailure("FailedCreate", f"failed to create virtual machine pod: {error}") from error
        self._made[uid_of(vmi)] = made
        self._events.event(vmi, NORMAL, "SuccessfulCreate", f"Created virtual machine pod {name_of(made)}")
        return made

    async def _already_there(self, vmi: Object, wanted: Object) -> Object | None:
        """The instance's pod, if it is there already and only the cache has not got it yet."""
        found = await self._client.get(PODS, name_of(wanted), namespace_of(vmi))
        if (controller_of(found) or {}).get("uid") != uid_of(vmi):
            return None
        self._made[uid_of(vmi)] = found
        return found

    async def _delete_pods(self, vmi: Object, owned: list[Object]) -> None:
        for pod in owned:
            if is_deleting(pod) and not pods.is_final(pod):
                continue
            try:
                await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
            except StatusError as error:
                if is_not_found(error):
                    self._made.pop(uid_of(vmi), None)
                    continue
                message = f"Failed to delete virtual machine pod {name_of(pod)}"
                self._events.event(vmi, WARNING, "FailedDelete", message)
                raise SyncFailure("FailedDelete", f"failed to delete pod: {error}") from error
            self._made.pop(uid_of(vmi), None)
            message = f"Deleted virtual machine pod {name_of(pod)}"
            self._events.event(vmi, NORMAL, "SuccessfulDelete", message)

    async def _sync_pod(self, vmi: Object, pod: Object) -> None:
        """Let the pod know its node by label, and whether the guest is paused by its gate."""
        wanted = {k: labels_of(vmi)[k] for k in _SYNCED_LABELS if k in labels_of(vmi)}
        if not wanted.items() <= labels_of(pod).items():
            await self._client.patch(PODS, name_of(pod), {"metadata": {"labels": wanted}}, namespace_of(pod))
        paused = is_status((vmi.get("status") or {}).get("conditions"), "Paused", "True")
        conditions = (pod.get("status") or {}).get("conditions")
        shown = is_status(conditions, names.UNPAUSED_GATE, "True")
        if shown is not paused and (shown or is_status(conditions, names.UNPAUSED_GATE, "False")):
            return
        now = timestamp()
        gate = {
            "type": names.UNPAUSED_GATE,
            "status": "False" if paused else "True",
            "reason": "Paused" if paused else "NotPaused",
            "message": "the virtual machine is paused" if paused else "the virtual machine is not paused",
            "lastProbeTime": now,
            "lastTransitionTime": now,
        }
        await self._client.patch(
            PODS,
            name_of(pod),
            {"status": {"conditions": [gate]}},
            namespace_of(pod),
            kind=STRATEGIC_MERGE_PATCH,
            subresource="status",
        )

    # -- the instance -----------------------------------------------------------------------------------------------

    async def _update(self, vmi: Object, view: View) -> None:
        wanted = new_state(vmi, view)
        if view.pod is not None and not pods.is_down_or_going(view.pod):
            try:
                await self._sync_pod(wanted, view.pod)
            except StatusError as error:
                if not is_not_found(error):
                    raise
        phase = (vmi.get("status") or {}).get("phase")
        if phase in HANDLER_PHASES:
            operations = instance_patch(vmi, wanted)
            if operations:
                await tested_patch(self._client, VMIS, vmi, operations)
        elif wanted != vmi:
            try:
                await self._client.update(VMIS, wanted)
            except StatusError as error:
                if not is_not_found(error):
                    raise


def _instance_key(pod: Object) -> Key:
    return Key(key_of(pod).namespace, (controller_of(pod) or {}).get("name") or "")
