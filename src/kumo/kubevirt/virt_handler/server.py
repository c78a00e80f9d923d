"""virt-handler's paths on the node's HTTPS port, for virt-api only (the listener demands its client certificate).

`/v1/namespaces/{namespace}/virtualmachineinstances/{name}/{console|vnc|pause|...}`; upstream: `pkg/virt-handler/rest`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import msgspec

from kumo.api.objects import Key, Object
from kumo.kubevirt.virt_handler import guest_agent, pod_files
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.kubevirt.virt_handler.console import Sessions
from kumo.kubevirt.virt_handler.launcher_client import LauncherError, LauncherGone
from kumo.kubevirt.virt_handler.machine import Machine
from kumo.machinery.http import Answer, Request, Response, Upgrade, WebSocket

PROTOCOL = "plain.kubevirt.io"
Find = Callable[[Key], tuple[Object, Machine] | None]

_ACTIONS = {
    "pause": "PauseVirtualMachine",
    "unpause": "UnpauseVirtualMachine",
    "softreboot": "SoftReboot",
    "reset": "Reset",
}
_SOCKETS = {"console": "virt-serial0", "vnc": "virt-vnc"}


class Server:
    """The handler; `find` gives the VMI and its machine when they are this node's."""

    def __init__(self, config: VirtHandlerConfig, find: Find) -> None:
        self._config = config
        self._find = find
        self._sessions = Sessions()

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        parts = request.path.strip("/").split("/")
        if len(parts) < 6 or parts[0] != "v1" or parts[1] != "namespaces" or parts[3] != "virtualmachineinstances":
            return _text(404, "404: Page Not Found")
        key, action = Key(parts[2], parts[4]), "/".join(parts[5:])
        found = self._find(key)
        if found is None:
            return _text(404, f"VirtualMachineInstance {key.name} in namespace {key.namespace} not found.")
        vmi, machine = found
        try:
            if action in _SOCKETS:
                return self._session(request, vmi, machine, action)
            if action in _ACTIONS:
                if request.method != "PUT":
                    return _text(405, "405: Method Not Allowed")
                await (await machine.client()).call(_ACTIONS[action])
                return Response(202, content_type="text/plain")
            return await self._question(machine, action)
        except LauncherError as error:
            return _text(500, str(error))
        except (LauncherGone, OSError, TimeoutError) as error:
            return _text(500, str(error) or "the launcher does not answer")

    async def _question(self, machine: Machine, action: str) -> Answer:
        if action in ("screenshot", "vnc/screenshot"):
            answer = await (await machine.client()).call("Screenshot")
            return Response(200, base64.b64decode(answer["data"]), answer["mime"])
        shapes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "guestosinfo": guest_agent.summary,
            "userlist": lambda info: guest_agent.item_list(
                "VirtualMachineInstanceGuestOSUserList", guest_agent.users(info)
            ),
            "filesystemlist": lambda info: guest_agent.item_list(
                "VirtualMachineInstanceFileSystemList", guest_agent.file_systems(info)
            ),
        }
        shape = shapes.get(action)
        if shape is None:
            return _text(404, "404: Page Not Found")
        info = (await (await machine.client()).call("GetGuestInfo"))["info"]
        return Response(200, msgspec.json.encode(shape(info)))

    def _session(self, request: Request, vmi: Object, machine: Machine, kind: str) -> Answer:
        if not request.wants_websocket:
            return _text(400, "this path speaks WebSocket only")
        offered = request.websocket_protocols
        if offered and PROTOCOL not in offered:
            return _text(400, f"subprotocol {PROTOCOL} is required")
        preserve = request.query.get("preserveSession", "false") == "true"
        if kind == "vnc" and preserve and self._sessions.is_active(machine.uid, kind):
            return _text(503, "Active VNC connection. Request denied.")
        uid = machine.uid

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            private = self._config.volume(machine.pod_uid, "private")
            with (
                pod_files.directory_at(private) as root,
                pod_files.socket_path(root, f"{uid}/{_SOCKETS[kind]}") as path,
            ):
                return await asyncio.open_unix_connection(path)

        async def run(socket: WebSocket) -> None:
            await self._sessions.run(uid, kind, connect, socket)

        return Upgrade(PROTOCOL if offered else "", run)


def _text(status: int, message: str) -> Response:
    return Response(status, message.encode(), "text/plain")
