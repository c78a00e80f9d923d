"""The node's labels and annotations that say: machines may be scheduled here, virt-handler lives, and where it is.

virt-controller takes `kubevirt.io/schedulable` away when the heartbeat is older than five minutes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from kumo.api.conditions import condition
from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.api.resources import NODES
from kumo.kubevirt.common import names
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client

_log = structlog.get_logger("kumo.virt-handler")
_RETRY = 1.0
VIRTUALIZATION = "kumo.dev/HardwareVirtualization"


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


def virtualization(kvm: bool, old: Object | None, now: str) -> dict[str, Any] | None:
    """The Node's condition that says how guests run, or None if the Node `old` already has it."""
    new = {
        "type": VIRTUALIZATION,
        "status": "True" if kvm else "False",
        "reason": "KVM" if kvm else "NoUsableKVM",
        "message": "guests run on the processor (KVM)" if kvm else "no usable KVM: guests run in software (TCG)",
    }
    found = condition(old or {}, VIRTUALIZATION)
    if found is not None and found.get("status") == new["status"]:
        return None
    return {**new, "lastHeartbeatTime": now, "lastTransitionTime": now}


async def beat(client: Client, config: VirtHandlerConfig, *, kvm: bool) -> None:
    """Keep the Node's labels and its heartbeat up to date until cancelled."""
    while True:
        try:
            node = await client.patch(NODES, config.node, node_patch(config, kvm=kvm, now=timestamp()))
            told = virtualization(kvm, node, timestamp())
            if told is not None:
                patch = {"status": {"conditions": [told]}}
                await client.patch(NODES, config.node, patch, kind=STRATEGIC_MERGE_PATCH, subresource="status")
            delay = config.heartbeat
        except (StatusError, OSError, TimeoutError) as error:
            # Before the kubelet has made the Node there is nothing to label.
            _log.debug("no heartbeat", node=config.node, error=str(error))
            delay = _RETRY
        await asyncio.sleep(delay)
