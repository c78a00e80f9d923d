"""Instance types and preferences of VMs: found, and remembered in ControllerRevisions of their own."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from kumo.api.errors import StatusError, is_already_exists
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import CONTROLLERREVISIONS, VMS
from kumo.kubevirt.common.instancetypes import Conflict, apply
from kumo.kubevirt.common.instancetypes.find import collection, kind_name, revision_name, revision_spec
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.machine.revisions import instancetype_revision, reference
from kumo.machinery.client import Client

_WHICH = ("instancetype", "preference")


class Specs(NamedTuple):
    """The specs of a VM's instance type and preference, None where it has none."""

    instancetype: dict[str, Any] | None
    preference: dict[str, Any] | None


class InstancetypeStore:
    """Reads and writes on behalf of the VM controller."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def sync(self, vm: Object) -> Object:
        """Remember what the VM refers to, once; the VM with its new status. Raises SyncFailure when it is not there."""
        changes: dict[str, Any] = {}
        for which in _WHICH:
            matcher = (vm.get("spec") or {}).get(which)
            if matcher and (matcher.get("name") or matcher.get("revisionName")):
                wanted = await self._remember(vm, which, matcher)
                if wanted != (vm.get("status") or {}).get(f"{which}Ref"):
                    changes[f"{which}Ref"] = wanted
        if not changes:
            return vm
        made = await self._client.patch(VMS, name_of(vm), {"status": changes}, namespace_of(vm), subresource="status")
        return {**vm, "metadata": made["metadata"], "status": made["status"]}

    async def specs(self, vm: Object) -> Specs:
        """The specs that the VM's instances are to be made with. Raises SyncFailure when they are not there."""
        found: list[dict[str, Any] | None] = []
        for which in _WHICH:
            matcher = (vm.get("spec") or {}).get(which)
            if not matcher:
                found.append(None)
                continue
            try:
                revision = revision_name(vm, which)
                if revision:
                    held = await self._client.get(CONTROLLERREVISIONS, revision, namespace_of(vm))
                    found.append(revision_spec(held))
                else:
                    found.append((await self._fetch(vm, which, matcher)).get("spec") or {})
            except (StatusError, ValueError) as error:
                raise SyncFailure("FailedFindInstancetype", str(error)) from error
        return Specs(*found)

    async def _fetch(self, vm: Object, which: str, matcher: dict[str, Any]) -> Object:
        gvr = collection(which, matcher)
        return await self._client.get(gvr, matcher.get("name", ""), namespace_of(vm) if gvr.namespaced else "")

    async def _remember(self, vm: Object, which: str, matcher: dict[str, Any]) -> dict[str, Any]:
        """What belongs into the status: the reference to the copy, which is made if it is missing."""
        try:
            kind = kind_name(collection(which, matcher))
        except ValueError as error:
            raise SyncFailure("FailedCreate", str(error), retry=False) from error
        known = revision_name(vm, which)
        if known:
            return reference(matcher, kind, known)
        try:
            found = await self._fetch(vm, which, matcher)
            if which == "instancetype":
                scratch = copy.deepcopy(((vm["spec"].get("template")) or {}).get("spec") or {})
                apply(found.get("spec") or {}, None, scratch, {})
            revision = instancetype_revision(vm, found, kind)
            await self._client.create(CONTROLLERREVISIONS, revision)
        except Conflict as error:
            raise SyncFailure("FailedCreate", f"Error encountered while storing Instancetype: {error}") from error
        except StatusError as error:
            if not is_already_exists(error):
                text = f"Error encountered while storing Instancetype ControllerRevisions: {error}"
                raise SyncFailure("FailedCreate", text) from error
        return reference(matcher, kind, name_of(revision))
