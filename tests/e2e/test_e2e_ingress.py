"""Ingresses as kubectl and clients have them: hosts and paths, TLS, rollouts that nobody notices, what is refused."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kumo.machinery import tls
from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "ingress"
# As soon as it is told to end it refuses connections, and only finishes what it is answering: nothing but the Ingress
# makes up for that.
SERVER = (
    "mkdir -p /www; hostname > /www/index.html; echo other > /www/other; httpd -f -p 8080 -h /www & "
    "trap 'kill -9 $!; sleep 1; exit' TERM; wait"
)
REQUESTS, CLIENTS = 10_000, 16


class Shop:
    """Two sites behind one Ingress with TLS."""

    def __init__(self, cloud: Cloud, directory: Path) -> None:
        self.cloud = cloud
        self.ca = tls.ensure_ca(directory)
        for host in ("shop", "news"):
            pair = tls.ensure_server_certificate(self.ca, directory, host, names=(f"{host}.example.com",))
            self.kubectl("create", "secret", "tls", host, f"--cert={pair.cert}", f"--key={pair.key}")
            self.apply(_deployment(host))
            self.kubectl("expose", "deployment", host, "--port=80", "--target-port=8080")
        self.kubectl(
            *("create", "ingress", "sites"),
            *("--rule=shop.example.com/*=shop:80,tls=shop", "--rule=news.example.com/index.html=news:80,tls=news"),
        )
        for host in ("shop", "news"):
            self.kubectl("rollout", "status", f"deployment/{host}", "--timeout=120s")

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        return self.cloud.kubectl("-n", NAMESPACE, *arguments, stdin=stdin, check=check).stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin="\n".join(json.dumps(m) for m in manifests))

    def address(self, name: str = "sites") -> str:
        def find() -> str:
            found = json.loads(self.kubectl("get", "ingress", name, "-o", "json"))
            return str(found["status"]["loadBalancer"]["ingress"][0]["ip"])

        return str(self.cloud.wait(find, 60, f"the address of the Ingress {name}"))

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca.files.cert))

    async def ask(self, session: aiohttp.ClientSession, site: str, path: str = "/index.html") -> tuple[int, str]:
        url, host = f"https://{self.address_now}{path}", f"{site}.example.com"
        async with session.get(url, headers={"Host": host}, server_hostname=host) as answer:
            return answer.status, (await answer.text()).strip()

    def once(self, site: str, path: str = "/index.html") -> tuple[int, str]:
        async def run() -> tuple[int, str]:
            connector = aiohttp.TCPConnector(ssl=self.context())
            async with aiohttp.ClientSession(connector=connector) as session:
                return await self.ask(session, site, path)

        return asyncio.run(run())

    address_now = ""


def _deployment(name: str) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", SERVER],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


@pytest.fixture(scope="module")
def shop(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    cloud.kubectl("create", "namespace", NAMESPACE)
    try:
        found = Shop(cloud, tmp_path_factory.mktemp("ingress"))
        found.address_now = found.address()
        yield found
    finally:
        cloud.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_hosts_paths_and_certificates(shop: Shop) -> None:
    shown = shop.kubectl("get", "ingress", "sites").splitlines()[1].split()
    assert shown[:5] == ["sites", "kumo", "shop.example.com,news.example.com", shop.address_now, "80,"]
    status, name = shop.once("shop")
    assert (status, name.rpartition("-")[0].rpartition("-")[0]) == (200, "shop")
    assert shop.once("shop", "/other") == (200, "other")
    status, name = shop.once("news")
    assert (status, name.rpartition("-")[0].rpartition("-")[0]) == (200, "news")
    assert shop.once("news", "/other") == (404, "no Ingress leads this host and path anywhere")


def test_no_request_fails_while_backends_roll(shop: Shop) -> None:
    ended = threading.Event()

    def roll() -> None:
        for number in range(2):
            shop.kubectl("rollout", "restart", "deployment/shop", "deployment/news")
            for site in ("shop", "news"):
                shop.kubectl("rollout", "status", f"deployment/{site}", "--timeout=120s")
            # Another site: a new worker takes over, under load.
            shop.kubectl("create", "ingress", f"more-{number}", f"--rule=more-{number}.example.com/*=shop:80")
            shop.address(f"more-{number}")
        ended.set()

    answers = asyncio.run(_load(shop, ended, thread := threading.Thread(target=roll)))
    thread.join()
    assert sum(answers.values()) >= REQUESTS
    assert {kind for kind, _ in answers} == {200}
    assert len({name for _, name in answers}) >= 8  # before, between and after


async def _load(shop: Shop, ended: threading.Event, thread: threading.Thread) -> Counter[tuple[int, str]]:
    answers: Counter[tuple[int, str]] = Counter()

    async def client(number: int) -> None:
        while not ended.is_set() or sum(answers.values()) < REQUESTS:
            answers[await shop.ask(session, ("shop", "news")[number % 2])] += 1

    connector = aiohttp.TCPConnector(ssl=shop.context(), limit=CLIENTS)
    async with aiohttp.ClientSession(connector=connector) as session:
        thread.start()
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(client(number))
    return answers


def test_what_can_not_be_served_is_told_in_events(shop: Shop) -> None:
    shop.kubectl("create", "secret", "generic", "plain", "--from-literal=tls.crt=x")
    shop.kubectl(
        *("create", "ingress", "amiss", "--rule=amiss.example.com/*=absent:80,tls=plain"),
        "--rule=shop.example.com/*=news:80",
    )
    wanted = {
        'service "absent" has no port "80", or is not there',
        'secret "plain": there is no such secret of type kubernetes.io/tls',
        '"shop.example.com/" is led elsewhere by an older Ingress',
    }

    def told() -> bool:
        found = json.loads(shop.kubectl("get", "events", "--field-selector=reason=Rejected", "-o", "json"))
        return wanted == {e["message"] for e in found["items"] if e["involvedObject"]["name"] == "amiss"}

    shop.cloud.wait(told, 30, "the events of the Ingress amiss")
    assert shop.once("shop")[0] == 200


def test_the_last_ingress_takes_haproxy_with_it(shop: Shop) -> None:
    settings = str(shop.cloud.data_dir / "node" / "ingress" / "haproxy.cfg").encode()

    def count() -> int:
        found = (p / "cmdline" for p in Path("/proc").iterdir() if p.name.isdigit())
        return sum(settings in p.read_bytes() for p in found if p.exists())

    assert count() >= 2  # a master and its worker
    shop.kubectl("delete", "ingress", "--all")
    shop.cloud.wait(lambda: count() == 0, 60, "haproxy's end")
