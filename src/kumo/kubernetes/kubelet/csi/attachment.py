"""Volumes that the attach/detach controller has to attach: it is told what is in use, and waited for.

The Node's status carries both: `volumesInUse` is the kubelet's, `volumesAttached` the controller's. A volume is said to
be in use before it is looked whether it is attached, until it is unstaged: the controller never detaches it meanwhile.
Upstream: `verifyControllerAttachedVolume`, `WaitForAttach`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kumo.api.csi_names import attachment_name
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, is_deleting
from kumo.api.resources import GVR
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer

ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
_LONGEST = 123.0
"""Seconds that a pod waits for its volumes before it says so: upstream's."""


class NotAttached(Exception):
    """A volume is not attached (yet); the text is upstream's."""


class NeverAttached(NotAttached):
    """Nobody has attached the volume in all the time that a pod waits for its volumes."""


def attached(node: Object | None, name: str) -> bool:
    """Whether the Node's status says that the volume is attached."""
    return any(v.get("name") == name for v in ((node or {}).get("status") or {}).get("volumesAttached") or ())


def attachment_trouble(found: Object | None, handle: str, name: str) -> str:
    """Why a VolumeAttachment does not do, in upstream's words; empty if the volume is attached."""
    if found is None:
        return (
            f"volume {handle} has GET error for volume attachment {name}: "
            f'volumeattachments.storage.k8s.io "{name}" not found'
        )
    if is_deleting(found):
        return "volume attachment is being deleted"
    status = found.get("status") or {}
    if status.get("attached"):
        return ""
    if status.get("attachError"):
        return str(status["attachError"].get("message") or "")
    return f"volume {handle} is not attached for volume attachment {name}"


class Attachments:
    """This node's side of attaching."""

    def __init__(self, client: Client, node_name: str, nodes: Informer, say: Callable[[], Awaitable[None]]) -> None:
        """`nodes` holds this node's Node; `say` writes `volumesInUse` and returns when it is written."""
        self._client = client
        self._node = node_name
        self._nodes = nodes
        self._say = say
        self._in_use: set[str] = set()
        self._changed = asyncio.Event()
        nodes.on_change(lambda old, new: self._changed.set())

    def in_use(self) -> list[str]:
        """What the Node's `volumesInUse` is."""
        return sorted(self._in_use)

    def known(self, name: str) -> None:
        """A volume was in use before this kubelet began."""
        self._in_use.add(name)

    async def released(self, name: str) -> None:
        """The volume is not used any more: it may be detached."""
        if name in self._in_use:
            self._in_use.discard(name)
            await self._say()

    async def ensure(self, name: str, driver: str, handle: str, timeout: float = _LONGEST) -> dict[str, str]:
        """Wait until the volume is attached; what the driver has to be told of it. Raises NotAttached, StatusError."""
        if name not in self._in_use:
            self._in_use.add(name)
            await self._say()
        try:
            async with asyncio.timeout(timeout):
                while not attached(self._nodes.get(self._node), name):
                    self._changed.clear()
                    if attached(self._nodes.get(self._node), name):
                        break
                    await self._changed.wait()
        except TimeoutError:
            raise NeverAttached("context deadline exceeded") from None
        return await self.metadata(driver, handle)

    async def metadata(self, driver: str, handle: str) -> dict[str, str]:
        """What the attacher has left for the driver in the VolumeAttachment. Raises NotAttached, StatusError."""
        name = attachment_name(driver, handle, self._node)
        found: Any = None
        try:
            found = await self._client.get(ATTACHMENTS, name)
        except StatusError as error:
            if not is_not_found(error):
                raise
        trouble = attachment_trouble(found, handle, name)
        if trouble:
            raise NotAttached(trouble)
        return dict((found.get("status") or {}).get("attachmentMetadata") or {})
