"""What a node that has joined may do with its one certificate, acting as whoever it may act as: asked over HTTPS."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.errors import StatusError
from kumo.api.node_components import (
    CSI_USER,
    DNS_USER,
    INGRESS_LABEL,
    INGRESS_USER,
    LOCAL_DRIVER,
    LOCAL_TOPOLOGY,
    NODE_NAME,
    PROXY_USER,
    VIRT_USER,
)
from kumo.api.objects import Object
from kumo.api.resources import ENDPOINTSLICES, GVR, NAMESPACES, NODES, SECRETS, SERVICES, SUBJECTACCESSREVIEWS, core
from kumo.cli.node_rights import ClusterSettings, node_objects, virt_rights
from kumo.cli.node_storage import snapshot_objects, storage_rights
from kumo.cli.rights import rights
from kumo.kubernetes.ingress.publication import INGRESSES
from kumo.kubernetes.ingress.publication import objects as ingress_objects
from kumo.kubevirt.virt_api.install import install
from kumo.machinery import tls
from kumo.machinery.client import Client
from kumo.machinery.transport import HttpTransport
from support.apiserver import RunningApiServer, running_apiserver
from support.rbac_matrix import RESOURCES, VERBS, Resource, read_table, review

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
GOLDEN = Path(__file__).parents[2] / "golden" / "node_rights.txt"
IDENTITIES = {
    "kubelet": "",
    "kube-proxy": PROXY_USER,
    "dns": DNS_USER,
    "csi": CSI_USER,
    "virt-handler": VIRT_USER,
    "ingress": INGRESS_USER,
}
GROUPS = {
    "kubelet": ("system:nodes", "system:authenticated"),
    "virt-handler": ("system:serviceaccounts", "system:serviceaccounts:kubevirt", "system:authenticated"),
}
CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
CAPACITIES = GVR("storage.k8s.io", "v1", "csistoragecapacities")
SNAPSHOTS = GVR("snapshot.storage.k8s.io", "v1", "volumesnapshots")
CONTENTS = GVR("snapshot.storage.k8s.io", "v1", "volumesnapshotcontents", False)
VMIS = GVR("kubevirt.io", "v1", "virtualmachineinstances")
SELECTED = "volume.kubernetes.io/selected-node"
MORE = [
    Resource.parse("virtualmachines.kubevirt.io", "somewhere"),
    Resource.parse("virtualmachineinstances.kubevirt.io", "somewhere"),
    Resource.parse("volumesnapshots.snapshot.storage.k8s.io", "somewhere"),
    Resource.parse("volumesnapshotcontents.snapshot.storage.k8s.io", ""),
    Resource.parse("volumesnapshotcontents/status.snapshot.storage.k8s.io", ""),
    Resource.parse("volumeattachments/status.storage.k8s.io", ""),
]


@dataclass
class World:
    """An API server with two nodes; `own` are clients that hold the certificate of m2."""

    server: RunningApiServer
    own: dict[str, Client]

    @property
    def admin(self) -> Client:
        return self.server.client

    async def refused(self, who: str, verb: str, gvr: GVR, obj: Object, why: str, **options: Any) -> None:
        """Do it as the identity, over HTTPS; it must be refused for that reason."""
        with pytest.raises(StatusError, match=why) as told:
            await self.do(who, verb, gvr, obj, **options)
        assert told.value.code == 403

    async def do(self, who: str, verb: str, gvr: GVR, obj: Object, **options: Any) -> Object:
        client, meta = self.own[who], obj.get("metadata") or {}
        name, namespace = meta.get("name", ""), meta.get("namespace", "")
        if verb == "create":
            return await client.create(gvr, obj, namespace)
        if verb == "patch":
            patch = copy.deepcopy(obj)
            return await client.patch(gvr, name, patch, namespace, **options)
        if verb == "update":
            return await client.update(gvr, obj)
        if verb == "get":
            return await client.get(gvr, name, namespace)
        assert verb == "delete"
        await client.delete(gvr, name, namespace)
        return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    objects = [*rights(), *node_objects(ClusterSettings("10.1.0.0/16", "10.96.0.0/16"))]
    objects += [*storage_rights(), *snapshot_objects(), *ingress_objects()]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running_apiserver(tmp_path_factory.mktemp("nodes"), https=True, default_objects=objects)
        )
        await install(server.client)
        for gvr, obj in virt_rights():
            await server.client.create(gvr, obj)
        for name in ("m2", "m3"):
            await server.client.create(NODES, {"metadata": {"name": name}})
        await server.client.create(NAMESPACES, {"metadata": {"name": "somewhere"}})
        assert server.ca is not None
        ca = tls.ensure_ca(server.pki)
        pair = tls.ensure_client_certificate(ca, server.pki, "m2", "system:node:m2", ["system:nodes"])
        own = {}
        for identity, user in IDENTITIES.items():
            headers = {"Impersonate-User": user} if user else {}
            transport = HttpTransport(server.url, ca=server.ca, cert=pair.cert, key=pair.key, headers=headers)
            stack.push_async_callback(transport.close)
            own[identity] = Client(transport)
        yield World(server, own)


def volume(node: str, uid: str = "u0", **more: Any) -> Object:
    """A volume of the local driver."""
    terms = [{"matchExpressions": [{"key": LOCAL_TOPOLOGY, "operator": "In", "values": [node]}]}]
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete",
        "csi": {"driver": LOCAL_DRIVER, "volumeHandle": f"{node}/{uid}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "default", "name": f"c-{uid}", "uid": uid},
    }
    return {"metadata": {"name": f"pvc-{uid}"}, "spec": spec | more}


def claim(name: str, selected: str = "", **more: Any) -> Object:
    annotations = {"volume.kubernetes.io/storage-provisioner": LOCAL_DRIVER}
    if selected:
        annotations[SELECTED] = selected
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": name, "namespace": "default", "annotations": annotations}
    return {"metadata": meta, "spec": spec | {"storageClassName": "local"} | more}


async def test_the_matrix_of_what_a_stolen_node_may_ask_for(world: World) -> None:
    """Every verb on every kind, without a name (so that what is about single objects is not allowed here)."""
    expected = read_table(GOLDEN)
    wrong: list[str] = []

    async def cell(who: str, resource: Resource, verb: str) -> None:
        user = IDENTITIES[who]
        wanted = review(user or "system:node:m2", GROUPS.get(who, ("system:authenticated",)), verb, resource)
        if user:
            wanted["spec"]["extra"] = {NODE_NAME: ["m2"]}  # as the next test sees that the API server does
        answer = await world.admin.create(SUBJECTACCESSREVIEWS, wanted)
        allowed = bool(answer["status"].get("allowed"))
        if allowed != (verb in expected[who].get(str(resource), ())):
            wrong.append(f"{who} {verb} {resource}: {'allowed' if allowed else 'refused'}")

    # Kinds that no role of a node names are asked about by two verbs: one that reads and one that writes.
    named = {name for rows in expected.values() for name in rows}
    for who in IDENTITIES:
        for resource in (*RESOURCES, *MORE):
            for verb in VERBS if str(resource) in named else ("list", "create"):
                await cell(who, resource, verb)
    assert not wrong


async def test_a_node_is_whom_it_acts_as_on_that_node_alone(world: World) -> None:
    review = GVR("authentication.k8s.io", "v1", "selfsubjectreviews", False)
    for who, user in IDENTITIES.items():
        info = (await world.own[who].create(review, {}))["status"]["userInfo"]
        assert info["username"] == (user or "system:node:m2")
        assert (info.get("extra") or {}).get(NODE_NAME) == (["m2"] if user else None)
    transport = world.own["kubelet"].transport
    forged = (
        {"Impersonate-User": CSI_USER, "Impersonate-Extra-Authentication.kubernetes.io%2Fnode-name": "m3"},
        {"Impersonate-User": CSI_USER, "Impersonate-Group": "system:masters"},
        {"Impersonate-User": "kubernetes-admin"},
        {"Impersonate-User": "system:node:m3", "Impersonate-Group": "system:nodes"},
        {"Impersonate-User": "system:serviceaccount:default:kubevirt-handler"},
        {"Impersonate-User": "system:serviceaccount:kubevirt:kubevirt-controller"},
    )
    for headers in forged:
        reply = await transport.request("GET", "/api/v1/nodes/m2", headers=headers)
        assert reply.status == 403, headers


async def test_volumes(world: World) -> None:
    for made in (claim("c-w2", "m2"), claim("c-w3", "m3"), claim("c-new")):
        await world.admin.create(CLAIMS, made)
    uids = {n: (await world.admin.get(CLAIMS, n, "default"))["metadata"]["uid"] for n in ("c-w2", "c-w3", "c-new")}

    def wanted(name: str, node: str = "m2", **more: Any) -> Object:
        ref = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": uids[name]}
        return volume(node, uids[name], **{"claimRef": ref, **more})

    create = ("csi", "create", VOLUMES)
    await world.refused(*create, wanted("c-w2", "m3"), "on that node")
    await world.refused(*create, wanted("c-w2", csi={"driver": "other", "volumeHandle": "x"}), "on that node")
    await world.refused(*create, wanted("c-w2", nodeAffinity=None), "on that node")
    hosts = wanted("c-w2", hostPath={"path": "/"})
    del hosts["spec"]["csi"]
    await world.refused(*create, hosts, "on that node")
    await world.refused(*create, wanted("c-w3"), "wait for one there")
    await world.refused(*create, wanted("c-new"), "wait for one there")
    await world.refused(*create, wanted("c-w2", claimRef=None), "named after")
    await world.refused(*create, wanted("c-w2") | {"metadata": {"name": "mine"}}, "named after")
    own = await world.do(*create, wanted("c-w2"))
    name = own["metadata"]["name"]
    foreign = (await world.admin.create(VOLUMES, volume("m3")))["metadata"]["name"]

    def change(of: str, **fields: Any) -> Object:
        return {"metadata": {"name": of, **fields.pop("metadata", {})}, **fields}

    grown = {"capacity": {"storage": "2Gi"}}
    await world.do("csi", "patch", VOLUMES, change(name, spec=grown, metadata={"annotations": {"a": "b"}}))
    await world.refused("csi", "patch", VOLUMES, change(foreign, spec=grown), "volumes of that node")
    await world.refused("csi", "delete", VOLUMES, change(foreign), "volumes of that node")
    retain = {"persistentVolumeReclaimPolicy": "Retain"}
    await world.refused("csi", "patch", VOLUMES, change(name, spec=retain), "can not change spec")
    await world.refused("csi", "patch", VOLUMES, change(name, spec={"claimRef": {"name": "x"}}), "can not change spec")
    labelled = change(name, metadata={"labels": {"a": "b"}})
    await world.refused("csi", "patch", VOLUMES, labelled, "can not change labels")
    await world.do("csi", "delete", VOLUMES, change(name))


async def test_claims(world: World) -> None:
    await world.admin.create(VOLUMES, volume("m2", "own"))
    await world.admin.create(VOLUMES, volume("m3", "far"))
    for made in (
        claim("free"),
        claim("taken", "m3"),
        claim("mine", "m2"),
        claim("c-own", volumeName="pvc-own"),
        claim("c-far", volumeName="pvc-far"),
        {**claim("other"), "metadata": {"name": "other", "namespace": "default"}},
    ):
        await world.admin.create(CLAIMS, made)

    def change(name: str, **fields: Any) -> Object:
        return {"metadata": {"name": name, "namespace": "default", **fields.pop("metadata", {})}, **fields}

    def select(name: str, node: str | None) -> Object:
        return change(name, metadata={"annotations": {SELECTED: node}})

    patch = ("csi", "patch", CLAIMS)
    for name, node, why in (
        ("free", "m3", "offer that node"),
        ("taken", "m2", "offer that node"),
        ("taken", None, "offer that node"),
        ("other", "m2", "wait for a volume"),
        ("c-own", "m2", "wait for a volume"),
    ):
        await world.refused(*patch, select(name, node), why)
    await world.do(*patch, select("free", "m2"))
    await world.do(*patch, select("mine", None))
    holding = {"finalizers": ["kubernetes.io/pvc-protection", "provisioner.storage.kubernetes.io/cloning-protection"]}
    await world.refused(*patch, change("c-far", metadata=holding), "volumes are on that node")
    await world.do(*patch, change("c-own", metadata=holding))
    await world.refused(*patch, change("c-own", metadata={"finalizers": None}), "can not change finalizers")
    await world.refused(*patch, change("c-own", metadata={"labels": {"a": "b"}}), "can not change labels")
    await world.admin.patch(CLAIMS, "c-own", {"status": {"phase": "Bound"}}, "default", subresource="status")
    more = {"resources": {"requests": {"storage": "9Gi"}}}
    await world.refused(*patch, change("c-own", spec=more), "can not change spec")
    status = {"capacity": {"storage": "2Gi"}}
    await world.refused(*patch, change("c-far", status=status), "volumes are on that node", subresource="status")
    lost = {"phase": "Lost"}
    await world.refused(*patch, change("c-own", status=lost), "can not change status", subresource="status")
    await world.do(*patch, change("c-own", status=status), subresource="status")


async def test_attachments_room_and_snapshots(world: World) -> None:
    def attachment(node: str, attacher: str = LOCAL_DRIVER) -> Object:
        spec = {"attacher": attacher, "nodeName": node, "source": {"persistentVolumeName": "x"}}
        return {"metadata": {"name": f"{node}-{attacher[:1]}"}, "spec": spec}

    for made in (attachment("m2"), attachment("m3"), attachment("m2", "other.driver")):
        await world.admin.create(ATTACHMENTS, made)
    done: Object = {"metadata": {"name": "m3-l"}, "status": {"attached": True}}
    patch = ("csi", "patch", ATTACHMENTS)
    await world.refused(*patch, done, "attachments of its volumes", subresource="status")
    await world.refused(*patch, done | {"metadata": {"name": "m2-o"}}, "attachments of its", subresource="status")
    await world.refused(*patch, {"metadata": {"name": "m3-l", "finalizers": []}}, "attachments of its volumes")
    await world.do(*patch, done | {"metadata": {"name": "m2-l"}}, subresource="status")

    def room(node: str, capacity: str = "1Gi") -> Object:
        meta = {"name": f"room-{node}", "namespace": "kube-system"}
        place = {"matchLabels": {LOCAL_TOPOLOGY: node}}
        return {"metadata": meta, "nodeTopology": place, "storageClassName": "local", "capacity": capacity}

    await world.refused("csi", "create", CAPACITIES, room("m3"), "what room there is on that node")
    await world.do("csi", "create", CAPACITIES, room("m2"))
    await world.admin.create(CAPACITIES, room("m3"), "kube-system")
    await world.refused("csi", "patch", CAPACITIES, room("m3", "9Ti"), "what room there is on that node")
    await world.refused("csi", "delete", CAPACITIES, room("m3"), "what room there is on that node")
    await world.do("csi", "patch", CAPACITIES, room("m2", "2Gi"))
    await world.do("csi", "delete", CAPACITIES, room("m2"))

    managed = "snapshot.storage.kubernetes.io/managed-by"

    def content(name: str, node: str = "") -> Object:
        labels = {"labels": {managed: node}} if node else {}
        ref = {"name": name, "namespace": "default", "uid": "1"}
        source = {"snapshotHandle": "h"}
        spec = {"deletionPolicy": "Delete", "driver": LOCAL_DRIVER, "source": source, "volumeSnapshotRef": ref}
        return {
            "apiVersion": CONTENTS.api_version,
            "kind": "VolumeSnapshotContent",
            "metadata": {"name": name, **labels},
            "spec": spec,
        }

    for node in ("m2", "m3", ""):
        await world.admin.create(CONTENTS, content(f"content{node}", node))
    patch = ("csi", "patch", CONTENTS)
    ready: Object = {"metadata": {"name": "contentm3"}, "status": {"readyToUse": True}}
    await world.refused(*patch, ready, "snapshots on that node", subresource="status")
    await world.do(*patch, ready | {"metadata": {"name": "contentm2"}}, subresource="status")
    away = {"metadata": {"name": "contentm2", "labels": {managed: "m3"}}}
    await world.refused(*patch, away, "snapshots on that node")
    await world.refused(*patch, {"metadata": {"name": "content", "labels": {managed: "m3"}}}, "snapshots on that node")
    both = {"metadata": {"name": "content", "labels": {managed: "m2"}, "finalizers": ["a/b"]}}
    await world.refused(*patch, both, "can not change finalizers")
    await world.do(*patch, {"metadata": {"name": "content", "labels": {managed: "m2"}}})
    keep = {"metadata": {"name": "contentm2"}, "spec": {"deletionPolicy": "Retain"}}
    await world.refused(*patch, keep, "can not change spec")
    for node in ("m2", "m3"):
        snapshot: Object = {
            "apiVersion": SNAPSHOTS.api_version,
            "kind": "VolumeSnapshot",
            "metadata": {"name": f"s{node}", "namespace": "default"},
            "spec": {"source": {"volumeSnapshotContentName": f"content{node}"}},
        }
        await world.admin.create(SNAPSHOTS, snapshot)
        status = {"status": {"boundVolumeSnapshotContentName": f"content{node}"}}
        await world.admin.patch(SNAPSHOTS, f"s{node}", status, "default", subresource="status")
    held: Object = {
        "namespace": "default",
        "finalizers": ["provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"],
    }
    await world.refused("csi", "patch", SNAPSHOTS, {"metadata": {"name": "sm3", **held}}, "that are on that node")
    await world.do("csi", "patch", SNAPSHOTS, {"metadata": {"name": "sm2", **held}})
    odd = {"metadata": {"name": "sm2", "namespace": "default", "finalizers": ["a/b"]}}
    await world.refused("csi", "patch", SNAPSHOTS, odd, "can not change finalizers")


async def test_virtual_machines_and_their_secrets(world: World) -> None:
    for name in ("used", "unused", "far"):
        await world.admin.create(SECRETS, {"metadata": {"name": name}}, "somewhere")
    for node, secret in (("m2", "used"), ("m3", "far")):
        volumes = [{"name": "c", "cloudInitNoCloud": {"secretRef": {"name": secret}}}]
        disks = {"disks": [{"name": "c", "disk": {"bus": "virtio"}}]}
        made: Object = {
            "apiVersion": VMIS.api_version,
            "kind": "VirtualMachineInstance",
            "metadata": {"name": f"on-{node}", "namespace": "somewhere"},
            "spec": {"domain": {"devices": disks, "resources": {"requests": {"memory": "64Mi"}}}, "volumes": volumes},
            "status": {"nodeName": node, "phase": "Running"},
        }
        await world.admin.create(VMIS, made, "somewhere")

    def named(name: str) -> Object:
        return {"metadata": {"name": name, "namespace": "somewhere"}}

    await world.do("virt-handler", "get", SECRETS, named("used"))
    for name in ("unused", "far", "absent"):
        await world.refused("virt-handler", "get", SECRETS, named(name), "no relationship found")
    with pytest.raises(StatusError, match="is forbidden"):
        await world.own["virt-handler"].list(SECRETS, "somewhere")
    for who in ("csi", "dns", "kube-proxy", "kubelet"):
        await world.refused(who, "get", SECRETS, named("used"), "is forbidden")

    own, far = [await world.admin.get(VMIS, f"on-{node}", "somewhere") for node in ("m2", "m3")]
    update = ("virt-handler", "update", VMIS)
    await world.refused(*update, {**far, "status": {**far["status"], "phase": "Failed"}}, "that are on it")
    moved = {**own, "status": {**own["status"], "nodeName": "m3"}}
    await world.refused(*update, moved, "where a virtual machine instance is")
    spec = copy.deepcopy(own["spec"])
    spec["volumes"][0]["cloudInitNoCloud"]["secretRef"]["name"] = "unused"
    await world.refused(*update, {**own, "spec": spec}, "can not change spec")
    relabelled = {**own, "metadata": {**own["metadata"], "labels": {"a": "b"}}}
    await world.refused(*update, relabelled, "can not change labels")
    await world.do(*update, {**own, "status": {**own["status"], "phase": "Failed"}})

    await world.refused(
        "virt-handler", "patch", NODES, {"metadata": {"name": "m3", "labels": {"a": "b"}}}, "its own Node"
    )
    tainted = {"metadata": {"name": "m2"}, "spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}}
    await world.refused("virt-handler", "patch", NODES, tainted, "not allowed to modify taints")
    await world.do(
        "virt-handler", "patch", NODES, {"metadata": {"name": "m2", "labels": {"kubevirt.io/schedulable": "true"}}}
    )


async def test_the_dns_server_of_a_node(world: World) -> None:
    def service(**spec: Any) -> Object:
        ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
        plain = {"type": "ClusterIP", "internalTrafficPolicy": "Local", "ports": ports}
        return {"metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": plain | spec}

    create = ("dns", "create", SERVICES)
    await world.refused(*create, service(internalTrafficPolicy="Cluster"), "their own node's server")
    await world.refused(*create, service(selector={"a": "b"}), "their own node's server")
    await world.refused(*create, service(externalIPs=["192.0.2.1"]), "their own node's server")
    other = service()
    other["metadata"]["name"] = "metrics"
    await world.refused(*create, other, "their own node's server")
    await world.do(*create, service())
    patch = {"metadata": service()["metadata"], "spec": {"internalTrafficPolicy": "Cluster"}}
    await world.refused("dns", "patch", SERVICES, patch, "not change it")

    def endpoints(node: str, at: str = "", of: str = "kube-dns") -> Object:
        labels = {"kubernetes.io/service-name": of}
        meta = {"name": f"kube-dns-{node}", "namespace": "kube-system", "labels": labels}
        where = [{"addresses": ["10.1.2.1"], "nodeName": at or node}]
        return {"metadata": meta, "addressType": "IPv4", "ports": [], "endpoints": where}

    create = ("dns", "create", ENDPOINTSLICES)
    for wrong in (endpoints("m3"), endpoints("m2", "m3"), endpoints("m2", of="kube-apiserver")):
        await world.refused(*create, wrong, "its own server")
    made = await world.do(*create, endpoints("m2"))
    await world.admin.create(ENDPOINTSLICES, endpoints("m3"), "kube-system")
    await world.refused("dns", "update", ENDPOINTSLICES, endpoints("m3"), "its own server")
    made["endpoints"][0]["nodeName"] = "m3"
    await world.refused("dns", "update", ENDPOINTSLICES, made, "its own server")


async def test_a_node_that_serves_ingresses(world: World) -> None:
    """It reads the certificates that Ingresses of the cloud's class name, once the administrator has labelled it."""
    for name in ("shown", "private", "elsewhere"):
        secret = {"metadata": {"name": name, "namespace": "somewhere"}, "type": "Opaque"}
        await world.admin.create(SECRETS, secret, "somewhere")
    rules = [{"host": "a.example.com"}]
    for name, of in (("shown", "kumo"), ("elsewhere", "nginx")):
        spec = {"ingressClassName": of, "rules": rules, "tls": [{"secretName": name}]}
        await world.admin.create(INGRESSES, {"metadata": {"name": name}, "spec": spec}, "somewhere")
    mine = world.own["ingress"]
    where = {"namespace": "somewhere", "field_selector": "metadata.name=shown"}
    with pytest.raises(StatusError, match="it has no label"):
        await mine.list(SECRETS, **where)
    with pytest.raises(StatusError, match="it has no label"):
        await mine.list(INGRESSES)
    label = {"metadata": {"labels": {INGRESS_LABEL: "true"}}}
    with pytest.raises(StatusError) as told:  # nobody can give it to himself
        await world.own["kubelet"].patch(NODES, "m2", label)
    assert told.value.code == 403
    await world.admin.patch(NODES, "m2", label)
    assert [s["metadata"]["name"] for s in (await mine.list(SECRETS, **where)).items] == ["shown"]
    assert len((await mine.list(INGRESSES)).items) == 2
    for name in ("private", "elsewhere"):
        with pytest.raises(StatusError, match="no relationship found"):
            await mine.get(SECRETS, name, "somewhere")
    for everything in ({}, {"namespace": "somewhere"}, {"field_selector": "type=kubernetes.io/tls"}):
        with pytest.raises(StatusError, match="only read individual secrets"):
            await mine.list(SECRETS, **everything)
    status = {"metadata": {"name": "shown", "namespace": "somewhere"}, "status": {"loadBalancer": {}}}
    await world.refused("ingress", "patch", INGRESSES, status, "only serve Ingresses", subresource="status")
    balancer = {"metadata": {"name": "kumo-ingress", "namespace": "kube-system"}, "spec": {"ports": [{"port": 80}]}}
    await world.refused("ingress", "create", SERVICES, balancer, "only serve Ingresses")

    def endpoints(name: str, node: str = "m2", of: str = "kumo-ingress") -> Object:
        meta = {"name": name, "namespace": "kube-system", "labels": {"kubernetes.io/service-name": of}}
        where = [{"addresses": ["10.1.2.1"], "nodeName": node}]
        return {"metadata": meta, "addressType": "IPv4", "ports": [], "endpoints": where}

    for wrong in (
        endpoints("kumo-ingress-m3"),
        endpoints("kumo-ingress-m2", "m3"),
        endpoints("kumo-ingress-m2", of="x"),
    ):
        await world.refused("ingress", "create", ENDPOINTSLICES, wrong, "its own server")
    for name in ("kumo-ingress-m2", "kumo-ingress-m2-6"):
        await world.do("ingress", "create", ENDPOINTSLICES, endpoints(name))
    await world.admin.create(ENDPOINTSLICES, endpoints("kumo-ingress-m3", "m3"), "kube-system")
    await world.refused("ingress", "delete", ENDPOINTSLICES, endpoints("kumo-ingress-m3"), "its own server")
    await world.admin.patch(NODES, "m2", {"metadata": {"labels": {INGRESS_LABEL: None}}})
    await world.refused("ingress", "update", ENDPOINTSLICES, endpoints("kumo-ingress-m2"), "it has no label")
    await world.do("ingress", "delete", ENDPOINTSLICES, endpoints("kumo-ingress-m2"))


@pytest.mark.parametrize("name", ["system:node:", "system:nodes", "somebody"])
async def test_members_of_the_nodes_group_that_are_no_node_act_for_nobody(world: World, name: str) -> None:
    """A bootstrap token gets a certificate for any name that begins like a node's, also for one that ends there."""
    ca = tls.ensure_ca(world.server.pki)
    pair = tls.ensure_client_certificate(ca, world.server.pki, f"odd-{name[-5:-1]}", name, ["system:nodes"])
    secret = {"metadata": {"name": "cert", "namespace": "somewhere"}}
    for user in (VIRT_USER, INGRESS_USER, CSI_USER):
        headers = {"Impersonate-User": user}
        transport = HttpTransport(
            world.server.url, ca=world.server.ca or "", cert=pair.cert, key=pair.key, headers=headers
        )
        with pytest.raises(StatusError, match="is no node") as told:
            await Client(transport).get(SECRETS, secret["metadata"]["name"], "somewhere")
        assert told.value.code == 403
        await transport.close()
