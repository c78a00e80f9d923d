"""The old network proxy of Nova's API: there is one network so far, the pods', and clients without Neutron ask here."""

from __future__ import annotations

import uuid
from typing import Any

from kumo.machinery.http import Response
from kumo.openstack.common.errors import ApiError
from kumo.openstack.common.service import Call, Route, reply

POD_NETWORK = str(uuid.UUID("0d4f6d1e-6f0b-5c1c-9a53-2f1d6c3f7a21"))
POD_NETWORK_NAME = "pod"
_UNKNOWN = (
    "bridge", "bridge_interface", "broadcast", "cidr", "cidr_v6", "created_at", "deleted", "deleted_at", "dhcp_start",
    "dns1", "dns2", "gateway", "gateway_v6", "host", "injected", "multi_host", "netmask", "netmask_v6", "priority",
    "project_id", "rxtx_base", "updated_at", "vlan", "vpn_private_address", "vpn_public_address", "vpn_public_port",
)  # fmt: skip


def _network() -> dict[str, Any]:
    return {"id": POD_NETWORK, "label": POD_NETWORK_NAME, **dict.fromkeys(_UNKNOWN)}


async def _listed(call: Call) -> Response:
    _old(call)
    return reply({"networks": [_network()]})


async def _shown(call: Call) -> Response:
    _old(call)
    if call.params["id"] != POD_NETWORK:
        raise ApiError(404, f"Network {call.params['id']} could not be found.")
    return reply({"network": _network()})


def _old(call: Call) -> None:
    """The proxies ended with microversion 2.36."""
    if call.at_least(36):
        raise ApiError(404, "The resource could not be found.")


def routes() -> list[Route]:
    """Their part of Nova's table."""
    return [Route("GET", "/v2.1/os-networks", _listed), Route("GET", "/v2.1/os-networks/{id}", _shown)]
