"""kr8s, run as a program of its own: objects of every kind, scaling, waiting, commands, logs, connections, watches.

python asynchronous.py NAMESPACE     (KUBECONFIG says where; ends with 0 and prints `ok` when all is as it should be)
"""

from __future__ import annotations

import asyncio
import sys

import httpx
import kr8s
from kr8s.asyncio.objects import ConfigMap, CustomResourceDefinition, Deployment, Namespace, Pod, new_class

GROUP = "kr8s.example"
DEFINITION = {
    "metadata": {"name": f"gadgets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["gd"]},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
SERVER = ["sh", "-c", "echo started; echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]


def pod_spec(*command: str) -> dict[str, object]:
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": list(command)}
    return {"terminationGracePeriodSeconds": 0, "containers": [container]}


async def objects(api: kr8s.asyncio.Api, namespace: str) -> None:
    """Create, change, label, patch, list by selectors, look up, delete."""
    made = ConfigMap({"metadata": {"name": "one", "namespace": namespace}, "data": {"a": "b"}}, api=api)
    await made.create()
    await made.patch({"data": {"c": "d"}})
    await made.label(tier="front")
    await made.annotate(note="text")
    await made.refresh()
    assert made.data == {"a": "b", "c": "d"} and made.labels == {"tier": "front"}
    await made.patch([{"op": "remove", "path": "/data/c"}], type="json")
    found = [o async for o in api.get("configmaps", namespace=namespace, label_selector={"tier": "front"})]
    assert [o.name for o in found] == ["one"]
    assert await made.exists()
    await made.delete()
    await made.wait("delete", timeout=10)
    assert not await made.exists()


async def custom(api: kr8s.asyncio.Api, namespace: str) -> None:
    """A definition, objects of it under their short name, and a watch of them."""
    old = CustomResourceDefinition(DEFINITION, api=api)
    if await old.exists():
        await old.delete()
        await old.wait("delete", timeout=10)
    definition = CustomResourceDefinition(DEFINITION, api=api)
    await definition.create()
    async with asyncio.timeout(10):  # Its conditions are null at first, which kr8s cannot wait with.
        while not definition.raw.get("status", {}).get("conditions"):
            await definition.refresh()
    await definition.wait("condition=Established", timeout=10)
    kind = new_class(kind="Gadget", version=f"{GROUP}/v1", namespaced=True)
    gadget = await kind({"metadata": {"name": "g", "namespace": namespace}, "spec": {"n": 1}}, api=api)
    await gadget.create()
    seen = []

    async def look() -> None:
        async for change, obj in api.watch(f"gadgets.{GROUP}", namespace=namespace):
            seen.append((change, obj.raw["spec"]["n"]))
            if change == "DELETED":
                return

    looking = asyncio.create_task(look())
    async with asyncio.timeout(10):
        while not seen:
            await asyncio.sleep(0.02)
        await gadget.patch({"spec": {"n": 2}})
        await gadget.delete()
        await looking
    assert [n for _, n in seen] == [1, 2, 2] and seen[-1][0] == "DELETED", seen
    await definition.delete()


async def scaled(api: kr8s.asyncio.Api, namespace: str) -> None:
    """A deployment becomes ready, is scaled, and knows its pods."""
    labels = {"app": "scaled"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec("sleep", "600")}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    made = Deployment({"metadata": {"name": "scaled", "namespace": namespace}, "spec": spec}, api=api)
    await made.create()
    async with asyncio.timeout(30):
        while not await made.ready():
            await asyncio.sleep(0.05)
        await made.scale(2)
        while not (await made.ready() and len(await made.pods()) == 2):
            await asyncio.sleep(0.05)
    await made.delete()


async def streamed(api: kr8s.asyncio.Api, namespace: str) -> None:
    """Commands in a pod, its log, a forwarded port."""
    made = Pod({"metadata": {"name": "server", "namespace": namespace}, "spec": pod_spec(*SERVER)}, api=api)
    await made.create()
    await made.wait("condition=Ready", timeout=30)
    done = await made.exec(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)
    assert [line async for line in made.logs()] == ["started"]
    async with made.portforward(remote_port=8080, local_port="auto") as port, httpx.AsyncClient() as web:
        for _ in range(2):
            answer = await web.get(f"http://127.0.0.1:{port}/index.html")
            assert answer.text == "page\n"
    await made.delete()


async def main(namespace: str) -> None:
    """Everything, in a namespace of its own."""
    api = await kr8s.asyncio.api()
    assert (await api.version())["minor"] == "36"
    space = Namespace({"metadata": {"name": namespace}}, api=api)
    await space.create()
    try:
        await objects(api, namespace)
        await custom(api, namespace)
        await scaled(api, namespace)
        await streamed(api, namespace)
    finally:
        await space.delete()
    print("ok")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
