"""A kind that nobody can list keeps the controllers from nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, CRDS, GVR
from kumo.kubernetes.controller_manager import monitor
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
Start = Callable[[HollowCluster], list[asyncio.Task[None]]]


def _definition() -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    def version(name: str) -> dict[str, Any]:
        return {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}}

    # Nobody listens there.
    webhook = {"clientConfig": {"url": "https://127.0.0.1:9/convert"}, "conversionReviewVersions": ["v1"]}
    spec = {
        "group": "broken.kumo.dev",
        "scope": "Namespaced",
        "names": {"plural": "doors", "kind": "Door"},
        "versions": [version("v1"), version("v2")],
        "conversion": {"strategy": "Webhook", "webhook": webhook},
    }
    return {"metadata": {"name": "doors.broken.kumo.dev"}, "spec": spec}


async def test_controller_garbage_goes_though_a_conversion_webhook_is_away(
    empty_cluster: HollowCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = empty_cluster
    monkeypatch.setattr(monitor, "SYNC_PATIENCE", 0.5)
    await cluster.client.create(CRDS, _definition())
    door = GVR("broken.kumo.dev", "v1", "doors")
    await cluster.client.create(door, {"metadata": {"name": "front"}}, "default")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0-0-0"}
    orphan = {"metadata": {"name": "orphan", "ownerReferences": [owner]}}
    await cluster.client.create(CONFIGMAPS, orphan, "default")
    start(cluster)
    maps = cluster.informers.informer(CONFIGMAPS)
    await until(maps, lambda: maps.synced and maps.get("orphan", "default") is None)
