"""What is asked of a server after it is there: actions, delete, rename, metadata, and what was asked before.

Nova refuses by state; the table is `_ACTIONS`. The write itself is a KubeVirt subresource, called as the caller.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from kumo.api.errors import StatusError
from kumo.api.objects import Object, annotations_of, name_of, namespace_of, uid_of
from kumo.api.resources import PODS, VMS
from kumo.machinery.client import raise_for_status
from kumo.machinery.http import Response
from kumo.openstack.common import names
from kumo.openstack.common.disks import DiskStore, DiskStoreError, is_disk_of
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, empty, reply
from kumo.openstack.common.times import without_zone
from kumo.openstack.common.validate import check
from kumo.openstack.nova.policy import enforce
from kumo.openstack.nova.servers import notes, view
from kumo.openstack.nova.servers.create import METADATA
from kumo.openstack.nova.servers.find import Servers
from kumo.openstack.nova.servers.state import LAUNCHED, State, state_of

_SUBRESOURCES = "/apis/subresources.kubevirt.io/v1"
_KNOWN_ELSEWHERE = (
    "rebuild", "resize", "confirmResize", "revertResize", "suspend", "resume", "createImage", "createBackup",
    "addSecurityGroup", "removeSecurityGroup", "addFixedIp", "removeFixedIp", "rescue", "unrescue", "shelve",
    "shelveOffload", "unshelve", "changePassword", "os-resetState", "migrate", "os-migrateLive", "evacuate",
    "forceDelete", "restore", "injectNetworkInfo", "trigger_crash_dump", "resetNetwork", "os-getVNCConsole",
    "os-getSerialConsole", "os-getSPICEConsole", "addFloatingIp", "removeFloatingIp",
)  # fmt: skip
_UPDATE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"},
        "description": {"type": ["string", "null"], "maxLength": 255},
        "OS-DCF:diskConfig": {"type": "string"},
        "accessIPv4": {"type": "string"},
        "accessIPv6": {"type": "string"},
    },
    "additionalProperties": False,
}


class _Action(NamedTuple):
    """An action: how messages call it, in which vm_states it may be, and the work; no states means in any."""

    verb: str
    states: tuple[str, ...]
    work: Callable[[Call, Object, State, Any], Awaitable[Response]]


class Actions:
    """The writing server paths, and the action list."""

    def __init__(self, servers: Servers, disks: DiskStore) -> None:
        self._servers = servers
        self._disks = disks
        self._actions = {
            "os-start": _Action("start", ("stopped",), self._start),
            "os-stop": _Action("stop", ("active", "error"), self._stop),
            "pause": _Action("pause", ("active",), self._pause),
            "unpause": _Action("unpause", ("paused",), self._unpause),
            "reboot": _Action("reboot", ("active", "stopped", "paused", "error"), self._reboot),
            "lock": _Action("lock", (), self._lock),
            "unlock": _Action("unlock", (), self._unlock),
            "os-getConsoleOutput": _Action("get console output", (), self._console),
        }

    def routes(self) -> list[Route]:
        """Its part of Nova's table."""
        return [
            Route("POST", "/v2.1/servers/{id}/action", self.act),
            Route("PUT", "/v2.1/servers/{id}", self.update),
            Route("DELETE", "/v2.1/servers/{id}", self.delete),
            Route("GET", "/v2.1/servers/{id}/metadata", self.metadata),
            Route("POST", "/v2.1/servers/{id}/metadata", self.add_metadata),
            Route("PUT", "/v2.1/servers/{id}/metadata", self.set_metadata),
            Route("DELETE", "/v2.1/servers/{id}/metadata/{key}", self.remove_metadata),
            Route("GET", "/v2.1/servers/{id}/ips", self.ips),
            Route("GET", "/v2.1/servers/{id}/os-instance-actions", self.history),
            Route("GET", "/v2.1/servers/{id}/os-instance-actions/{request}", self.past),
            Route("GET", "/v2.1/servers/{id}/os-volume_attachments", self.volumes),
            Route("GET", "/v2.1/servers/{id}/os-security-groups", self.security_groups),
            Route("GET", "/v2.1/servers/{id}/os-interface", self.interfaces),
        ]

    async def act(self, call: Call) -> Response:
        """Do the one action that the body names."""
        body = await call.json()
        if not isinstance(body, dict) or len(body) != 1:
            raise ApiError(400, "The request body must name exactly one action.")
        ((name, argument),) = body.items()
        vm = await self._servers.vm(call.caller, call.params["id"])
        action = self._actions.get(name)
        if action is None:
            if name in _KNOWN_ELSEWHERE:
                raise ApiError(501, f"The action {name} is not supported by this cloud.")
            raise ApiError(400, f"There is no such action: {name}")
        enforce(call.caller, f"os_compute_api:servers:{action.verb.replace(' ', '_')}")
        state = state_of(vm, await self._servers.instance(vm))
        if action.states:
            _unlocked(call, vm)
            _in_state(vm, state, action)
        response = await self._as_conflict(action.work(call, vm, state, argument), vm, action.verb, state)
        if name != "os-getConsoleOutput":
            await self._note(call, vm, action.verb)
        return response

    async def _as_conflict(self, work: Awaitable[Response], vm: Object, verb: str, state: State) -> Response:
        """The work's answer; KubeVirt's own refusal by state becomes Nova's."""
        try:
            return await work
        except StatusError as error:
            if error.code == 409 or (error.code == 404 and verb != "start"):
                what = f"Cannot '{verb}' instance {uid_of(vm)} while it is in vm_state {state.vm_state}"
                raise ApiError(409, what) from error
            raise

    async def _note(self, call: Call, vm: Object, verb: str, **annotations: str | None) -> None:
        caller = call.caller
        project = caller.project.id if caller.project else ""
        text = notes.with_action(vm, verb, call.request_id, caller.user_id, project)
        patch = {"metadata": {"annotations": {notes.ACTIONS: text, **annotations}}}
        await caller.kube.patch(VMS, name_of(vm), patch, namespace_of(vm))

    async def _subresource(self, call: Call, vm: Object, action: str, kind: str = "virtualmachines") -> None:
        path = f"{_SUBRESOURCES}/namespaces/{namespace_of(vm)}/{kind}/{name_of(vm)}/{action}"
        await call.caller.kube.request("PUT", path, body={})

    # -- the work ---------------------------------------------------------------------------------------------------

    async def _start(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        await self._mark_launched(call, vm)
        await self._subresource(call, vm, "start")
        return empty(202)

    async def _stop(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        await self._subresource(call, vm, "stop")
        await self._mark_launched(call, vm)
        return empty(202)

    async def _mark_launched(self, call: Call, vm: Object) -> None:
        patch = {"metadata": {"annotations": {LAUNCHED: "true"}}}
        await call.caller.kube.patch(VMS, name_of(vm), patch, namespace_of(vm))

    async def _pause(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        await self._subresource(call, vm, "pause", "virtualmachineinstances")
        return empty(202)

    async def _unpause(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        await self._subresource(call, vm, "unpause", "virtualmachineinstances")
        return empty(202)

    async def _reboot(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        """HARD resets the machine in place, so that its disk stays; one that is stopped is started."""
        kind = argument.get("type") if isinstance(argument, dict) else None
        if not isinstance(kind, str) or kind.upper() not in ("SOFT", "HARD"):
            raise ApiError(400, f"Invalid input for field/attribute type. Value: {kind}. {kind!r} is not one of "
                           "['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']")  # fmt: skip
        if kind.upper() == "SOFT":
            _in_state(vm, state, _Action("reboot", ("active",), self._reboot))
            try:
                await self._subresource(call, vm, "softreboot", "virtualmachineinstances")
                return empty(202)
            except StatusError as error:
                if error.code not in (400, 409, 422):
                    raise  # neither guest agent nor ACPI: Nova falls back to a hard reboot too
        if state.vm_state == "stopped":
            return await self._start(call, vm, state, argument)
        if state.vm_state == "paused":
            await self._subresource(call, vm, "unpause", "virtualmachineinstances")
        await self._subresource(call, vm, "reset", "virtualmachineinstances")
        return empty(202)

    async def _lock(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        reason = argument.get("locked_reason", "") if isinstance(argument, dict) and call.at_least(73) else ""
        if not isinstance(reason, str) or len(reason) > 255:
            raise ApiError(400, f"Invalid input for field/attribute locked_reason. Value: {reason}.")
        patch = {"metadata": {"annotations": {notes.LOCKED: reason}}}
        await call.caller.kube.patch(VMS, name_of(vm), patch, namespace_of(vm))
        return empty(202)

    async def _unlock(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        patch = {"metadata": {"annotations": {notes.LOCKED: None}}}
        await call.caller.kube.patch(VMS, name_of(vm), patch, namespace_of(vm))
        return empty(202)

    async def _console(self, call: Call, vm: Object, state: State, argument: Any) -> Response:
        """What the guest has written to its serial console: the log of the launcher's sidecar."""
        length = argument.get("length") if isinstance(argument, dict) else None
        if isinstance(length, str) and length.lstrip("-").isdigit() and len(length) < 10:
            length = int(length)
        if isinstance(length, bool) or not isinstance(length, int | None) or (length is not None and length < -1):
            raise ApiError(
                400, f"Invalid input for field/attribute length. Value: {length}. {length!r} is not an integer"
            )
        instance = await self._servers.instance(vm)
        pods: list[Object] = []
        if instance is not None:
            selector = f"kubevirt.io/created-by={uid_of(instance)}"
            pods = (await call.caller.kube.list(PODS, namespace_of(vm), label_selector=selector)).items
        pods.sort(key=lambda p: p["metadata"]["creationTimestamp"])
        if not pods:
            raise ApiError(409, f"Instance {uid_of(vm)} is not ready")
        query = "container=guest-console-log"
        if length is not None and length >= 0:
            query += f"&tailLines={length}"
        path = PODS.path(namespace_of(vm), name_of(pods[-1]), "log")
        found = await call.caller.kube.transport.request("GET", path, query=query)
        if found.status in (400, 404):
            raise ApiError(409, f"Instance {uid_of(vm)} is not ready")
        raise_for_status(found)
        return reply({"output": found.body.decode(errors="replace")})

    # -- the rest ---------------------------------------------------------------------------------------------------

    async def update(self, call: Call) -> Response:
        """Change name or description."""
        given = await call.document("server")
        enforce(call.caller, "os_compute_api:servers:update")
        vm = await self._servers.vm(call.caller, call.params["id"])
        check({"server": given}, {"properties": {"server": _UPDATE}})
        changed: dict[str, str | None] = {}
        if "name" in given:
            changed[names.NAME] = given["name"].strip()
        if "description" in given:
            changed[names.DESCRIPTION] = given["description"]
        patch = {"metadata": {"annotations": changed}}
        made = await call.caller.kube.patch(VMS, name_of(vm), patch, namespace_of(vm))
        server = await self._servers.complete(made)
        shown = view.detail(server, call.base, call.version.minor, admin=call.caller.is_admin, show=True)
        return reply({"server": shown})

    async def delete(self, call: Call) -> Response:
        """Delete the server; its container disk too, when the image is gone and no other machine has it."""
        enforce(call.caller, "os_compute_api:servers:delete")
        vm = await self._servers.vm(call.caller, call.params["id"])
        _unlocked(call, vm)
        await call.caller.kube.delete(VMS, name_of(vm), namespace_of(vm), uid=uid_of(vm))
        await self._drop_disk(vm)
        return empty()

    async def _drop_disk(self, vm: Object) -> None:
        client, image = self._servers.client, view.image_id(vm)
        if not image or (await client.list(names.IMAGES, field_selector=f"metadata.name={image}")).items:
            return
        others = (await client.list(VMS, label_selector=f"{names.IMAGE_ID}={image}")).items
        if all(uid_of(o) == uid_of(vm) for o in others):
            for volume in vm["spec"]["template"]["spec"].get("volumes") or ():
                reference = (volume.get("containerDisk") or {}).get("image", "")
                # Whoever may edit the machine may write any reference there: only the image's own is removed.
                if is_disk_of(reference, image):
                    with contextlib.suppress(DiskStoreError):  # what is left over is the node's image collection's
                        await self._disks.remove(reference)

    async def metadata(self, call: Call) -> Response:
        """The server's metadata."""
        vm = await self._servers.vm(call.caller, call.params["id"])
        return reply({"metadata": notes.read(vm, notes.METADATA, {})})

    async def _write_metadata(self, call: Call, *, keep: bool) -> Response:
        given = await call.document("metadata")
        enforce(call.caller, "os_compute_api:server-metadata:update")
        check({"metadata": given}, {"properties": {"metadata": METADATA}})
        vm = await self._servers.vm(call.caller, call.params["id"])
        _unlocked(call, vm)
        old: dict[str, str] = notes.read(vm, notes.METADATA, {}) if keep else {}
        return await self._keep_metadata(call, vm, {**old, **given})

    async def _keep_metadata(self, call: Call, vm: Object, wanted: dict[str, str]) -> Response:
        if len(wanted) > 128:
            raise ApiError(403, "Maximum number of metadata items exceeds 128")
        patch = {"metadata": {"annotations": {notes.METADATA: json.dumps(wanted)}}}
        await call.caller.kube.patch(VMS, name_of(vm), patch, namespace_of(vm))
        return reply({"metadata": wanted})

    async def add_metadata(self, call: Call) -> Response:
        """Add or change items."""
        return await self._write_metadata(call, keep=True)

    async def set_metadata(self, call: Call) -> Response:
        """Replace all items."""
        return await self._write_metadata(call, keep=False)

    async def remove_metadata(self, call: Call) -> Response:
        """Take an item away."""
        enforce(call.caller, "os_compute_api:server-metadata:delete")
        vm = await self._servers.vm(call.caller, call.params["id"])
        _unlocked(call, vm)
        items: dict[str, str] = notes.read(vm, notes.METADATA, {})
        if call.params["key"] not in items:
            raise ApiError(404, "Metadata item was not found")
        await self._keep_metadata(call, vm, {k: v for k, v in items.items() if k != call.params["key"]})
        return empty()

    async def ips(self, call: Call) -> Response:
        """The server's addresses by network."""
        found = view.addresses(await self._servers.get(call.caller, call.params["id"]))
        short = {n: [{"version": a["version"], "addr": a["addr"]} for a in each] for n, each in found.items()}
        return reply({"addresses": short})

    async def _history(self, call: Call) -> list[dict[str, Any]]:
        enforce(call.caller, "os_compute_api:os-instance-actions:show")
        vm = await self._servers.vm(call.caller, call.params["id"])
        done: list[dict[str, Any]] = notes.actions(vm)
        more: dict[str, Any] = {"instance_uuid": uid_of(vm), "message": None}
        found = [{**a, **more, "start_time": without_zone(a["start_time"])} for a in done]
        return [{**a, "updated_at": a["start_time"]} for a in found] if call.at_least(58) else found

    async def history(self, call: Call) -> Response:
        """The last actions, newest first."""
        return reply({"instanceActions": await self._history(call)})

    async def past(self, call: Call) -> Response:
        """One past action by its request id."""
        for found in await self._history(call):
            if found["request_id"] == call.params["request"]:
                return reply({"instanceAction": {**found, "events": []}})
        raise ApiError(404, f"Action for request_id {call.params['request']} on instance {call.params['id']} not found")

    async def volumes(self, call: Call) -> Response:
        """Attached volumes: none, since there is no volume service yet."""
        await self._servers.vm(call.caller, call.params["id"])
        return reply({"volumeAttachments": list[Any]()})

    async def interfaces(self, call: Call) -> Response:
        """Attached ports: none, since there is no network service yet; the addresses are in the server."""
        await self._servers.vm(call.caller, call.params["id"])
        return reply({"interfaceAttachments": list[Any]()})

    async def security_groups(self, call: Call) -> Response:
        """Security groups: none, since there is no network service yet."""
        await self._servers.vm(call.caller, call.params["id"])
        return reply({"security_groups": list[Any]()})


def _unlocked(call: Call, vm: Object) -> None:
    if notes.LOCKED in annotations_of(vm) and not call.caller.is_admin:
        raise ApiError(409, f"Instance {uid_of(vm)} is locked")


def _in_state(vm: Object, state: State, action: _Action) -> None:
    """Raise ApiError 409 unless the server's state allows the action."""
    if state.vm_state not in action.states:
        what = f"vm_state {state.vm_state}"
    elif state.task_state is not None:
        what = f"task_state {state.task_state}"
    else:
        return
    raise ApiError(409, f"Cannot '{action.verb}' instance {uid_of(vm)} while it is in {what}")
