"""Tokens that live in Secrets: of service accounts, and of machines that join."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kumo.api.objects import Object, labels_of
from kumo.api.resources import CONFIGMAPS, SECRETS, SERVICEACCOUNTS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo, service_account_user
from kumo.kubernetes.controller_manager.account_tokens import LegacyTokenCleaner, TokensController
from kumo.kubernetes.controller_manager.bootstrap_tokens import BootstrapSigner, BootstrapTokenCleaner
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer, Informers
from kumo.machinery.signing_keys import load_signing_key
from kumo.machinery.transport import InProcessTransport
from support.apiserver import RunningApiServer, running_apiserver
from support.hollow import until

pytestmark = pytest.mark.component

_REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"


class Clock:
    now = datetime.datetime.now(datetime.UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    server: RunningApiServer
    secrets: Informer
    maps: Informer
    informers: Informers
    tasks: list[asyncio.Task[None]]

    def as_account(self, name: str) -> Client:
        user = service_account_user("kube-system", name)
        return Client(InProcessTransport(self.server.server.handle, user))

    async def review(self, token: str) -> Object:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        found: Object = (await self.server.client.request("POST", _REVIEW, body=body))["status"]
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_apiserver(tmp_path) as server:
        informers = Informers(server.client)
        made = World(server, informers.informer(SECRETS), informers.informer(CONFIGMAPS), informers, [])
        manager = Client(
            InProcessTransport(server.server.handle, UserInfo("system:kube-controller-manager", (AUTHENTICATED_GROUP,)))
        )
        parts = [
            informers,
            TokensController(manager, informers, load_signing_key(server.pki / "sa.key"), "a certificate\n"),
            BootstrapSigner(made.as_account("bootstrap-signer"), informers),
            BootstrapTokenCleaner(made.as_account("token-cleaner"), informers),
        ]
        made.tasks += [asyncio.create_task(part.run()) for part in parts]
        try:
            yield made
        finally:
            for task in made.tasks:
                task.cancel()
            await asyncio.gather(*made.tasks, return_exceptions=True)


def token_secret(name: str, account: str) -> Object:
    notes = {"kubernetes.io/service-account.name": account}
    return {"metadata": {"name": name, "annotations": notes}, "type": _ACCOUNT_TOKEN}


def text_of(secret: Object, key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode()


async def test_a_token_secret_is_filled_used_and_ends_with_its_account(world: World) -> None:
    client, secrets = world.server.client, world.secrets
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "robot"}, "secrets": [{"name": "s"}]}, "default")
    await client.create(SECRETS, token_secret("s", "robot"), "default")
    filled = await until(
        secrets, lambda: s if "token" in ((s := secrets.get("s", "default")) or {}).get("data", {}) else None
    )
    assert (text_of(filled, "namespace"), text_of(filled, "ca.crt")) == ("default", "a certificate\n")
    token = text_of(filled, "token")
    found = await world.review(token)
    assert found["user"]["username"] == "system:serviceaccount:default:robot"
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    label = "kubernetes.io/legacy-token-last-used"
    await until(secrets, lambda: labels_of(secrets.get("s", "default") or {}).get(label) == today)
    await client.delete(SERVICEACCOUNTS, "robot", "default")
    await until(secrets, lambda: secrets.get("s", "default") is None)
    assert "error" in await world.review(token)


async def test_a_secret_without_account_goes_and_a_gone_secret_is_not_listed(world: World) -> None:
    client, secrets = world.server.client, world.secrets
    made = await client.create(SECRETS, token_secret("orphan", "nobody"), "default")
    await until(secrets, lambda: secrets.get("orphan", "default") is None)
    assert made["metadata"]["uid"]
    accounts = world.informers.informer(SERVICEACCOUNTS)
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "b"}, "secrets": [{"name": "t"}]}, "default")
    await client.create(SECRETS, token_secret("t", "b"), "default")
    await until(secrets, lambda: ((secrets.get("t", "default") or {}).get("data") or {}).get("token"))
    await client.delete(SECRETS, "t", "default")
    await until(accounts, lambda: not (accounts.get("b", "default") or {}).get("secrets"))


async def test_unused_generated_tokens_are_marked_then_deleted(world: World) -> None:
    client, secrets = world.server.client, world.secrets
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "old"}, "secrets": [{"name": "g"}]}, "default")
    await client.create(SECRETS, token_secret("g", "old"), "default")
    await until(secrets, lambda: ((secrets.get("g", "default") or {}).get("data") or {}).get("token"))
    clock = Clock()
    for days, done in (
        (400, lambda s: s and "kubernetes.io/legacy-token-invalid-since" in labels_of(s)),
        (800, lambda s: s is None),
    ):
        clock.now = Clock.now + days * 86400
        cleaner = LegacyTokenCleaner(world.as_account("legacy-service-account-token-cleaner"), Informers(client), clock)
        informers = cleaner._secrets, cleaner._accounts, cleaner._pods
        tasks = [asyncio.create_task(part.run()) for part in (*informers, cleaner)]
        try:
            await until(secrets, lambda check=done: check(secrets.get("g", "default")))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_bootstrap_tokens_sign_and_end(world: World) -> None:
    client = world.server.client
    content = "apiVersion: v1\nkind: Config\n"
    await client.create(
        CONFIGMAPS, {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": content}}, "kube-public"
    )

    def bootstrap(token_id: str, **data: str) -> Object:
        values = {"token-id": token_id, "token-secret": "0123456789abcdef", **data}
        encoded = {k.replace("_", "-"): base64.b64encode(v.encode()).decode() for k, v in values.items()}
        meta = {"name": f"bootstrap-token-{token_id}"}
        return {"metadata": meta, "type": "bootstrap.kubernetes.io/token", "data": encoded}

    signing = {"usage_bootstrap_signing": "true", "usage_bootstrap_authentication": "true"}
    await client.create(SECRETS, bootstrap("abcdef", **signing), "kube-system")
    maps = world.maps

    def signature() -> str:
        found = maps.get("cluster-info", "kube-public") or {}
        return str(found.get("data", {}).get("jws-kubeconfig-abcdef", ""))

    head, middle, tail = (await until(maps, signature)).split(".")
    payload = base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()
    wanted = hmac.new(b"0123456789abcdef", f"{head}.{payload}".encode(), hashlib.sha256).digest()
    assert (middle, tail) == ("", base64.urlsafe_b64encode(wanted).rstrip(b"=").decode())
    assert (await world.review("abcdef.0123456789abcdef"))["user"]["username"] == "system:bootstrap:abcdef"
    await client.delete(SECRETS, "bootstrap-token-abcdef", "kube-system")
    await until(maps, lambda: not signature())
    assert (await world.review("abcdef.0123456789abcdef"))["error"] == "invalid bearer token"
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.5)).isoformat()
    await client.create(SECRETS, bootstrap("ending", expiration=soon), "kube-system")
    await until(world.secrets, lambda: world.secrets.get("bootstrap-token-ending", "kube-system"))
    await until(world.secrets, lambda: world.secrets.get("bootstrap-token-ending", "kube-system") is None)
