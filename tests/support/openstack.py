"""A cloud with OpenStack behind a real HTTPS listener, for the real client; no node: tests play it.

async with openstack_cloud(tmp_path) as cloud:
    code, out, err = await cloud.cli("token", "issue", "-f", "json")
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from kumo.api.resources import NODES
from kumo.api.users import MASTERS_GROUP, UserInfo, service_account_user
from kumo.cli.control_plane import by_prefix
from kumo.kubernetes.controller_manager import ControllerManagerConfig, controllers
from kumo.kubevirt.common import names
from kumo.kubevirt.virt_api.component import VirtApi
from kumo.kubevirt.virt_controller.component import VirtController
from kumo.kubevirt.virt_controller.launcher import LauncherConfig
from kumo.machinery import tls
from kumo.machinery.client import Client, Reply
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.informer import Informers
from kumo.machinery.listener import Listener
from kumo.machinery.transport import HttpTransport, InProcessTransport
from kumo.openstack import OpenStack, OpenStackConfig, clouds_yaml
from kumo.openstack.common.service import Service
from kumo.openstack.component import PREFIXES
from support.apiserver import RunningApiServer, running_apiserver
from support.kubevirt_cluster import NODE, KubevirtCluster

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".clients" / "openstack" / "bin" / "openstack"
PASSWORD = "a password for tests"


class Disks:
    """Remembers what was made bootable."""

    def __init__(self) -> None:
        self.held: dict[str, Path] = {}

    async def put(self, disk: Path, name: str) -> None:
        assert await asyncio.to_thread(disk.is_file)
        self.held[name] = disk

    async def remove(self, name: str) -> None:
        self.held.pop(name, None)


class OpenStackCloud:
    """What a test has in its hands."""

    def __init__(self, server: RunningApiServer, directory: Path, url: str, ca: Path, disks: Disks) -> None:
        self.server, self.directory, self.url, self.ca, self.disks = server, directory, url, ca, disks
        self.client = server.client
        self.images_dir = directory / "images"
        self.services: dict[str, Service] = {}
        self.kubevirt: KubevirtCluster
        self.clouds = directory / "clouds.yaml"
        self.clouds.write_text(clouds_yaml(url, PASSWORD, ca))
        self.transport = HttpTransport(url, ca=ca)

    async def cli(self, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Run the real client: its exit code, output and errors."""
        where = {"OS_CLIENT_CONFIG_FILE": str(self.clouds), "OS_CLOUD": "kumo"}
        process = await asyncio.create_subprocess_exec(
            str(PROGRAM), *arguments, env={**os.environ, **where, **(env or {})},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 120)
        return process.returncode or 0, out.decode(), err.decode()

    async def ok(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        """Run the real client, which must end well; its output."""
        code, out, err = await self.cli(*arguments, env=env)
        assert code == 0, f"{' '.join(arguments)}: {code}\n{out}{err}"
        return out

    async def json(self, *arguments: str, env: dict[str, str] | None = None) -> Any:
        """`-f json` of the real client, decoded."""
        return json.loads(await self.ok(*arguments, "-f", "json", env=env))

    async def http(
        self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str
    ) -> tuple[Reply, Any]:
        """A plain request; the answer, and its JSON if it is some."""
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if token:
            sent["x-auth-token"] = token
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        path, _, query = path.partition("?")
        answer = await self.transport.request(method, path, query=query, headers=sent, body=payload)
        try:
            return answer, json.loads(answer.body)
        except ValueError:
            return answer, None

    async def token(self, name: str = "admin", password: str = PASSWORD, project: str = "admin") -> str:
        """A token for a user of the default domain in a project of it (unscoped for an empty name)."""
        domain = {"id": "default"}
        user = {"name": name, "domain": domain, "password": password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if project:
            auth["scope"] = {"project": {"name": project, "domain": domain}}
        answer, body = await self.http("POST", "/identity/v3/auth/tokens", {"auth": auth})
        assert answer.status == 201, body
        return answer.headers["x-subject-token"]

    async def until(self, what: str, check: Any, seconds: float = 15.0) -> Any:
        """Wait until the coroutine function gives something true."""
        async with asyncio.timeout(seconds):
            while not (found := await check()):
                await asyncio.sleep(0.05)
        return found


async def _no_node(request: Request) -> Answer:
    return Response(404, b"there is no node")


@asynccontextmanager
async def openstack_cloud(tmp_path: Path) -> AsyncIterator[OpenStackCloud]:
    """Start it: API server, controllers, KubeVirt's control parts, OpenStack, one HTTPS listener."""
    running: list[RunningApiServer] = []

    async def later(request: Request) -> Answer:
        return await running[0].server.handle(request)

    def client_for(user: UserInfo) -> Client:
        return Client(InProcessTransport(later, user))

    def account(namespace: str, name: str) -> Client:
        return client_for(service_account_user(namespace, name))

    master = client_for(UserInfo("system:tests", (MASTERS_GROUP,)))
    informers, own = Informers(master), Informers(master)
    virt_api = VirtApi(account("kubevirt", "kubevirt-apiserver"), own, lambda _: InProcessTransport(_no_node))
    virt_controller = VirtController(
        account("kubevirt", "kubevirt-controller"), own, LauncherConfig("0.1.0", "/somewhere/kumo")
    )
    disks = Disks()
    config = OpenStackConfig(tmp_path / "images", PASSWORD)
    openstack = OpenStack(config, master, client_for, disks)
    tokens = [openstack.authenticate_token]
    hooks, groups = virt_api.hooks, virt_api.groups
    async with running_apiserver(tmp_path, hooks=hooks, groups=groups, token_authenticators=tokens) as server:
        running.append(server)
        await virt_api.install(server.client, use_emulation=True)
        node = {"metadata": {"name": NODE, "annotations": {names.HANDLER_ADDRESS_ANNOTATION: "192.0.2.2:10250"}}}
        await server.client.create(NODES, {"apiVersion": "v1", "kind": "Node", **node})
        manager = controllers(lambda name: account("kube-system", name), informers, ControllerManagerConfig(root_ca=""))
        components = [informers, own, virt_controller, *manager]
        tasks = [asyncio.create_task(c.run()) for c in components]
        ca = tls.ensure_ca(server.pki)
        pair = tls.ensure_server_certificate(ca, server.pki)
        handler = by_prefix(server.server.handle, dict.fromkeys(PREFIXES, openstack.handler))
        listener = Listener(handler, tls=tls.server_context(pair, ca.files.cert), grace=0.5)
        try:
            await openstack.install()
            await listener.start()
            cloud = OpenStackCloud(server, tmp_path, listener.url, ca.files.cert, disks)
            cloud.services = openstack.services
            cloud.kubevirt = KubevirtCluster(server, cast(Any, None), hooks)
            try:
                yield cloud
            finally:
                await cloud.transport.close()
        finally:
            await listener.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
