"""The cluster's own ServiceCIDR, `kubernetes`: made, grown by a second family, made again when it has gone, ready.

As upstream's `defaultservicecidr` controller of the API server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from kumo.api import conditions
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, is_deleting, timestamp
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.reader import CacheReader
from kumo.machinery.client import APPLY_PATCH, Client
from kumo.machinery.events import WARNING, EventRecorder

_log = structlog.get_logger("kumo.apiserver.addresses")
RANGES = GVR("networking.k8s.io", "v1", "servicecidrs", False)
NAME = "kubernetes"
_MANAGER = "kubernetes-service-cidr-controller"
_RETRY = 5.0


class DefaultRange:
    """Keeps the ServiceCIDR of `blocks`, the default family's first."""

    def __init__(self, blocks: Sequence[str], reader: CacheReader, client: Client) -> None:
        self._blocks = list(blocks)
        self._reader, self._client = reader, client
        self._events = EventRecorder(client, _MANAGER)
        self._told: set[str] = set()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Bring it up to date, and listen."""
        await self.sync()
        self._reader.listen(RANGES, self._look)

    def _look(self, _namespace: str, name: str) -> None:
        if name == NAME:
            self._changed.set()

    async def run(self) -> None:
        """Keep it, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.sync()
            except StatusError as error:
                _log.warning("the default ServiceCIDR can't be kept", error=error.message)
                await asyncio.sleep(_RETRY)
                self._changed.set()

    async def sync(self) -> None:
        """Make what is missing. Raises StatusError."""
        found = self._reader.get(RANGES, NAME)
        if found is None:
            found = await self._create()
        stated = (found.get("spec") or {}).get("cidrs") or []
        if len(stated) == 1 and len(self._blocks) == 2 and stated[0] == self._blocks[0]:
            found = await self._client.update(RANGES, {**found, "spec": {**found["spec"], "cidrs": self._blocks}})
            stated = self._blocks
        if is_deleting(found):
            return
        ready = conditions.condition(found, "Ready") or {}
        if stated != self._blocks:
            text = f"The default ServiceCIDR {_go(stated)} does not match the flag configurations {_go(self._blocks)}"
            self._tell(found, "KubernetesDefaultServiceCIDRInconsistent", text)
        elif ready.get("status") == "False":
            self._tell(found, ready.get("reason") or "NotReady", f"Configuration matches, but {ready.get('message')}")
        elif ready.get("status") != "True":
            await self._say_ready()

    async def _create(self) -> Object:
        wanted: Object = {"apiVersion": RANGES.api_version, "kind": "ServiceCIDR", "metadata": {"name": NAME}}
        wanted["spec"] = {"cidrs": self._blocks}
        try:
            return await self._client.create(RANGES, wanted)
        except StatusError as error:
            if not is_already_exists(error):
                raise
            return await self._client.get(RANGES, NAME)

    async def _say_ready(self) -> None:
        said = {"type": "Ready", "status": "True", "message": "Kubernetes default Service CIDR is ready"}
        status: Object = {"apiVersion": RANGES.api_version, "kind": "ServiceCIDR", "metadata": {"name": NAME}}
        status["status"] = {"conditions": [{**said, "reason": "", "lastTransitionTime": timestamp()}]}
        try:
            await self._client.patch(
                RANGES, NAME, status, kind=APPLY_PATCH, subresource="status", field_manager=_MANAGER, force=True
            )
        except StatusError as error:
            if not is_not_found(error):
                raise

    def _tell(self, found: Object, reason: str, message: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            self._events.event(found, WARNING, reason, message)


def _go(blocks: Sequence[str]) -> str:
    return f"[{' '.join(blocks)}]"
