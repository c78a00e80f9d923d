"""The subresources through the real API server; a handler of the test plays virt-handler.

Every refusal of golden/virtctl-real-errors.txt that comes from virt-api is here, in the state in which it was recorded.
"""

import asyncio
import json
from pathlib import Path

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CLUSTERROLEBINDINGS, NODES, VMIS
from kumo.machinery.http import Response, Upgrade
from support.kubevirt_cluster import NAMESPACE, kubevirt_cluster

pytestmark = pytest.mark.component

GOLDEN = (Path(__file__).parents[2] / "golden" / "kubevirt" / "virtctl-real-errors.txt").read_text()
BASE = f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}"
MACHINES, INSTANCES = "virtualmachines", "virtualmachineinstances"


class Handler:
    """Plays virt-handler: remembers what it is asked, echoes streams."""

    def __init__(self):
        self.asked = []
        self.answer = Response(200)
        self.open = 0

    async def __call__(self, request):
        action = request.path.rsplit("/", 1)[1]
        self.asked.append((request.method, action, request.query_string))
        if not request.wants_websocket:
            return self.answer
        if isinstance(self.answer, Response) and self.answer.status >= 400:
            return self.answer
        return Upgrade("plain.kubevirt.io", self.echo)

    async def echo(self, socket):
        self.open += 1
        try:
            while (message := await socket.receive()) is not None:
                await socket.send(message)
                if message == b"bye":
                    return
        finally:
            self.open -= 1


@pytest.fixture
def handler():
    return Handler()


@pytest.fixture
async def cluster(tmp_path, handler):
    async with kubevirt_cluster(tmp_path, handler=handler) as running:
        yield running


async def call(cluster, method, kind, name, action, body=None, client=None):
    path = f"{BASE}/{kind}/{name}/{action}"
    return await (client or cluster.client).request(method, path, body=body)


async def refusal(cluster, method, kind, name, action, body=None):
    with pytest.raises(StatusError) as caught:
        await call(cluster, method, kind, name, action, body)
    return caught.value


async def scheduled(cluster):
    """The state of the golden file: the instance is Scheduled, its node has no virt-handler."""
    await cluster.client.patch(NODES, "node01", {"metadata": {"annotations": None}})
    await cluster.create_vm("vm-cirros", runStrategy="Always")
    await cluster.run_pod("vm-cirros")
    await cluster.until_vmi("vm-cirros", "Scheduled")


VM = 'Operation cannot be fulfilled on virtualmachine.kubevirt.io "vm-cirros": '
VMI = 'Operation cannot be fulfilled on virtualmachineinstance.kubevirt.io "vm-cirros": '
REFUSALS = [
    ("PUT", INSTANCES, "vm-cirros", "pause", {}, 409, VMI + "VM is not running"),
    ("PUT", INSTANCES, "vm-cirros", "unpause", {}, 409, VMI + "VMI is not running"),
    ("GET", INSTANCES, "vm-cirros", "guestosinfo", None, 500, VMI + "VMI is not running"),
    ("PUT", INSTANCES, "vm-cirros", "reset", None, 400,
     "Failed to reset non-running VMI with phase Scheduled: No virt-handler on node node01 found"),
    ("PUT", INSTANCES, "vm-cirros", "softreboot", None, 409, VMI + "VM is not running"),
    ("GET", INSTANCES, "nope", "console", None, 404, 'virtualmachineinstance.kubevirt.io "nope" not found'),
    ("PUT", MACHINES, "nope", "start", {}, 404, 'virtualmachine.kubevirt.io "nope" not found'),
    ("PUT", MACHINES, "vm-cirros", "start", {}, 409, VM + "VM is already running"),
    ("PUT", MACHINES, "vm-cirros", "migrate", {}, 409, VM + "VM is not running"),
    ("GET", MACHINES, "vm-cirros", "objectgraph", None, 400,
     "ObjectGraph feature gate not enabled: Unable to return object graph."),
    ("GET", INSTANCES, "vm-cirros", "vnc", None, 400, "VMI is not running"),
    ("PUT", MACHINES, "vm-cirros", "removememorydump", None, 409,
     VM + "can't remove memory dump association for vm vm-cirros, no association found"),
    ("PUT", MACHINES, "vm-cirros", "removevolume", {"name": "containerdisk"}, 409,
     VM + "Unable to remove volume [containerdisk] because it is not hotpluggable"),
    ("GET", INSTANCES, "vm-cirros", "usbredir", None, 409, VMI + "Not configured with USB Redirection"),
]  # fmt: skip


async def test_refusals_are_upstreams(cluster):
    await scheduled(cluster)
    for method, kind, name, action, body, code, message in REFUSALS:
        error = await refusal(cluster, method, kind, name, action, body)
        assert (error.code, error.message) == (code, message)
        recorded = message.replace('"', '\\"') in GOLDEN or message in GOLDEN
        assert recorded, f"not in the golden file: {message}"


async def test_port_forward_without_an_address(cluster):
    await scheduled(cluster)
    with pytest.raises(StatusError) as caught:
        async with cluster.client.transport.websocket(f"{BASE}/{INSTANCES}/vm-cirros/portforward/22/tcp"):
            pass
    assert caught.value.message == "Internal error occurred: dialing VM: dial tcp :22: connect: connection refused"
    assert caught.value.message in GOLDEN and caught.value.code == 500


async def test_restart_and_forced_stop(cluster):
    """`VM vm-cirros was scheduled to restart`, `... to stop`: 202, an empty body."""
    await scheduled(cluster)
    transport = cluster.client.transport
    reply = await transport.request("PUT", f"{BASE}/{MACHINES}/vm-cirros/restart", body=b"{}")
    assert (reply.status, reply.body) == (202, b"")
    reply = await transport.request("PUT", f"{BASE}/{MACHINES}/vm-cirros/stop", body=b'{"gracePeriod":0}')
    assert (reply.status, reply.body) == (202, b"")


async def test_stop_of_a_stopped_vm(cluster):
    await cluster.create_vm("vm-cirros", runStrategy="Manual")
    error = await refusal(cluster, "PUT", MACHINES, "vm-cirros", "stop", {})
    assert (error.code, error.message) == (409, VM + "VM is not running")
    assert error.details == {"name": "vm-cirros", "group": "kubevirt.io", "kind": "virtualmachine"}


async def test_strategies_refuse_what_makes_no_sense(cluster):
    await cluster.create_vm("vm-cirros", runStrategy="Halted")
    error = await refusal(cluster, "PUT", MACHINES, "vm-cirros", "restart", {})
    assert error.message == VM + "RunStategy Halted does not support manual restart requests"
    error = await refusal(cluster, "PUT", MACHINES, "vm-cirros", "restart", {"gracePeriodSeconds": 5})
    assert (error.code, error.message) == (400, "For force restart, only gracePeriod=0 is supported for now")


async def test_dry_run_changes_nothing(cluster):
    await cluster.create_vm("vm-cirros", runStrategy="Halted")
    await call(cluster, "PUT", MACHINES, "vm-cirros", "start", {"dryRun": ["All"]})
    assert (await cluster.vm("vm-cirros"))["spec"]["runStrategy"] == "Halted"


async def test_body_may_be_yaml_or_missing(cluster):
    await cluster.create_vm("vm-cirros", runStrategy="Halted")
    transport = cluster.client.transport
    reply = await transport.request("PUT", f"{BASE}/{MACHINES}/vm-cirros/start", body=b"[1, 2]")
    assert reply.status == 400
    reply = await transport.request("PUT", f"{BASE}/{MACHINES}/vm-cirros/start", body=b"paused: true\n")
    assert reply.status == 202
    assert (await cluster.until_vmi("vm-cirros", "Scheduling"))["spec"]["startStrategy"] == "Paused"


async def running(cluster):
    await cluster.create_vm("vm-cirros", runStrategy="Always")
    await cluster.start_fully("vm-cirros")


async def test_actions_go_to_virt_handler(cluster, handler):
    await running(cluster)
    for action in ("pause", "softreboot", "reset", "freeze", "unfreeze"):
        await call(cluster, "PUT", INSTANCES, "vm-cirros", action, {})
    assert [a[:2] for a in handler.asked] == [
        ("PUT", a) for a in ("pause", "softreboot", "reset", "freeze", "unfreeze")
    ]
    handler.asked.clear()
    await call(cluster, "PUT", INSTANCES, "vm-cirros", "pause", {"dryRun": ["All"]})
    assert handler.asked == []
    await cluster.handler_writes("vm-cirros", [{"type": "Paused", "status": "True"}])
    error = await refusal(cluster, "PUT", INSTANCES, "vm-cirros", "pause", {})
    assert error.message == VMI + "VMI is already paused"
    await call(cluster, "PUT", INSTANCES, "vm-cirros", "unpause", {})
    assert handler.asked == [("PUT", "unpause", "")]


async def test_what_virt_handler_says_is_told(cluster, handler):
    await running(cluster)
    handler.answer = Response(500, b"no such domain", content_type="text/plain")
    error = await refusal(cluster, "PUT", INSTANCES, "vm-cirros", "pause", {})
    said = "unexpected return code 500 (500 Internal Server Error), message: no such domain"
    assert (error.code, error.message) == (500, f"Internal error occurred: {said}")


async def test_guest_agent(cluster, handler):
    await running(cluster)
    error = await refusal(cluster, "GET", INSTANCES, "vm-cirros", "guestosinfo")
    assert error.message == VMI + "VMI does not have guest agent connected"
    await cluster.handler_writes("vm-cirros", [{"type": "AgentConnected", "status": "True"}])
    handler.answer = Response(200, json.dumps({"hostname": "a"}).encode())
    assert await call(cluster, "GET", INSTANCES, "vm-cirros", "guestosinfo") == {"hostname": "a"}


async def test_console_is_a_stream(cluster, handler):
    await running(cluster)
    path = f"{BASE}/{INSTANCES}/vm-cirros/console"
    async with cluster.client.transport.websocket(path, protocols=("plain.kubevirt.io",)) as socket:
        assert socket.protocol == "plain.kubevirt.io"
        await socket.send(b"hello")
        assert await socket.receive() == b"hello"
        await socket.send(b"bye")
        assert await socket.receive() == b"bye"
        assert await socket.receive() is None
        assert socket.close_code == 1000
    await cluster.until("stream closed", lambda: _closed(handler))
    assert handler.asked == [("GET", "console", "")]


async def _closed(handler):
    return handler.open == 0


async def test_client_that_leaves_ends_the_stream(cluster, handler):
    await running(cluster)
    path = f"{BASE}/{INSTANCES}/vm-cirros/vnc"
    async with cluster.client.transport.websocket(path, query="preserveSession=true") as socket:
        await socket.send(b"x" * 100_000)
        assert await socket.receive() == b"x" * 100_000
        assert handler.open == 1
    await cluster.until("stream closed", lambda: _closed(handler))
    assert handler.asked == [("GET", "vnc", "preserveSession=true")]


async def test_refused_stream_is_a_plain_answer(cluster, handler):
    await running(cluster)
    handler.answer = Response(503, b"Active VNC connection. Request denied.", content_type="text/plain")
    with pytest.raises(StatusError) as caught:
        async with cluster.client.transport.websocket(f"{BASE}/{INSTANCES}/vm-cirros/vnc"):
            pass
    assert "Active VNC connection. Request denied." in caught.value.message


async def test_port_forward_reaches_the_address(cluster):
    await running(cluster)

    async def greet(reader, writer):
        writer.write(b"hello " + await reader.read(100))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await cluster.handler_writes("vm-cirros", interfaces=[{"name": "default", "ipAddress": "127.0.0.1"}])
    try:
        for kind in (MACHINES, INSTANCES):
            path = f"{BASE}/{kind}/vm-cirros/portforward/{port}/tcp"
            async with cluster.client.transport.websocket(path) as socket:
                await socket.send(b"world")
                assert await socket.receive() == b"hello world"
                assert await socket.receive() is None
    finally:
        server.close()
        await server.wait_closed()
    with pytest.raises(StatusError) as caught:
        async with cluster.client.transport.websocket(f"{BASE}/{INSTANCES}/vm-cirros/portforward/{port}"):
            pass
    assert caught.value.message.endswith(f"dialing VM: dial tcp 127.0.0.1:{port}: connect: connection refused")


async def test_port_forward_udp(cluster):
    await running(cluster)

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            self.transport.sendto(data, addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    await cluster.handler_writes("vm-cirros", interfaces=[{"name": "default", "ipAddress": "127.0.0.1"}])
    path = f"{BASE}/{INSTANCES}/vm-cirros/portforward/{port}/udp"
    async with cluster.client.transport.websocket(path) as socket:
        await socket.send(b"ping")
        assert await socket.receive() == b"ping"
    transport.close()


async def test_paused_instance_is_not_forwarded_to(cluster):
    await running(cluster)
    await cluster.handler_writes("vm-cirros", [{"type": "Paused", "status": "True"}])
    error = await refusal(cluster, "GET", INSTANCES, "vm-cirros", "portforward/22/tcp")
    assert error.message == VMI + "VMI is paused"


async def test_expand(cluster):
    matcher = {"kind": "VirtualMachineInstancetype", "name": "small"}
    spec = {"cpu": {"guest": 2}, "memory": {"guest": "128Mi"}}
    body = {
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": "VirtualMachineInstancetype",
        "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": spec,
    }
    path = f"/apis/instancetype.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/virtualmachineinstancetypes"
    await cluster.client.request("POST", path, body=body)
    template = {"domain": {"devices": {}}, "networks": [], "volumes": []}
    vm = await cluster.create_vm("a", template, runStrategy="Halted", instancetype=matcher)
    found = await call(cluster, "GET", MACHINES, "a", "expand-spec")
    domain = found["spec"]["template"]["spec"]["domain"]
    assert domain["cpu"]["sockets"] == 2 and domain["memory"]["guest"] == "128Mi"
    assert "instancetype" not in found["spec"]
    given = await cluster.client.request("PUT", f"{BASE}/expand-vm-spec", body=vm)
    assert given["spec"]["template"]["spec"]["domain"]["cpu"] == domain["cpu"]
    with pytest.raises(StatusError, match="Object is not a valid VirtualMachine"):
        await cluster.client.request("PUT", f"{BASE}/expand-vm-spec", body={"spec": {}})


async def test_evacuate_cancel(cluster):
    await running(cluster)
    await call(cluster, "PUT", MACHINES, "vm-cirros", "evacuate/cancel", {"evacuationNodeName": "node01"})


async def test_discovery_and_version(cluster):
    found = await cluster.client.request("GET", "/apis/subresources.kubevirt.io")
    assert found["preferredVersion"]["groupVersion"] == "subresources.kubevirt.io/v1"
    found = await cluster.client.request("GET", "/apis/subresources.kubevirt.io/v1alpha3")
    assert "virtualmachines/start" in {r["name"] for r in found["resources"]}
    found = await cluster.client.request("GET", "/apis/subresources.kubevirt.io/v1/version")
    assert found["gitVersion"] == "v1.9.0"
    found = await cluster.client.request("GET", "/apis/subresources.kubevirt.io/v1/healthz")
    assert found["apiserver"]["connectivity"] == "ok"
    for path in ("v1/nothing", "v1/namespaces/x/pods/a/start"):
        with pytest.raises(StatusError) as caught:
            await cluster.client.request("GET", f"/apis/subresources.kubevirt.io/{path}")
        assert caught.value.code == 404


async def test_rights(cluster):
    await cluster.create_vm("vm-cirros", runStrategy="Halted")
    nobody = cluster.server.as_user("nobody")
    with pytest.raises(StatusError) as caught:
        await call(cluster, "PUT", MACHINES, "vm-cirros", "start", {}, client=nobody)
    assert caught.value.code == 403
    binding = {
        "metadata": {"name": "editor"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "editor"}],
    }
    await cluster.client.create(CLUSTERROLEBINDINGS, binding)
    editor = cluster.server.as_user("editor")

    async def may():
        await call(cluster, "PUT", MACHINES, "vm-cirros", "start", {}, client=editor)
        return True

    await cluster.until("edit has been aggregated", may)


async def test_statuses_are_the_components_own(cluster):
    await running(cluster)
    patch = {"status": {"phase": "Failed"}}
    made = await cluster.server.as_user("x", "system:masters").patch(VMIS, "vm-cirros", patch, NAMESPACE)
    assert made["status"]["phase"] == "Running"
    with pytest.raises(StatusError, match="update of VMI object is restricted"):
        await cluster.client.patch(VMIS, "vm-cirros", {"spec": {"hostname": "x"}}, NAMESPACE)


async def test_eviction_follows_the_strategy(cluster):
    stuck = [{"type": "LiveMigratable", "status": "False"}]
    for name, strategy in (("free", "None"), ("fixed", "LiveMigrate")):
        await cluster.create_vm(name, {"evictionStrategy": strategy}, runStrategy="Always")
        await cluster.start_fully(name)
        await cluster.handler_writes(name, stuck)

    hook = next(h for h in cluster.hooks if h.name == "virt-launcher-eviction-interceptor.kubevirt.io")

    async def evict(name):
        pod = (await cluster.the_pod(name))["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
        request = {"operation": "CREATE", "object": body, "name": pod, "namespace": NAMESPACE, "userInfo": {}}
        return (await hook.review({"request": request}))["response"]

    response = await evict("fixed")
    words = "VMI fixed is configured with an eviction strategy but is not live-migratable"
    assert response["status"] == {"code": 429, "message": words}
    assert (await evict("free"))["allowed"]


async def test_migration_of_what_cannot_move(cluster):
    await running(cluster)
    why = {"type": "LiveMigratable", "status": "False", "reason": "NotLiveMigratable", "message": "no"}
    await cluster.handler_writes("vm-cirros", [why])
    error = await refusal(cluster, "PUT", MACHINES, "vm-cirros", "migrate", {})
    assert "Cannot migrate VMI, Reason: NotLiveMigratable, Message: no" in error.message
