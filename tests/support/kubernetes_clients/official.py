"""The official Python client, run as a program of its own: typed and dynamic, watches, informers, elections, streams.

python official.py NAMESPACE     (KUBECONFIG says where; ends with 0 and prints `ok` when all is as it should be)
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from kubernetes import client, config, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "server", "labels": {"app": "server"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "main",
                "image": "busybox",
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "echo started; echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
            }
        ],
    },
}
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.official.example"},
    "spec": {
        "group": "official.example",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}},
                            "status": {"type": "object", "properties": {"n": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}


def typed(core: client.CoreV1Api, namespace: str) -> None:
    """Objects, patches of every kind, lists in parts, refusals, watches that are taken up again."""
    for n in range(5):
        meta = client.V1ObjectMeta(name=f"m{n}", labels={"part": "typed"})
        core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=meta, data={"n": str(n)}))
    first = core.list_namespaced_config_map(namespace, label_selector="part=typed", limit=2)
    assert len(first.items) == 2 and first.metadata._continue
    rest = core.list_namespaced_config_map(
        namespace, label_selector="part=typed", limit=10, _continue=first.metadata._continue
    )
    assert [i.metadata.name for i in rest.items] == ["m2", "m3", "m4"]
    changed = core.patch_namespaced_config_map("m0", namespace, {"data": {"n": "zero"}})
    assert changed.data == {"n": "zero"}
    changed = core.patch_namespaced_config_map("m0", namespace, [{"op": "add", "path": "/data/x", "value": "y"}])
    assert changed.data == {"n": "zero", "x": "y"}
    try:
        core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="m0")))
    except ApiException as error:
        assert (error.status, error.reason) == (409, "Conflict"), error
    else:
        raise AssertionError("a name was given twice")
    seen = []
    for event in watch.Watch().stream(
        core.list_namespaced_config_map, namespace, label_selector="part=typed", timeout_seconds=5
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 5:
            core.delete_namespaced_config_map("m4", namespace)
        if len(seen) == 6:
            break
    assert seen[5] == ("DELETED", "m4"), seen
    core.delete_collection_namespaced_config_map(namespace, label_selector="part=typed")
    assert not core.list_namespaced_config_map(namespace, label_selector="part=typed").items


def dynamic(api: client.ApiClient, namespace: str) -> None:
    """Discovery, a definition and its objects, apply with its conflicts, subresources."""
    found = DynamicClient(api)
    definitions = found.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=WIDGETS)
    for event in definitions.watch(name="widgets.official.example", timeout=10):
        conditions = event["object"].to_dict().get("status", {}).get("conditions") or []
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            break
    found.resources.invalidate_cache()
    widgets = found.resources.get(api_version="official.example/v1", kind="Widget")
    body = {"apiVersion": "official.example/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}
    assert widgets.create(body=body, namespace=namespace).spec.n == 1
    mine = {**body, "spec": {"n": 3}}
    applied = widgets.server_side_apply(
        body=mine, name="w", namespace=namespace, field_manager="one", force_conflicts=True
    )
    assert applied.spec.n == 3
    try:
        widgets.server_side_apply(
            body={**body, "spec": {"n": 4}}, name="w", namespace=namespace, field_manager="two", force_conflicts=False
        )
    except ConflictError as error:
        assert 'conflict with \\"one\\"' in str(error.body), error.body
    else:
        raise AssertionError("two managers have one field")
    done = widgets.status.patch(
        body={"status": {"n": 2}}, name="w", namespace=namespace, content_type="application/merge-patch+json"
    )
    assert (done.status.n, done.spec.n) == (2, 3)
    assert widgets.scale.get(name="w", namespace=namespace).spec.replicas == 3
    assert [w.metadata.name for w in widgets.get(namespace=namespace).items] == ["w"]
    widgets.delete(name="w", namespace=namespace)
    definitions.delete(name="widgets.official.example")


def informed(core: client.CoreV1Api, namespace: str) -> None:
    """An informer sees what is there and what comes."""
    came, gone = threading.Event(), threading.Event()
    core.create_namespaced_secret(namespace, client.V1Secret(metadata=client.V1ObjectMeta(name="before")))
    informer = SharedInformer(core.list_namespaced_secret, namespace=namespace)
    informer.add_event_handler("ADDED", lambda o: came.set() if o.metadata.name == "after" else None)
    informer.add_event_handler("DELETED", lambda o: gone.set() if o.metadata.name == "before" else None)
    informer.start()
    try:
        core.create_namespaced_secret(namespace, client.V1Secret(metadata=client.V1ObjectMeta(name="after")))
        assert came.wait(10), "no event of a new object"
        core.delete_namespaced_secret("before", namespace)
        assert gone.wait(10), "no event of a deleted object"
        assert informer.cache.get_by_key(f"{namespace}/after") is not None
    finally:
        informer.stop()


def elected(namespace: str) -> None:
    """A leader is elected by a Lease."""
    leading = threading.Event()
    lock = LeaseLock("leader", namespace, "candidate")
    wanted = electionconfig.Config(
        lock,
        lease_duration=4,
        renew_deadline=3,
        retry_period=1,
        onstarted_leading=leading.set,
        onstopped_leading=lambda: None,
    )
    threading.Thread(target=leaderelection.LeaderElection(wanted).run, daemon=True).start()
    assert leading.wait(10), "nobody leads"
    assert client.CoordinationV1Api().read_namespaced_lease("leader", namespace).spec.holder_identity == "candidate"


def streamed(api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    """A pod from YAML's form; commands in it, its log as it is written, a connection to its port."""
    utils.create_from_dict(api, POD, namespace=namespace)
    for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=30):
        if event["object"].status.phase == "Running":
            break
    connect = core.connect_get_namespaced_pod_exec
    words = ["sh", "-c", "read line; echo out $line; echo err >&2; exit 3"]
    shell = stream(
        connect,
        "server",
        namespace,
        command=words,
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    shell.write_stdin("said\n")
    shell.run_forever(timeout=10)
    assert (shell.read_stdout(), shell.read_stderr(), shell.returncode) == ("out said\n", "err\n", 3)
    for line in watch.Watch().stream(core.read_namespaced_pod_log, "server", namespace, follow=True):
        assert line == "started", line
        break
    tunnel = portforward(core.connect_get_namespaced_pod_portforward, "server", namespace, ports="8080")
    plug = tunnel.socket(8080)
    plug.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
    answer = b""
    while chunk := plug.recv(4096):
        answer += chunk
    assert answer.endswith(b"page\n"), answer
    core.delete_namespaced_pod("server", namespace, grace_period_seconds=0)


def main(namespace: str) -> None:
    """Everything, in a namespace of its own."""
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    assert client.VersionApi(api).get_code().minor == "36"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
    try:
        typed(core, namespace)
        dynamic(api, namespace)
        informed(core, namespace)
        elected(namespace)
        streamed(api, core, namespace)
    finally:
        core.delete_namespace(namespace)
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1])
