"""The shell of the VM controller: reads caches, carries out the plan, writes the status."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Any

from kumo.api.conditions import find
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import (
    Key,
    Object,
    annotations_of,
    controller_of,
    is_deleting,
    name_of,
    namespace_of,
    timestamp,
    uid_of,
)
from kumo.api.resources import CONTROLLERREVISIONS, VMIS, VMS
from kumo.kubevirt.common import names
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.defaults import DefaultsError
from kumo.kubevirt.common.instancetypes import Conflict
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.machine import restart, revisions
from kumo.kubevirt.virt_controller.machine.instance import new_instance
from kumo.kubevirt.virt_controller.machine.instancetypes import InstancetypeStore
from kumo.kubevirt.virt_controller.machine.printable import Surroundings
from kumo.kubevirt.virt_controller.machine.requests import START, change_requests, has_start_request, is_final
from kumo.kubevirt.virt_controller.machine.status import new_status
from kumo.kubevirt.virt_controller.machine.strategy import Action, plan
from kumo.kubevirt.virt_controller.patches import set_finalizers
from kumo.kubevirt.virt_controller.pending import Pending
from kumo.machinery.client import JSON_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

_OWN_ANNOTATIONS = {names.LATEST_API_ANNOTATION: names.VERSION, names.STORAGE_API_ANNOTATION: names.VERSION}


class MachineController:
    """Keeps VirtualMachines. `client` acts as virt-controller; `config` gives the cluster's settings."""

    def __init__(
        self, client: Client, informers: Informers, events: EventRecorder, config: Callable[[], ClusterConfig]
    ) -> None:
        self._client = client
        self._events = events
        self._config = config
        self._vms = informers.informer(VMS)
        self._vmis = informers.informer(VMIS)
        self._revisions = informers.informer(CONTROLLERREVISIONS)
        self._instancetypes = InstancetypeStore(client)
        self._created = Pending()
        self._deleted = Pending()
        self._spread = SystemRandom().randrange
        self.controller = Controller("virt-controller vm", self.reconcile)
        self.controller.watch(self._vms)
        self.controller.watch_owned(self._vmis, "VirtualMachine")
        self._revisions.on_change(lambda old, new: None)

    # -- one VM -----------------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> float | None:
        """Make one VM right."""
        cached = self._vms.get_key(key)
        if cached is None:
            self._created.seen(key)
            self._deleted.seen(key)
            return None
        vm = copy.deepcopy(cached)
        vm.setdefault("apiVersion", names.API_VERSION)
        vm.setdefault("kind", "VirtualMachine")
        vmi = self._instance_of(vm)
        self._note_what_shows(key, vmi)
        if await self._deletion(vm, vmi, key):
            return None
        vm = await self._mark(vm)
        failure: SyncFailure | None = None
        delay: float | None = None
        if not self._created.uid(key) and not self._deleted.uid(key):
            try:
                vm, vmi, delay = await self._sync(vm, vmi, key)
            except SyncFailure as error:
                failure = error
        await self._write_status(cached, vm, vmi, failure, key)
        if failure is not None and failure.retry:
            raise _again(failure)
        return delay

    def _instance_of(self, vm: Object) -> Object | None:
        found = self._vmis.get(name_of(vm), namespace_of(vm))
        if found is None or (controller_of(found) or {}).get("uid") != uid_of(vm):
            return None
        return found

    def _note_what_shows(self, key: Key, vmi: Object | None) -> None:
        if vmi is not None and uid_of(vmi) == self._created.uid(key):
            self._created.seen(key)
        if vmi is None or uid_of(vmi) != self._deleted.uid(key) or is_deleting(vmi):
            self._deleted.seen(key)

    async def _deletion(self, vm: Object, vmi: Object | None, key: Key) -> bool:
        """Take a VM that is being deleted one step further; True if there is nothing left to do with it."""
        if not is_deleting(vm):
            return False
        finalizers = vm["metadata"].get("finalizers") or []
        if vmi is not None and "orphan" not in finalizers:
            await self._stop(vm, vmi, key)
            if is_final(vmi):
                await self._release(vmi)
            await self._write_status(self._vms.get_key(key) or vm, vm, vmi, None, key)
            return True
        if names.VM_FINALIZER in finalizers:
            await set_finalizers(self._client, VMS, vm, [f for f in finalizers if f != names.VM_FINALIZER])
        return True

    async def _mark(self, vm: Object) -> Object:
        """Give the VM our finalizer and the versions of the API that it was seen with."""
        finalizers = vm["metadata"].get("finalizers") or []
        if names.VM_FINALIZER in finalizers and _OWN_ANNOTATIONS.items() <= annotations_of(vm).items():
            return vm
        meta = vm["metadata"]
        meta["annotations"] = {**annotations_of(vm), **_OWN_ANNOTATIONS}
        if names.VM_FINALIZER not in finalizers:
            meta["finalizers"] = [*finalizers, names.VM_FINALIZER]
        return await self._client.update(VMS, vm)

    # -- making it right --------------------------------------------------------------------------------------------

    async def _sync(self, vm: Object, vmi: Object | None, key: Key) -> tuple[Object, Object | None, float | None]:
        await self._bump_generation(vm, vmi)
        vm = await self._instancetypes.sync(vm)
        step = plan(vm, vmi, time.time())
        if step.action is Action.START:
            vmi = await self._start(vm, key)
        elif step.action is Action.STOP and vmi is not None:
            await self._stop(vm, vmi, key)
        elif step.action is Action.STOP_AND_RERUN and vmi is not None:
            await self._stop(vm, vmi, key)
            if not has_start_request(vm):
                vm = await self._request_start(vm)
        elif step.action is Action.TURN_ON:
            vm = await self._turn_on(vm)
        self._sync_restart_required(vm, vmi)
        return vm, vmi, step.delay if step.action is Action.WAIT else None

    async def _start(self, vm: Object, key: Key) -> Object:
        found = await self._instancetypes.specs(vm)
        try:
            wanted = new_instance(vm, self._config(), found.instancetype, found.preference)
            await self._remember_start(vm)
            made = await self._client.create(VMIS, wanted)
        except (Conflict, DefaultsError, StatusError) as error:
            if is_already_exists(error):
                return await self._already_there(vm, error)
            text = str(error)
            self._events.event(vm, WARNING, "FailedCreate", f"Error creating virtual machine instance: {text}")
            raise SyncFailure("FailedCreate", f"failure while starting VMI: {text}") from error
        self._created.expect(key, uid_of(made))
        message = f"Started the virtual machine by creating the new virtual machine instance {name_of(made)}"
        self._events.event(vm, NORMAL, "SuccessfulCreate", message)
        return made

    async def _already_there(self, vm: Object, error: Exception) -> Object:
        """The instance that stands in the way: our own, which the cache has not got yet, or somebody else's."""
        found = await self._client.get(VMIS, name_of(vm), namespace_of(vm))
        if (controller_of(found) or {}).get("uid") == uid_of(vm):
            return found
        self._events.event(vm, WARNING, "FailedCreate", f"Error creating virtual machine instance: {error}")
        raise SyncFailure("FailedCreate", f"failure while starting VMI: {error}") from error

    async def _remember_start(self, vm: Object) -> None:
        for old in revisions.outdated_starts(vm, self._revisions.objects(namespace_of(vm))):
            try:
                await self._client.delete(CONTROLLERREVISIONS, name_of(old), namespace_of(old))
            except StatusError as error:
                if not is_not_found(error):
                    raise
        try:
            await self._client.create(CONTROLLERREVISIONS, revisions.start_revision(vm))
        except StatusError as error:
            if not is_already_exists(error):
                raise

    async def _stop(self, vm: Object, vmi: Object, key: Key) -> None:
        if is_deleting(vmi):
            return
        try:
            await self._client.delete(VMIS, name_of(vmi), namespace_of(vmi), uid=uid_of(vmi))
        except StatusError as error:
            if is_not_found(error):
                return
            message = f"Error deleting virtual machine instance {name_of(vmi)}: {error}"
            self._events.event(vm, WARNING, "FailedDelete", message)
            raise SyncFailure("FailedDelete", f"failure while deleting VMI: {error}") from error
        self._deleted.expect(key, uid_of(vmi))
        message = f"Stopped the virtual machine by deleting the virtual machine instance {uid_of(vmi)}"
        self._events.event(vm, NORMAL, "SuccessfulDelete", message)

    async def _request_start(self, vm: Object) -> Object:
        wanted = [*change_requests(vm), {"action": START}]
        patch = [{"op": "add", "path": "/status/stateChangeRequests", "value": wanted}]
        made = await self._client.patch(
            VMS, name_of(vm), patch, namespace_of(vm), kind=JSON_PATCH, subresource="status"
        )
        return {**vm, "metadata": made["metadata"], "status": made["status"]}

    async def _turn_on(self, vm: Object) -> Object:
        """A start that was asked for while the VM is halted (start paused): from now on it runs."""
        name, value = ("runStrategy", "Always") if vm["spec"].get("runStrategy") else ("running", True)
        return await self._client.patch(VMS, name_of(vm), {"spec": {name: value}}, namespace_of(vm))

    async def _bump_generation(self, vm: Object, vmi: Object | None) -> None:
        """Note a newer generation of the VM on its instance, if the template is still the one it was started from."""
        generation = str(vm["metadata"].get("generation", 0))
        if vmi is None or annotations_of(vmi).get(names.VM_GENERATION_ANNOTATION) == generation:
            return
        started = self._started_from(vmi)
        if started is not None and started.get("template") == vm["spec"].get("template"):
            annotations = {names.VM_GENERATION_ANNOTATION: generation}
            patch = {"metadata": {"annotations": annotations}}
            await self._client.patch(VMIS, name_of(vmi), patch, namespace_of(vmi))

    def _started_from(self, vmi: Object) -> dict[str, Any] | None:
        name = (vmi.get("status") or {}).get("virtualMachineRevisionName") or ""
        revision = self._revisions.get(name, namespace_of(vmi))
        return ((revision or {}).get("data") or {}).get("spec")

    def _sync_restart_required(self, vm: Object, vmi: Object | None) -> None:
        started = self._started_from(vmi) if vmi is not None and not is_deleting(vmi) else None
        wanted = started is not None and restart.differs(started, vm)
        if wanted or find((vm.get("status") or {}).get("conditions"), "RestartRequired"):
            conditions = vm.setdefault("status", {}).setdefault("conditions", [])
            restart.set_restart_required(conditions, wanted, timestamp())

    # -- telling ----------------------------------------------------------------------------------------------------

    async def _write_status(
        self, cached: Object, vm: Object, vmi: Object | None, failure: SyncFailure | None, key: Key
    ) -> None:
        around = Surroundings(
            start_expected=vmi is None and bool(self._created.uid(key)), stop_expected=bool(self._deleted.uid(key))
        )
        wanted = new_status(vm, vmi, failure, timestamp(), self._spread, around)
        if wanted != cached.get("status"):
            try:
                await self._client.update_status(VMS, {**vm, "status": wanted})
            except StatusError as error:
                if not is_not_found(error):
                    raise
        if vmi is not None and is_final(vmi):
            await self._release(vmi)

    async def _release(self, vmi: Object) -> None:
        """Let go of an instance that has ended: what it has to tell has been written down."""
        finalizers = vmi["metadata"].get("finalizers") or []
        if names.VM_FINALIZER in finalizers:
            await set_finalizers(self._client, VMIS, vmi, [f for f in finalizers if f != names.VM_FINALIZER])


def _again(failure: SyncFailure) -> StatusError:
    return StatusError(500, failure.reason, str(failure))
