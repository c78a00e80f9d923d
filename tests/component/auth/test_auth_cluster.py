"""Authentication, RBAC and admission as clients of a real API server meet them, some with kubectl."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object, uid_of
from kumo.api.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    NAMESPACES,
    NODES,
    PODS,
    ROLEBINDINGS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
)
from kumo.machinery.client import Client
from kumo.machinery.transport import HttpTransport
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component

RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path, https=True) as running:
        yield running


async def kubectl(server: RunningApiServer, *arguments: str, data: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        "--kubeconfig",
        server.kubeconfig,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": str(server.pki)},
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate(data)
    assert process.returncode is not None
    return process.returncode, out.decode().strip()


def bearer(server: RunningApiServer, token: str) -> Client:
    assert server.ca is not None
    return Client(HttpTransport(server.url, ca=server.ca, token=token))


async def refusal(awaitable) -> StatusError:
    with pytest.raises(StatusError) as found:
        await awaitable
    return found.value


def simple_pod(name: str, **spec: object) -> Object:
    containers = [{"name": "main", "image": "busybox"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": containers, **spec},
    }


async def test_anonymous_sees_health_and_version_and_nothing_else(server: RunningApiServer) -> None:
    client = bearer(server, "")
    assert (await client.request("GET", "/version"))["major"] == "1"
    assert (await client.transport.request("GET", "/healthz")).body == b"ok"
    error = await refusal(client.list(PODS, "default"))
    assert (error.code, error.message) == (
        403,
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
        'in the namespace "default"',
    )
    error = await refusal(client.request("GET", "/apis"))
    assert error.message == 'forbidden: User "system:anonymous" cannot get path "/apis"'
    await client.transport.close()


async def test_a_token_that_proves_nothing_is_401(server: RunningApiServer) -> None:
    client = bearer(server, "nonsense")
    error = await refusal(client.request("GET", "/version"))
    assert (error.code, error.reason, error.message) == (401, "Unauthorized", "Unauthorized")
    await client.transport.close()


async def test_service_account_token_from_kubectl_works_and_dies_with_its_account(server: RunningApiServer) -> None:
    code, out = await kubectl(server, "create", "serviceaccount", "robot")
    assert (code, out) == (0, "serviceaccount/robot created")
    code, token = await kubectl(server, "create", "token", "robot", "--duration=20m")
    assert code == 0, token
    client = bearer(server, token)
    me = await client.request(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body={"kind": "SelfSubjectReview"}
    )
    info = me["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:robot"
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert (await refusal(client.list(SECRETS, "default"))).code == 403
    binding = {
        "metadata": {"name": "robot", "namespace": "default"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    }
    await server.client.create(ROLEBINDINGS, {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", **binding})
    assert (await client.list(PODS, "default")).items == []
    assert (await refusal(client.list(SECRETS, "default"))).code == 403
    assert (await refusal(client.list(PODS, "kube-system"))).code == 403
    await server.client.delete(SERVICEACCOUNTS, "robot", "default")
    assert (await refusal(client.list(PODS, "default"))).code == 401
    await client.transport.close()


async def test_token_requests_that_are_refused(server: RunningApiServer) -> None:
    code, out = await kubectl(server, "create", "token", "default", "--duration=10s")
    assert code == 1
    assert "may not specify a duration less than 10 minutes" in out
    path = SERVICEACCOUNTS.path("default", "default", "token")
    spec = {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nix"}}
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    error = await refusal(server.client.request("POST", path, body=body))
    assert (error.code, error.message) == (404, 'pods "nix" not found')


async def test_a_node_gets_tokens_for_its_own_pods_only(server: RunningApiServer) -> None:
    mine = await server.client.create(PODS, simple_pod("mine", nodeName="n1"))
    other = await server.client.create(PODS, simple_pod("other", nodeName="n2"))
    uids = {"mine": uid_of(mine), "other": uid_of(other)}
    node = server.as_user("system:node:n1", "system:nodes")
    path = SERVICEACCOUNTS.path("default", "default", "token")

    def asking(name: str) -> Object:
        reference = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uids[name]}
        spec = {"boundObjectRef": reference, "expirationSeconds": 3607}
        return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}

    made = await node.request("POST", path, body=asking("mine"))
    review = {
        "kind": "TokenReview",
        "apiVersion": "authentication.k8s.io/v1",
        "spec": {"token": made["status"]["token"]},
    }
    found = await server.client.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review)
    assert found["status"]["authenticated"] is True
    assert found["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["mine"]
    assert (await refusal(node.request("POST", path, body=asking("other")))).code == 403
    await server.client.delete(PODS, "mine", "default", grace_period=0)
    found = await server.client.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review)
    assert "authenticated" not in found["status"]


async def test_a_node_writes_only_its_own_things(server: RunningApiServer) -> None:
    node = server.as_user("system:node:n1", "system:nodes")
    await node.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    error = await refusal(node.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}))
    assert (error.code, error.message) == (
        403,
        'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"',
    )
    made = await server.client.create(PODS, simple_pod("other", nodeName="n2"))
    made["status"] = {"phase": "Failed"}
    assert (await refusal(node.update_status(PODS, made))).code == 403
    assert (await refusal(node.delete(PODS, "other", "default"))).code == 403


async def test_kubectl_can_i_and_impersonation(server: RunningApiServer) -> None:
    assert await kubectl(server, "auth", "can-i", "create", "deployments") == (0, "yes")
    assert await kubectl(server, "auth", "can-i", "list", "secrets", "--as=jane") == (1, "no")
    code, out = await kubectl(server, "get", "pods", "--as=jane", "--as-group=dev")
    assert code == 1
    assert 'User "jane" cannot list resource "pods"' in out
    code, out = await kubectl(server, "auth", "whoami", "--as=jane", "--as-group=dev")
    assert code == 0
    assert "jane" in out
    assert "dev" in out
    code, out = await kubectl(server, "auth", "can-i", "--list", "--as=jane")
    assert code == 0
    assert "selfsubjectaccessreviews.authorization.k8s.io" in out
    jane = server.as_user("jane")
    reply = await jane.transport.request("GET", "/api/v1/pods", headers={"Impersonate-User": "root"})
    assert reply.status == 403
    assert b"cannot impersonate-on:user-info:list resource" in reply.body


async def test_nobody_grants_more_than_he_holds(server: RunningApiServer) -> None:
    rules = [{"apiGroups": [RBAC], "resources": ["*"], "verbs": ["create", "update", "get", "list"]}]
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": "rbac-writer"}, "rules": rules}
    await server.client.create(CLUSTERROLES, role)
    await server.client.create(
        CLUSTERROLEBINDINGS,
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "rbac-writer"},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "rbac-writer"},
            "subjects": [{"kind": "User", "name": "eve", "apiGroup": RBAC}],
        },
    )
    eve = server.as_user("eve", "hackers")
    greedy = {**role, "metadata": {"name": "greedy"}}
    greedy["rules"] = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]
    error = await refusal(eve.create(CLUSTERROLES, greedy))
    assert error.code == 403
    assert error.message == (
        'clusterroles.rbac.authorization.k8s.io "greedy" is forbidden: user "eve" '
        '(groups=["hackers" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "mine"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "eve", "apiGroup": RBAC}],
    }
    assert (await refusal(eve.create(CLUSTERROLEBINDINGS, binding))).code == 403
    binding["roleRef"] = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "rbac-writer"}
    await eve.create(CLUSTERROLEBINDINGS, binding)


async def test_pods_are_completed(server: RunningApiServer) -> None:
    made = await server.client.create(PODS, simple_pod("p"))
    spec = made["spec"]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert mount == {
        "name": volume["name"],
        "readOnly": True,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }
    assert spec["serviceAccountName"] == "default"
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert [t["tolerationSeconds"] for t in spec["tolerations"]] == [300, 300]
    made = await server.client.create(PODS, simple_pod("q", priorityClassName="system-node-critical"))
    assert made["spec"]["priority"] == 2000001000
    error = await refusal(server.client.create(PODS, simple_pod("r", priorityClassName="nix")))
    assert error.message == 'pods "r" is forbidden: no PriorityClass with name nix was found'
    error = await refusal(server.client.create(PODS, simple_pod("s", serviceAccountName="nix")))
    assert error.message == (
        'pods "s" is forbidden: error looking up service account default/nix: serviceaccount "nix" not found'
    )


async def test_namespaces_that_are_missing_ending_or_immortal(server: RunningApiServer) -> None:
    pod = simple_pod("p")
    pod["metadata"]["namespace"] = "nowhere"
    error = await refusal(server.client.create(PODS, pod))
    assert (error.code, error.message) == (404, 'namespaces "nowhere" not found')
    error = await refusal(server.client.delete(NAMESPACES, "default"))
    assert (error.code, error.message) == (403, 'namespaces "default" is forbidden: this namespace may not be deleted')
    await server.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ending"}})
    await server.client.delete(NAMESPACES, "ending")
    pod["metadata"]["namespace"] = "ending"
    error = await refusal(server.client.create(PODS, pod))
    assert error.message == (
        'pods "p" is forbidden: unable to create new content in namespace ending because it is being terminated'
    )
    assert error.details is not None
    assert error.details["causes"][0]["reason"] == "NamespaceTerminating"


def service(name: str, **spec: object) -> Object:
    spec.setdefault("ports", [{"port": 80}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, **spec},
    }


async def test_services_get_addresses_and_ports(server: RunningApiServer) -> None:
    own = await server.client.get(SERVICES, "kubernetes", "default")
    assert own["spec"]["clusterIP"] == "10.96.0.1"
    made = await asyncio.gather(*(server.client.create(SERVICES, service(f"s{i}")) for i in range(50)))
    addresses = {m["spec"]["clusterIP"] for m in made}
    assert len(addresses) == 50
    assert all(a.startswith("10.96.") for a in addresses)
    assert made[0]["spec"]["clusterIPs"] == [made[0]["spec"]["clusterIP"]]
    assert (made[0]["spec"]["ipFamilies"], made[0]["spec"]["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    by_hand = await server.client.create(SERVICES, service("by-hand", clusterIP="None", selector=None))
    assert (by_hand["spec"]["ipFamilies"], by_hand["spec"]["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")
    taken = made[0]["spec"]["clusterIP"]
    error = await refusal(server.client.create(SERVICES, service("again", clusterIP=taken)))
    assert (error.code, error.message) == (
        422,
        f'Service "again" is invalid: spec.clusterIPs: Invalid value: ["{taken}"]: '
        f"failed to allocate IP {taken}: provided IP is already allocated",
    )
    error = await refusal(server.client.create(SERVICES, service("far", clusterIP="1.2.3.4")))
    assert "failed to allocate IP 1.2.3.4: the provided network does not match the current range" in error.message
    await server.client.delete(SERVICES, "s0", "default")
    back = await server.client.create(SERVICES, service("again", clusterIP=taken))
    assert back["spec"]["clusterIP"] == taken
    headless = await server.client.create(SERVICES, service("headless", clusterIP="None"))
    assert headless["spec"]["clusterIPs"] == ["None"]
    public = await server.client.create(SERVICES, service("public", type="NodePort"))
    port = public["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767
    error = await refusal(
        server.client.create(SERVICES, service("p2", type="NodePort", ports=[{"port": 80, "nodePort": port}]))
    )
    assert error.message == (
        f'Service "p2" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated'
    )


async def test_services_keep_what_they_were_given(server: RunningApiServer) -> None:
    made = await server.client.create(SERVICES, service("s", type="NodePort"))
    address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
    again = service("s", type="NodePort")
    again["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    updated = await server.client.update(SERVICES, again)
    assert updated["spec"]["clusterIP"] == address
    assert updated["spec"]["ports"][0]["nodePort"] == port
    updated["spec"]["type"] = "ClusterIP"
    inner = await server.client.update(SERVICES, updated)
    assert "nodePort" not in inner["spec"]["ports"][0]
    assert inner["spec"]["clusterIP"] == address


async def test_bootstrap_is_idempotent_and_restores(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        before = (await server.client.list(CLUSTERROLES)).items
        await server.client.delete(CLUSTERROLES, "view")
        await server.client.patch(
            CLUSTERROLES,
            "edit",
            {
                "metadata": {"annotations": {f"{RBAC.replace('.k8s.io', '.kubernetes.io')}/autoupdate": "false"}},
                "aggregationRule": None,
                "rules": [],
            },
        )
    async with running_apiserver(tmp_path) as server:
        after = {o["metadata"]["name"]: o for o in (await server.client.list(CLUSTERROLES)).items}
        assert after.keys() == {o["metadata"]["name"] for o in before}
        assert after["view"]["rules"]
        assert not after["edit"].get("rules")
        untouched = next(o for o in before if o["metadata"]["name"] == "system:discovery")
        assert after["system:discovery"]["metadata"]["resourceVersion"] == untouched["metadata"]["resourceVersion"]
