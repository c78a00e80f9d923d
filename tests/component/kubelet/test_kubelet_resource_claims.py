"""ResourceClaims on a real node: a driver prepares devices, real containers get them, and they are given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.objects import Object, uid_of
from kumo.api.resources import EVENTS, GVR, PODS
from kumo.kubernetes.kubelet.claims.records import FILE, decode
from kumo.kubernetes.kubelet.claims.stubs import dra_health_pb2 as health_pb
from support.claim_driver import ClaimDriver
from support.kubelet import NODE, Node, pod_object, running, running_node, status_of
from support.pod_resources import ask

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
NAME = "claims.example.com"
CLAIMS, SLICES = GVR("resource.k8s.io", "v1", "resourceclaims"), GVR("resource.k8s.io", "v1", "resourceslices", False)
LOOK = "echo $CLAIM $DRIVER; cat /opt/driver/driver; ls -l /dev/given | cut -c1; trap 'exit 0' TERM; sleep 1000 & wait"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node")) as found:
        yield found


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.02)


async def claim(node: Node, name: str, *pods: Object, driver: str = NAME) -> Object:
    """A claim that has a device of the driver, reserved for the pods."""
    client = node.api.client
    try:
        found = await client.get(CLAIMS, name, "default")
    except Exception:
        spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}
        found = await client.create(CLAIMS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    device = {"request": "r", "driver": driver, "pool": "p", "device": "d"}
    holders = [{"resource": "pods", "name": p["metadata"]["name"], "uid": uid_of(p)} for p in pods]
    found["status"] = {"allocation": {"devices": {"results": [device]}}, "reservedFor": holders}
    return await client.update_status(CLAIMS, found)


def wants(name: str) -> dict[str, Any]:
    return {
        "resourceClaims": [{"name": "d", "resourceClaimName": name}],
        "container": {"resources": {"claims": [{"name": "d", "request": "r"}]}},
    }


def log_of(node: Node, pod: Object) -> list[str]:
    files = sorted(node.config.logs_directory.glob(f"default_{pod['metadata']['name']}_{uid_of(pod)}/main/*.log"))
    return [line.split(" ", 3)[3] for f in files for line in f.read_text().splitlines()]


async def event(node: Node, pod: Object, part: str) -> None:
    async with asyncio.timeout(60):
        while True:
            found = await node.api.client.list(EVENTS, "default")
            mine = [e for e in found.items if e["involvedObject"].get("uid") == uid_of(pod)]
            if any(e["reason"] == "FailedPrepareDynamicResources" and part in e["message"] for e in mine):
                return
            await asyncio.sleep(0.05)


async def test_claims_are_prepared_and_given_back(node: Node, tmp_path: Path) -> None:
    shared, specs = tmp_path / "shared", tmp_path / "cdi"
    shared.mkdir()
    (shared / "driver").write_text("the driver\n")
    node.kubelet.claims._folders = (specs,)
    driver = ClaimDriver(NAME, tmp_path, specs)
    driver.write_spec(
        "one",
        deviceNodes=[{"path": "/dev/given", "hostPath": "/dev/null"}],
        mounts=[{"hostPath": str(shared), "containerPath": "/opt/driver", "options": ["ro", "bind"]}],
    )
    registry, file = node.config.directory / "plugins_registry", node.config.directory / FILE

    first = await node.create("first", "sh", "-c", LOOK, **wants("one"))
    await event(node, first, "prepare dynamic resources: fetch ResourceClaim one: resourceclaims")
    await claim(node, "one")
    await event(node, first, f"pod first ({uid_of(first)}) is not allowed to use ResourceClaim one")
    made = await claim(node, "one", first)
    await event(node, first, f"DRA driver {NAME} is not registered")
    async with driver.registered(registry):
        await until(lambda: driver.told == [(True, "")])
        first = await node.until("first", running, 60)
        await until(lambda: len(log_of(node, first)) == 3)
        assert log_of(node, first) == [f"one {NAME}", "the driver", "c"]
        assert driver.calls == [("prepare", ["one"])]

        # A second pod of the same claim needs no driver; another kubelet knows what this one has prepared.
        second = await node.create("second", "sh", "-c", LOOK, **wants("one"))
        await claim(node, "one", first, second)
        await node.until("second", running, 60)
        assert driver.calls == [("prepare", ["one"])]
        record = decode(file.read_bytes())[uid_of(made)]
        assert record.pods == {uid_of(first), uid_of(second)} and list(record.drivers) == [NAME]
        await node.api.client.delete(PODS, "first", "default")
        await until(lambda: decode(file.read_bytes())[uid_of(made)].pods == {uid_of(second)})
        await node.stop()
        await node.start()
        node.kubelet.claims._folders = (specs,)
        await until(lambda: len(driver.told) == 2)

        driver.error = "busy"
        await node.api.client.delete(PODS, "second", "default")
        await until(lambda: ("unprepare", ["one"]) in driver.calls)
        driver.error = ""
        node.kubelet.claims._moved.set()
        await until(lambda: decode(file.read_bytes()) == {})


async def test_health_and_extended_resources_of_claims(node: Node, tmp_path: Path) -> None:
    specs = tmp_path / "cdi"
    node.kubelet.claims._folders = (specs,)
    driver = ClaimDriver("well.example.com", tmp_path, specs)
    driver.write_spec("three", "four")
    async with driver.registered(node.config.directory / "plugins_registry"):
        await until(lambda: driver.told == [(True, "")])
        pod = await node.create("ill", **wants("three"))
        await claim(node, "three", pod, driver=driver.name)
        health = await node.until("ill", lambda p: running(p) and told_of(p), 60)
        entry = {"resourceID": "well.example.com/dev=dev-three", "health": "Unknown"}
        assert told_of(health) == [{"name": "claim:d/r", "resources": [entry]}]
        await driver.set_health(health_pb.HEALTHY)
        await node.until("ill", lambda p: told_of(p)[0]["resources"] == [{**entry, "health": "Healthy"}], 60)
        await driver.set_health(health_pb.UNHEALTHY, "too hot")
        bad = {**entry, "health": "Unhealthy", "message": "too hot"}
        await node.until("ill", lambda p: told_of(p)[0]["resources"] == [bad], 60)

        # An extended resource that comes by a claim: the scheduler has made it, and told the pod.
        driver.requests = ["container-0-request-0"]
        amounts = {"example.com/well": "1"}
        made = pod_object(
            "extended", "sh", "-c", LOOK, container={"resources": {"limits": amounts, "requests": amounts}}
        )
        place = made["spec"].pop("nodeName")
        made = await node.create_pod(made)
        await claim(node, "four", made, driver=driver.name)
        mapping = {"containerName": "main", "resourceName": "example.com/well", "requestName": driver.requests[0]}
        status = {"extendedResourceClaimStatus": {"requestMappings": [mapping], "resourceClaimName": "four"}}
        client = node.api.client
        await client.patch(PODS, "extended", {"status": status}, "default", subresource="status")
        binding = {"metadata": {"name": "extended"}, "target": {"kind": "Node", "name": place}}
        await client.create(PODS, binding, "default", subresource="binding", name="extended")
        made = await node.until("extended", running, 60)
        await until(lambda: log_of(node, made)[:1] == ["four well.example.com"])
        told = await ask(node.config.directory, "Get", pod_name="extended", pod_namespace="default")
        found = told.pod_resources.containers[0].dynamic_resources[0]
        assert (found.claim_name, found.claim_namespace) == ("four", "default")
        resource = found.claim_resources[0]
        assert (resource.driver_name, resource.pool_name, resource.device_name) == (driver.name, "p", "d")
        assert [d.name for d in resource.cdi_devices] == ["well.example.com/dev=dev-four"]
        await node.remove("ill")
        await node.remove("extended")
        await until(lambda: decode((node.config.directory / FILE).read_bytes()) == {})


def told_of(pod: Object) -> Any:
    return status_of(pod).get("allocatedResourcesStatus")


async def test_slices_of_a_driver_that_has_gone_go_too(node: Node, tmp_path: Path) -> None:
    manager, client = node.kubelet.claims, node.api.client
    manager._wipe_after = 0.2
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    driver = ClaimDriver("other.example.com", tmp_path, tmp_path)
    for name in (driver.name, "else.example.com"):
        spec = {"driver": name, "nodeName": NODE, "pool": pool, "devices": [{"name": "d"}]}
        await client.create(SLICES, {"metadata": {"name": name}, "spec": spec})
    async with driver.registered(node.config.directory / "plugins_registry"):
        await until(lambda: driver.told == [(True, "")])
    async with asyncio.timeout(60):
        while {s["metadata"]["name"] for s in (await client.list(SLICES)).items} != {"else.example.com"}:
            await asyncio.sleep(0.05)


async def test_drivers_of_other_versions_are_refused(node: Node, tmp_path: Path) -> None:
    driver = ClaimDriver("old.example.com", tmp_path, tmp_path, versions=("v1alpha4.Node",))
    async with driver.registered(node.config.directory / "plugins_registry"):
        await until(lambda: driver.told)
    assert not driver.told[0][0] and "none of services supported by the plugin" in driver.told[0][1]
