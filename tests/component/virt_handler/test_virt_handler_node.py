"""Machines on a real node: kubelet, containerd, virt-handler, virt-launcher, libvirt, QEMU, a guest that boots."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.conditions import is_true
from kumo.api.objects import Object
from kumo.api.resources import NODES, PODS, SECRETS, VMIS
from kumo.host.network.namespaces import run_in_netns
from kumo.host.nftables import Nft
from kumo.kubevirt.virt_handler.machine import Machine
from kumo.machinery.http import WebSocket
from kumo.machinery.transport import InProcessTransport
from support.demo_disk import demo_disk
from support.virt_node import VirtNode, phase_is, running_virt_node, vmi_object

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]

BASE = "/v1/namespaces/default/virtualmachineinstances"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def virt(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VirtNode]:
    disk = await asyncio.to_thread(demo_disk)
    folder = tmp_path_factory.mktemp("virt")
    async with running_virt_node(folder, disk, "kumo-virt0", "10.211.78.0/24") as found:
        yield found


def machine_of(virt: VirtNode, name: str) -> Machine:
    found = virt.handler._machines
    return next(m for key, m in found.items() if key.name == name)


def processes_of(virt: VirtNode, name: str) -> dict[str, int]:
    """Pids of the VMI's processes by the program's name: those in the launcher's pid namespace."""
    launcher = machine_of(virt, name).connected
    assert launcher is not None
    namespace = os.readlink(f"/proc/{launcher.pid}/ns/pid")
    found = {}
    for pid in (int(p) for p in os.listdir("/proc") if p.isdigit()):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
    return found


async def read_until(socket: WebSocket, text: str, timeout: float = 60.0) -> str:
    seen = ""
    try:
        async with asyncio.timeout(timeout):
            while text not in seen:
                message = await socket.receive()
                assert message is not None, f"the session ended before {text!r}: {seen!r}"
                seen += message.decode(errors="replace") if isinstance(message, bytes) else message
    except TimeoutError:
        raise AssertionError(f"{text!r} did not come: {seen[-1500:]!r}") from None
    return seen


async def until(check: Callable[[], Any], timeout: float = 60.0) -> None:
    async with asyncio.timeout(timeout):
        while not check():
            await asyncio.sleep(0.05)


async def until_event(virt: VirtNode, name: str, reason: str, message: str) -> None:
    async with asyncio.timeout(10):
        while (reason, message) not in {e[1:] for e in await virt.events(name)}:
            await asyncio.sleep(0.05)


async def test_the_node_says_that_machines_may_come(virt: VirtNode) -> None:
    async with asyncio.timeout(10):
        while True:
            node = await virt.client.get(NODES, "test-node")
            if "kubevirt.io/heartbeat" in (node["metadata"].get("annotations") or {}):
                break
            await asyncio.sleep(0.05)
    assert node["metadata"]["labels"]["kubevirt.io/schedulable"] == "true"
    assert node["metadata"]["annotations"]["kumo.dev/virt-handler-address"] == "127.0.0.1:10250"
    await until(lambda: list(virt.config.capabilities.glob("*.xml")))


async def test_a_machine_from_boot_to_shutdown(virt: VirtNode) -> None:
    vmi = await virt.create(vmi_object("life"))
    vmi = await virt.until("life", phase_is("Running"))
    pod_ip = vmi["status"]["interfaces"][0]["ipAddress"]
    transport = InProcessTransport(virt.handler.handler)

    async with transport.websocket(f"{BASE}/life/console", protocols=("plain.kubevirt.io",)) as console:
        assert console.protocol == "plain.kubevirt.io"
        await read_until(console, " login: ", 120)
        await console.send(b"cirros\n")
        await read_until(console, "assword:")
        await console.send(b"gocubsgo\n")
        await read_until(console, "$ ")
        # The address comes by DHCP, which may be later than the login.
        await console.send(
            b"until ip -4 addr show eth0 | grep -F 10.0.2.2/24; do sleep 1; done; echo leased$((40+2))\n"
        )
        await read_until(console, "leased42")
        # The name comes from the cloud-init disk, which the guest reads in the background.
        await console.send(b"until hostname | grep -x life; do sleep 1; done; echo named$((40+2))\n")
        await read_until(console, "named42")

        # A second session takes the first one's place.
        async with transport.websocket(f"{BASE}/life/console", protocols=("plain.kubevirt.io",)) as newer:
            async with asyncio.timeout(10):
                while await console.receive() is not None:
                    pass
            await newer.send(b"echo new$((40+2))\n")
            await read_until(newer, "new42")

    vmi = await virt.until("life", lambda o: is_true(o, "AgentConnected"), 120)
    vmi = await virt.until("life", lambda o: o["status"].get("guestOSInfo", {}).get("kernelRelease"))
    assert vmi["status"]["interfaces"][0]["interfaceName"] == "eth0"
    info = await transport.request("GET", f"{BASE}/life/guestosinfo")
    assert (info.status, b'"hostname":"life"' in info.body) == (200, True)
    assert (await transport.request("GET", f"{BASE}/life/filesystemlist")).status == 200
    assert (await transport.request("GET", f"{BASE}/life/userlist")).status == 200

    # What comes for the pod goes to the guest.
    async with asyncio.timeout(60):
        while True:
            try:
                reader, writer = await asyncio.open_connection(pod_ip, 22)
                break
            except OSError:
                await asyncio.sleep(0.2)
        assert (await reader.readline()).startswith(b"SSH-2.0")
        writer.close()

    await pause_and_unpause(virt, transport)
    await graphics(transport)
    await restart_of_virt_handler(virt)

    await virt.client.delete(VMIS, "life", "default")
    vmi = await virt.until("life", phase_is("Succeeded", "Failed"), 90)
    assert vmi["status"]["phase"] == "Succeeded"
    await until_event(virt, "life", "Stopped", "The VirtualMachineInstance was shut down.")
    reasons = [e[1] for e in await virt.events("life")]
    assert {"Created", "Started", "ShuttingDown", "Stopped"} <= set(reasons)
    pod = await virt.node.until("virt-launcher-life", phase_is("Succeeded", "Failed"), 60)
    assert pod["status"]["phase"] == "Succeeded"
    await virt.remove("life")


async def pause_and_unpause(virt: VirtNode, transport: InProcessTransport) -> None:
    assert (await transport.request("PUT", f"{BASE}/life/pause")).status == 202
    vmi = await virt.until("life", lambda o: is_true(o, "Paused"))
    assert vmi["status"]["phase"] == "Running"
    assert (await transport.request("PUT", f"{BASE}/life/unpause")).status == 202
    await virt.until("life", lambda o: not is_true(o, "Paused"))
    assert (await transport.request("GET", f"{BASE}/life/pause")).status == 405


async def graphics(transport: InProcessTransport) -> None:
    shot = await transport.request("GET", f"{BASE}/life/screenshot")
    assert (shot.status, shot.headers["content-type"]) == (200, "image/png")
    assert shot.body.startswith(b"\x89PNG")
    async with transport.websocket(f"{BASE}/life/vnc", protocols=("plain.kubevirt.io",)) as vnc:
        await read_until(vnc, "RFB 003.008")
        refused = await transport.request(
            "GET", f"{BASE}/life/vnc", query="preserveSession=true", headers={"Upgrade": "websocket"}
        )
        assert (refused.status, refused.body) == (503, b"Active VNC connection. Request denied.")


async def restart_of_virt_handler(virt: VirtNode) -> None:
    qemu = processes_of(virt, "life")["qemu-system-x86"]
    before = len(await virt.events("life"))
    await virt.stop()
    assert Path(f"/proc/{qemu}").exists()
    await virt.start()
    await until(lambda: any(m.connected for m in virt.handler._machines.values()))
    assert processes_of(virt, "life")["qemu-system-x86"] == qemu
    vmi = await virt.client.get(VMIS, "life", "default")
    assert vmi["status"]["phase"] == "Running"
    assert len(await virt.events("life")) == before


async def test_bridge_binding_gives_the_guest_the_pods_address(virt: VirtNode) -> None:
    vmi = vmi_object("bridged")
    vmi["spec"]["domain"]["devices"]["interfaces"] = [{"name": "default", "bridge": {}}]
    await virt.create(vmi)
    running = await virt.until("bridged", phase_is("Running"))
    interface = running["status"]["interfaces"][0]
    await virt.serial(running, " login: ")
    async with asyncio.timeout(60):
        while True:
            try:
                reader, writer = await asyncio.open_connection(interface["ipAddress"], 22)
                break
            except OSError:
                await asyncio.sleep(0.2)
        assert (await reader.readline()).startswith(b"SSH-2.0")
        writer.close()
    shown = await virt.until("bridged", lambda o: o["status"]["interfaces"][0].get("interfaceName"))
    assert shown["status"]["interfaces"][0]["mac"] == interface["mac"]
    await virt.remove("bridged")


async def start(virt: VirtNode, name: str, **spec: Any) -> Object:
    await virt.create(vmi_object(name, **spec))
    return await virt.until(name, phase_is("Running"))


async def test_a_killed_qemu_is_a_failed_machine(virt: VirtNode) -> None:
    await start(virt, "killed")
    os.kill(processes_of(virt, "killed")["qemu-system-x86"], signal.SIGKILL)
    await virt.until("killed", phase_is("Failed"), 30)
    await until_event(virt, "killed", "Stopped", "The VirtualMachineInstance crashed.")
    pod = await virt.node.until("virt-launcher-killed", phase_is("Succeeded", "Failed"), 60)
    assert pod["status"]["phase"] == "Failed"
    await virt.remove("killed")


async def test_a_machine_without_grace_is_unplugged_at_once(virt: VirtNode) -> None:
    await start(virt, "abrupt", terminationGracePeriodSeconds=0)
    await virt.client.delete(VMIS, "abrupt", "default")
    vmi = await virt.until("abrupt", phase_is("Succeeded", "Failed"), 15)
    assert vmi["status"]["phase"] == "Failed"
    await virt.remove("abrupt")


async def test_a_machine_outlives_its_libvirtd(virt: VirtNode) -> None:
    await start(virt, "daemonless")
    before = processes_of(virt, "daemonless")
    os.kill(before["libvirtd"], signal.SIGKILL)
    await until(lambda: processes_of(virt, "daemonless").get("libvirtd", before["libvirtd"]) != before["libvirtd"], 30)
    assert processes_of(virt, "daemonless")["qemu-system-x86"] == before["qemu-system-x86"]
    transport = InProcessTransport(virt.handler.handler)
    async with asyncio.timeout(30):
        while (await transport.request("PUT", f"{BASE}/daemonless/pause")).status != 202:
            await asyncio.sleep(0.1)
    await virt.until("daemonless", lambda o: is_true(o, "Paused"))
    await virt.remove("daemonless")


async def test_a_killed_launcher_is_a_failed_machine(virt: VirtNode) -> None:
    await start(virt, "orphan")
    launcher = machine_of(virt, "orphan").connected
    assert launcher is not None
    os.kill(launcher.pid, signal.SIGKILL)
    await virt.until("orphan", phase_is("Failed"), 30)
    await virt.remove("orphan")


async def test_a_deleted_pod_shuts_its_machine_down(virt: VirtNode) -> None:
    vmi = await start(virt, "evicted")
    await virt.serial(vmi, " login: ")
    await virt.until("evicted", lambda o: is_true(o, "AgentConnected"), 60)
    await virt.client.delete(PODS, "virt-launcher-evicted", "default")
    ended = await virt.until("evicted", phase_is("Succeeded", "Failed"), 60)
    assert ended["status"]["phase"] == "Succeeded"
    await virt.node.until_gone("virt-launcher-evicted", 60)
    await virt.remove("evicted")


async def test_only_listed_ports_reach_the_guest(virt: VirtNode) -> None:
    vmi = vmi_object("ports")
    interface = {"name": "default", "masquerade": {}, "ports": [{"name": "ssh", "port": 22}]}
    vmi["spec"]["domain"]["devices"]["interfaces"] = [interface]
    await virt.create(vmi)
    await virt.until("ports", phase_is("Running"))
    launcher = machine_of(virt, "ports").connected
    assert launcher is not None
    rules = await asyncio.to_thread(run_in_netns, f"/proc/{launcher.pid}/ns/net", lambda: Nft().list_table("ip", "nat"))
    inbound = [r["rule"]["expr"] for r in rules if r.get("rule", {}).get("chain") == "KUBEVIRT_PREINBOUND"]
    assert len(inbound) == 1
    assert inbound[0][0]["match"]["left"] == {"payload": {"protocol": "tcp", "field": "dport"}}
    assert inbound[0][-1] == {"dnat": {"addr": "10.0.2.2"}}
    await virt.remove("ports")


async def test_a_machine_whose_data_is_missing_says_so_and_starts_when_it_comes(virt: VirtNode) -> None:
    vmi = vmi_object("waiting")
    vmi["spec"]["volumes"][1] = {"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "late"}}}
    await virt.create(vmi)
    stuck = await virt.until(
        "waiting", lambda o: any(c["type"] == "Synchronized" for c in o["status"].get("conditions", ()))
    )
    failure = next(c for c in stuck["status"]["conditions"] if c["type"] == "Synchronized")
    assert failure["status"] == "False"
    assert failure["reason"] == "Synchronizing with the Domain failed."
    assert "the secret late" in failure["message"]
    await until_event(virt, "waiting", "SyncFailed", failure["message"])
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "late"},
        "stringData": {"userdata": "#!/bin/sh"},
    }
    await virt.client.create(SECRETS, secret, "default")
    done = await virt.until("waiting", phase_is("Running"), 90)
    assert all(c["type"] != "Synchronized" for c in done["status"]["conditions"])
    await virt.remove("waiting")


async def test_strangers_are_not_found(virt: VirtNode) -> None:
    transport = InProcessTransport(virt.handler.handler)
    assert (await transport.request("PUT", f"{BASE}/nobody/pause")).status == 404
    assert (await transport.request("GET", "/v1/nothing")).status == 404


async def test_a_domain_that_qemu_refuses_is_not_a_machine_that_ended(virt: VirtNode) -> None:
    vmi = vmi_object("refused")
    vmi["spec"]["domain"]["cpu"]["model"] = "EPYC-there-is-no-such"
    await virt.create(vmi)
    stuck = await virt.until(
        "refused", lambda o: any(c["type"] == "Synchronized" for c in o["status"].get("conditions", ()))
    )
    assert stuck["status"]["phase"] == "Scheduled"
    assert stuck["status"]["conditions"][0]["status"] == "False"
    await virt.remove("refused")
