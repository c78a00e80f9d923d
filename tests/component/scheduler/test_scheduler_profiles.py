"""The scheduler with profiles and extenders against the real API server: who decides, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kumo.api import conditions
from kumo.api.objects import Object
from kumo.api.resources import EVENTS, NODES, PODS, PRIORITYCLASSES
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.scheduler import Configuration, Scheduler, SchedulerConfig
from kumo.kubernetes.scheduler.configuration import API_VERSION, KIND, parse
from kumo.machinery.client import Client
from kumo.machinery.event_series import SeriesRecorder
from kumo.machinery.http import Request, Response
from kumo.machinery.informer import Informers
from kumo.machinery.listener import Listener
from kumo.machinery.transport import InProcessTransport
from support.apiserver import running_apiserver
from support.hollow import HollowCluster, hollow_cluster, until

pytestmark = pytest.mark.component
DEADLINE = 60.0


@asynccontextmanager
async def scheduling(directory: Path, document: dict[str, Any]) -> AsyncIterator[HollowCluster]:
    """A cluster whose scheduler runs by that KubeSchedulerConfiguration, as the user kube-scheduler is."""
    found = parse({"apiVersion": API_VERSION, "kind": KIND, **document})
    quick = Configuration(found.profiles, found.extenders, 0.05, 0.2)
    async with running_apiserver(directory) as server, hollow_cluster(server.client, server.server.handle) as cluster:
        user = UserInfo("system:kube-scheduler", (AUTHENTICATED_GROUP,))
        client = Client(InProcessTransport(cluster.handler, user))
        informers = Informers(client)
        recorder = SeriesRecorder(client, "default-scheduler", "host")
        cluster.start(informers, Scheduler(client, informers, recorder, SchedulerConfig(quick)))
        yield cluster


async def add_nodes(cluster: HollowCluster, *names: str, **allocatable: str) -> None:
    nodes = cluster.informers.informer(NODES)
    for name in names:
        cluster.node(name, **allocatable)
    await until(
        nodes,
        lambda: all((nodes.get(n) or {}).get("status", {}).get("allocatable") for n in names),
        DEADLINE,
    )
    for name in names:  # no controller takes the taint of new nodes away here
        await cluster.client.patch(NODES, name, {"spec": {"taints": None}})


def pod(name: str, cpu: str = "", **spec: Any) -> Object:
    container: dict[str, Any] = {"name": "c", "image": "busybox"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


async def placed(cluster: HollowCluster, name: str) -> str:
    pods = cluster.informers.informer(PODS)
    found = await until(pods, lambda: (pods.get(name, "default") or {}).get("spec", {}).get("nodeName"), DEADLINE)
    return str(found)


async def refused(cluster: HollowCluster, name: str) -> dict[str, Any]:
    pods = cluster.informers.informer(PODS)

    def look() -> dict[str, Any] | None:
        found = conditions.condition(pods.get(name, "default") or {}, "PodScheduled")
        return found if found and found["status"] == "False" else None

    return await until(pods, look, DEADLINE) or {}


async def test_scheduler_profiles_decide_for_their_own_pods(tmp_path: Path) -> None:
    most = {"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]}}
    packer = {
        "schedulerName": "packer",
        "plugins": {"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit", "weight": 1}]}},
        "pluginConfig": [{"name": "NodeResourcesFit", "args": most}],
    }
    async with scheduling(tmp_path, {"profiles": [{"schedulerName": "default-scheduler"}, packer]}) as cluster:
        await add_nodes(cluster, "a", "b")
        events = cluster.informers.informer(EVENTS)
        await cluster.client.create(PODS, pod("first", "1"))
        first = await placed(cluster, "first")
        await cluster.client.create(PODS, pod("packed", "1", schedulerName="packer"))
        assert await placed(cluster, "packed") == first
        await cluster.client.create(PODS, pod("apart", "1"))
        assert await placed(cluster, "apart") != first
        wanted = [("first", "default-scheduler"), ("packed", "packer")]
        found = await until(
            events,
            lambda: (
                {
                    (e["involvedObject"]["name"], e["reportingComponent"], e["reportingInstance"], e["action"])
                    for e in events.objects()
                    if e["reason"] == "Scheduled" and e["involvedObject"]["name"] != "apart"
                }
                if len(events.objects()) >= 3
                else None
            ),
            DEADLINE,
        )
        assert found == {(name, who, f"{who}-host", "Binding") for name, who in wanted}


@asynccontextmanager
async def extender(answer: Callable[[str, dict[str, Any]], Any]) -> AsyncIterator[str]:
    """An extender that answers what the function says; its URL."""

    async def handle(request: Request) -> Response:
        assert isinstance(request.content, bytes)
        found = answer(request.path, msgspec.json.decode(request.content))
        return Response(500 if found is None else 200, msgspec.json.encode(found), "application/json")

    listener = Listener(handle, host="127.0.0.1", port=0, name="extender")
    await listener.start()
    try:
        yield f"http://127.0.0.1:{listener.port}/x"
    finally:
        await listener.stop()


async def test_scheduler_extender_takes_nodes_away_gives_points_and_binds(tmp_path: Path) -> None:
    asked: list[str] = []
    bound: list[dict[str, Any]] = []

    def answer(path: str, body: dict[str, Any]) -> Any:
        asked.append(path)
        if path == "/x/filter":
            names = [n for n in body["NodeNames"] if n != "a"]
            return {"NodeNames": names, "FailedNodes": {"a": "no luck today"}}
        if path == "/x/prioritize":
            return [{"Host": n, "Score": 10 if n == "c" else 0} for n in body["NodeNames"]]
        bound.append(body)
        return {"Error": ""}

    async with extender(answer) as url:
        one = {"urlPrefix": url, "filterVerb": "filter", "prioritizeVerb": "prioritize", "weight": 50}
        document = {"extenders": [{**one, "nodeCacheCapable": True, "bindVerb": "bind"}]}
        async with scheduling(tmp_path, document) as cluster:
            await add_nodes(cluster, "a")
            await cluster.client.create(PODS, pod("p"))
            said = (await refused(cluster, "p"))["message"]
            assert said.startswith("0/1 nodes are available: 1 no luck today. no new claims to deallocate")
            await add_nodes(cluster, "b", "c")
            await cluster.client.create(PODS, pod("q"))
            async with asyncio.timeout(DEADLINE):
                while not (found := [b for b in bound if b["PodName"] == "q"]):
                    await asyncio.sleep(0.02)
            assert (found[0]["PodNamespace"], found[0]["Node"]) == ("default", "c")
            assert set(asked) == {"/x/filter", "/x/prioritize", "/x/bind"}


async def test_scheduler_says_when_an_extender_fails_unless_it_may_be_ignored(tmp_path: Path) -> None:
    async with extender(lambda path, body: None) as url:
        named = {"name": "example.com/x"}
        strict = {"urlPrefix": url, "filterVerb": "filter", "managedResources": [named]}
        lax = {"urlPrefix": url, "filterVerb": "filter", "ignorable": True}
        async with scheduling(tmp_path, {"extenders": [lax, strict]}) as cluster:
            await add_nodes(cluster, "a", **{"example.com/x": "1"})
            await cluster.client.create(PODS, pod("plain"))
            assert await placed(cluster, "plain") == "a"
            special = pod("special")
            special["spec"]["containers"][0]["resources"] = {"limits": {"example.com/x": "1"}}
            await cluster.client.create(PODS, special)
            found = await refused(cluster, "special")
            assert found["reason"] == "SchedulerError"
            assert found["message"] == f"failed filter with extender at URL {url}/filter, code 500"


async def test_scheduler_preemption_tells_the_victim_and_keeps_the_place(tmp_path: Path) -> None:
    async with scheduling(tmp_path, {}) as cluster:
        await add_nodes(cluster, "a", cpu="2")
        pods, events = cluster.informers.informer(PODS), cluster.informers.informer(EVENTS)
        kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
        await cluster.client.create(PRIORITYCLASSES, {**kind, "metadata": {"name": "high"}, "value": 1000})
        victim = pod("victim", "1500m")
        victim["metadata"]["finalizers"] = ["example.com/wait"]
        await cluster.client.create(PODS, victim)
        assert await placed(cluster, "victim") == "a"
        await cluster.client.create(PODS, pod("vip", "1500m", priorityClassName="high"))
        told = await until(
            pods, lambda: conditions.condition(pods.get("victim", "default") or {}, "DisruptionTarget"), DEADLINE
        )
        assert (told or {})["reason"] == "PreemptionByScheduler"
        assert (told or {})["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
        await until(
            pods, lambda: (pods.get("vip", "default") or {})["status"].get("nominatedNodeName") == "a", DEADLINE
        )
        await cluster.client.create(PODS, pod("thief", "1500m"))
        assert "Insufficient cpu" in (await refused(cluster, "thief"))["message"], "the place is promised"
        await cluster.client.patch(PODS, "victim", {"metadata": {"finalizers": None}}, "default")
        assert await placed(cluster, "vip") == "a"
        assert "nominatedNodeName" not in (pods.get("vip", "default") or {})["status"]
        await until(
            events, lambda: any(e["reason"] == "Preempted" and e["action"] == "Preempting" for e in events.objects())
        )
