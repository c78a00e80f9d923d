"""The node's labels and annotations that say: machines may be scheduled here, virt-handler lives, and where it is.

virt-controller takes `kubevirt.io/schedulable` away when the heartbeat is older than five minutes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import timestamp
from kumo.api.resources import NODES
from kumo.kubevirt.common import names
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.machinery.client import Client

_log = structlog.get_logger("kumo.virt-handler")
_RETRY = 1.0


def node_patch(config: VirtHandlerConfig, *, kvm: bool, now: str) -> dict[str, Any]:
    """The merge patch of the Node. Labels of devices that are not there are removed."""
    labels: dict[str, str | None] = {names.SCHEDULABLE_LABEL: "true"}
    for machine_type in config.machine_types:
        labels[f"machine-type.node.kubevirt.io/{machine_type}"] = "true"
    labels["kumo.dev/kvm"] = "true" if kvm else None
    annotations = {names.HEARTBEAT_ANNOTATION: now}
    if config.address:
        annotations[names.HANDLER_ADDRESS_ANNOTATION] = config.address
    return {"metadata": {"labels": labels, "annotations": annotations}}


async def beat(client: Client, config: VirtHandlerConfig, *, kvm: bool) -> None:
    """Keep the Node's labels and its heartbeat up to date until cancelled."""
    while True:
        try:
            await client.patch(NODES, config.node, node_patch(config, kvm=kvm, now=timestamp()))
            delay = config.heartbeat
        except (StatusError, OSError, TimeoutError) as error:
            # Before the kubelet has made the Node there is nothing to label.
            _log.debug("no heartbeat", node=config.node, error=str(error))
            delay = _RETRY
        await asyncio.sleep(delay)
