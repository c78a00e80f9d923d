"""ServiceCIDRs with their controller running: made ready, kept while in use, let go afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.api import conditions
from kumo.api.errors import StatusError, is_not_found
from kumo.kubernetes.controller_manager.service_ranges import ADDRESSES, FINALIZER, RANGES
from kumo.machinery.client import Client
from support.hollow import HollowCluster

pytestmark = pytest.mark.component


async def until_ready_is(client: Client, name: str, status: str) -> dict[str, Any]:
    """The range once it says so and is protected (the API server itself makes its own one ready)."""
    async with asyncio.timeout(20):
        while True:
            found = await client.get(RANGES, name)
            ready = (conditions.condition(found, "Ready") or {}).get("status")
            if ready == status and found["metadata"].get("finalizers") == [FINALIZER]:
                return found
            await asyncio.sleep(0.05)


async def until_gone(client: Client, name: str, uid: str = "") -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if uid not in ("", (await client.get(RANGES, name))["metadata"]["uid"]):
                    return
            except StatusError as error:
                if is_not_found(error):
                    return
                raise
            await asyncio.sleep(0.05)


async def test_the_range_of_the_cluster_stays(cluster: HollowCluster) -> None:
    client = cluster.client
    ready = await until_ready_is(client, "kubernetes", "True")
    await client.delete(RANGES, "kubernetes")
    kept = await until_ready_is(client, "kubernetes", "False")
    condition = conditions.condition(kept, "Ready") or {}
    assert condition["reason"] == "Terminating"
    assert condition["message"].startswith("There are still IPAddresses referencing the ServiceCIDR")
    # A range around it takes over its addresses.
    wider = {"metadata": {"name": "wider"}, "spec": {"cidrs": ["10.0.0.0/8"]}}
    await client.create(RANGES, {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", **wider})
    await until_gone(client, "kubernetes", ready["metadata"]["uid"])
    await until_ready_is(client, "kubernetes", "True")


async def test_an_address_keeps_a_range(cluster: HollowCluster) -> None:
    client = cluster.client
    made = {"metadata": {"name": "more"}, "spec": {"cidrs": ["203.0.113.0/24"]}}
    await client.create(RANGES, {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", **made})
    await until_ready_is(client, "more", "True")
    labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
    parent = {"resource": "services", "namespace": "default", "name": "x"}
    address = {"metadata": {"name": "203.0.113.7", "labels": labels}, "spec": {"parentRef": parent}}
    await client.create(ADDRESSES, {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", **address})
    await client.delete(RANGES, "more")
    await until_ready_is(client, "more", "False")
    await client.delete(ADDRESSES, "203.0.113.7")
    await until_gone(client, "more")
