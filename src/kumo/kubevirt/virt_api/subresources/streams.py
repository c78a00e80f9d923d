"""Console, VNC and USB redirection: one stream of bytes from the client to the instance's virt-handler, and back.

virt-handler is dialled first, so that its refusal reaches the client as a plain answer; then the client is upgraded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlencode

from kumo.api.errors import bad_request, internal
from kumo.api.objects import Object, name_of
from kumo.kubevirt.common.names import FAILED, RUNNING
from kumo.kubevirt.common.specs import devices, serial_console
from kumo.kubevirt.virt_api.subresources.call import Call, Services
from kumo.kubevirt.virt_api.subresources.guest import display_check
from kumo.kubevirt.virt_api.subresources.nodes import handler_of, handler_path
from kumo.kubevirt.virt_api.subresources.refusals import VMI_NOT_RUNNING, vmi_conflict
from kumo.machinery.http import Upgrade, WebSocket
from kumo.machinery.relay import relay
from kumo.machinery.websocket import ABNORMAL

PLAIN = "plain.kubevirt.io"
"""The subprotocol of all KubeVirt streams: the bytes as they are, in binary messages."""
_HANDSHAKE = 10.0

Open = Callable[[], AbstractAsyncContextManager[WebSocket]]


class Bridge:
    """A connection that is open before its client is there. One task owns it, from dialling to closing."""

    def __init__(self, open_far: Open) -> None:
        self._open = open_far
        self._client: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
        self._dialled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def dial(self) -> None:
        """Open the far end. Raises what opening it raises. It is closed again when no client comes within 10 s."""
        self._task = asyncio.create_task(self._run(), name="stream")
        try:
            await self._dialled
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def serve(self, client: WebSocket) -> None:
        """Carry bytes between `client` and the far end until one of them closes."""
        if self._task is None or self._task.done():
            await client.close(1001, "the connection was given up")
            return
        self._client.set_result(client)
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            raise

    async def _run(self) -> None:
        try:
            async with self._open() as far:
                self._dialled.set_result(None)
                async with asyncio.timeout(_HANDSHAKE):
                    client = await self._client
                await join(client, far)
        except TimeoutError as error:
            if not self._dialled.done():
                self._dialled.set_exception(error)
        except Exception as error:
            if self._dialled.done():
                raise
            self._dialled.set_exception(error)


async def join(client: WebSocket, far: WebSocket) -> None:
    """Copy messages both ways until one side closes; then close both, the client as the far end was closed."""
    try:
        await relay(client, far)
    finally:
        code = ABNORMAL if far.close_code == ABNORMAL else 1000
        await asyncio.gather(client.close(code), far.close(1000), return_exceptions=True)


def chosen_protocol(offered: list[str]) -> str:
    """The subprotocol to agree on: KubeVirt's if it is offered, else none."""
    return PLAIN if PLAIN in offered else ""


async def upgrade(call: Call, open_far: Open) -> Upgrade:
    """Dial the far end, then answer with an upgrade that is joined to it. Raises StatusError if it can't be dialled."""
    if not call.request.wants_websocket:
        raise bad_request("websocket: the client is not using the websocket protocol: 'upgrade' token not found in "
                          "'Connection' header")  # fmt: skip
    bridge = Bridge(open_far)
    try:
        await bridge.dial()
    except (ConnectionError, OSError, TimeoutError) as error:
        raise internal(str(error)) from error
    serve: Callable[[WebSocket], Awaitable[None]] = bridge.serve
    return Upgrade(chosen_protocol(call.request.websocket_protocols), serve)


def handler_socket(services: Services, vmi: Object, action: str, query: dict[str, str] | None = None) -> Open:
    """How to open the stream `action` at the instance's virt-handler."""

    @asynccontextmanager
    async def open_far() -> AsyncIterator[WebSocket]:
        transport = await handler_of(services, vmi)
        try:
            path = handler_path(vmi, action)
            async with transport.websocket(path, query=urlencode(query or {}), protocols=(PLAIN,)) as socket:
                yield socket
        finally:
            await transport.close()

    return open_far


async def console(call: Call) -> Upgrade:
    """The guest's first serial port."""
    vmi = await call.vmi()
    phase = (vmi.get("status") or {}).get("phase")
    if not serial_console(vmi["spec"]):
        raise bad_request("No serial consoles are present.")
    if phase == FAILED:
        raise vmi_conflict(name_of(vmi), "VMI is in failed status")
    if phase != RUNNING:
        raise bad_request(VMI_NOT_RUNNING)
    return await upgrade(call, handler_socket(call.services, vmi, "console"))


async def vnc(call: Call) -> Upgrade:
    """The guest's screen, by the RFB protocol. `preserveSession`: refuse rather than end another's session."""
    vmi = await call.vmi()
    display_check(vmi)
    preserve = call.request.query.get("preserveSession", "false")
    return await upgrade(call, handler_socket(call.services, vmi, "vnc", {"preserveSession": preserve}))


async def usb_redirection(call: Call) -> Upgrade:
    """A USB device of the client, brought into the guest."""
    vmi = await call.vmi()
    if devices(vmi["spec"]).get("clientPassthrough") is None:
        raise vmi_conflict(name_of(vmi), "Not configured with USB Redirection")
    if (vmi.get("status") or {}).get("phase") != RUNNING:
        raise bad_request(VMI_NOT_RUNNING)
    return await upgrade(call, handler_socket(call.services, vmi, "usbredir"))


async def vsock(call: Call) -> Upgrade:
    """A VSOCK port of the guest."""
    vmi = await call.vmi()
    if not devices(vmi["spec"]).get("autoattachVSOCK"):
        raise bad_request("VSOCK is not attached.")
    query = {"port": call.request.query.get("port", ""), "tls": call.request.query.get("tls", "") or "true"}
    return await upgrade(call, handler_socket(call.services, vmi, "vsock", query))
