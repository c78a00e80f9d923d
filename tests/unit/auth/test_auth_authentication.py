"""Tokens, impersonation, and the order of proofs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from kumo.api.errors import StatusError, forbidden
from kumo.api.resources import NODES, PODS, SERVICEACCOUNTS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authentication import (
    ANONYMOUS_USER,
    Authenticator,
    ServiceAccountTokens,
    impersonate,
)
from kumo.kubernetes.apiserver.tokens import TokenEndpoints
from kumo.machinery.http import Request
from kumo.machinery.listener import user_of_certificate
from kumo.machinery.tls import ensure_signing_key
from support.reader import MemoryReader

pytestmark = pytest.mark.unit

ISSUER = "https://kubernetes.default.svc.cluster.local"


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self, key: Path) -> None:
        self.reader, self.clock = MemoryReader(), Clock()
        self.tokens = ServiceAccountTokens(issuer=ISSUER, key_path=key, reader=self.reader, clock=self.clock)
        self.authenticator = Authenticator(self.tokens)
        self.endpoints = TokenEndpoints(self.tokens, self.authenticator, self.reader)
        self.account = self.reader.put(SERVICEACCOUNTS, {"metadata": {"name": "robot", "namespace": "ns"}})

    def pod(self, **spec: str) -> dict:
        made = {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"serviceAccountName": "robot", **spec}}
        return self.reader.put(PODS, made)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_signing_key(tmp_path_factory.mktemp("key") / "sa.key")


@pytest.fixture
def world(key: Path) -> World:
    return World(key)


def claims_of(token: str) -> dict:
    part = token.split(".")[1]
    found: dict = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_certificates_name_user_and_groups() -> None:
    subject = ((("organizationName", "a"),), (("organizationName", "b"),), (("commonName", "jane"),))
    user = user_of_certificate({"subject": subject}, b"der")
    assert user is not None
    assert (user.name, user.groups) == ("jane", ("a", "b", AUTHENTICATED_GROUP))
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")
    assert user_of_certificate({"subject": ((("organizationName", "a"),),)}) is None
    assert user_of_certificate(None) is None


async def test_the_order_of_proofs(world: World) -> None:
    jane = UserInfo("jane")

    async def other(token: str) -> UserInfo | None:
        return UserInfo("keystone-user", ("project",)) if token == "k" else None

    authenticator = Authenticator(world.tokens, [other])

    async def who(user: UserInfo | None = None, **headers: str) -> UserInfo:
        return await authenticator.authenticate(Request("GET", "/", headers=headers, user=user))

    assert await who(jane, authorization="Bearer nonsense") is jane
    assert await who() is ANONYMOUS_USER
    assert await who(authorization="Basic eDp5") is ANONYMOUS_USER
    assert (await who(authorization="Bearer k")).groups == ("project", AUTHENTICATED_GROUP)
    token, _ = world.tokens.issue(world.account)
    assert (await who(authorization=f"bearer {token}")).name == "system:serviceaccount:ns:robot"
    with pytest.raises(StatusError) as refusal:
        await who(authorization="Bearer x.y.z")
    assert refusal.value.code == 401
    with pytest.raises(StatusError):
        await Authenticator(world.tokens, anonymous=False).authenticate(Request("GET", "/"))


async def test_a_token_in_a_websocket_subprotocol(world: World) -> None:
    token, _ = world.tokens.issue(world.account)
    carrier = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    headers = {"upgrade": "websocket", "sec-websocket-protocol": f"{carrier}, v4.channel.k8s.io"}
    request = Request("GET", "/", headers=headers)
    assert (await world.authenticator.authenticate(request)).name == "system:serviceaccount:ns:robot"
    assert request.websocket_protocols == ["v4.channel.k8s.io"]


def test_claims_are_upstreams(world: World) -> None:
    node = world.reader.put(NODES, {"metadata": {"name": "n1"}})
    pod = world.pod(nodeName="n1")
    made = world.endpoints.request(
        "ns", "robot", {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}}
    )
    claims = claims_of(made["status"]["token"])
    assert claims["iss"] == ISSUER
    assert claims["aud"] == [ISSUER]
    assert claims["sub"] == "system:serviceaccount:ns:robot"
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["kubernetes.io"] == {
        "namespace": "ns",
        "serviceaccount": {"name": "robot", "uid": world.account["metadata"]["uid"]},
        "pod": {"name": "p", "uid": pod["metadata"]["uid"]},
        "node": {"name": "n1", "uid": node["metadata"]["uid"]},
    }
    assert made["status"]["expirationTimestamp"] == "2023-11-14T23:13:20Z"


def test_a_kubelets_token_lives_a_year_and_warns_after_an_hour(world: World) -> None:
    world.pod()
    spec = {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}, "expirationSeconds": 3607}
    made = world.endpoints.request("ns", "robot", {"spec": spec})
    claims = claims_of(made["status"]["token"])
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607
    assert made["status"]["expirationTimestamp"] == "2023-11-14T23:13:27Z"


def test_tokens_die(world: World) -> None:
    pod = world.pod()
    token, _ = world.tokens.issue(world.account, bound=[("pod", pod)])
    assert world.tokens.authenticate(token) is not None
    world.reader.put(PODS, {**pod, "metadata": {**pod["metadata"], "uid": "another"}})
    assert world.tokens.authenticate(token) is None
    world.reader.put(PODS, pod)
    assert world.tokens.authenticate(token) is not None
    world.reader.drop(PODS, "p", "ns")
    assert world.tokens.authenticate(token) is None
    token, _ = world.tokens.issue(world.account)
    world.clock.now += 3599
    assert world.tokens.authenticate(token) is not None
    world.clock.now += 1
    assert world.tokens.authenticate(token) is None


def test_audiences(world: World) -> None:
    token, _ = world.tokens.issue(world.account, audiences=["vault"])
    assert world.tokens.authenticate(token) is None
    found = world.tokens.authenticate(token, ["vault", "other"])
    assert found is not None
    assert found[1] == ("vault",)


def test_forged_tokens_prove_nothing(world: World, tmp_path: Path) -> None:
    other = ServiceAccountTokens(
        issuer=ISSUER, key_path=ensure_signing_key(tmp_path / "k"), reader=world.reader, clock=world.clock
    )
    foreign, _ = other.issue(world.account)
    assert world.tokens.authenticate(foreign) is None
    good, _ = world.tokens.issue(world.account)
    head, body, signature = good.split(".")
    claims = {**claims_of(good), "sub": "system:serviceaccount:kube-system:root"}
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for token in (f"{head}.{changed}.{signature}", f"{none}.{body}.", f"{head}.{body}.", "a.b.c", "", "...."):
        assert world.tokens.authenticate(token) is None


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"expirationSeconds": 10}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 1 << 33}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nix"}}, 404, 'pods "nix" not found'),
        ({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}}, 400, "cannot bind token"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "x"}}, 409, "does not match"),
    ],
)
def test_token_requests_refused(world: World, spec: dict, code: int, words: str) -> None:
    world.pod()
    with pytest.raises(StatusError) as refusal:
        world.endpoints.request("ns", "robot", {"spec": spec})
    assert refusal.value.code == code
    assert words in refusal.value.message


async def test_token_review(world: World) -> None:
    token, _ = world.tokens.issue(world.account)
    status = (await world.endpoints.review({"spec": {"token": token}}))["status"]
    assert status["authenticated"] is True
    assert status["audiences"] == [ISSUER]
    assert status["user"]["username"] == "system:serviceaccount:ns:robot"
    assert (await world.endpoints.review({"spec": {"token": "x"}}))["status"] == {
        "user": {},
        "error": "[invalid bearer token]",
    }


def test_the_published_keys_verify_a_token(world: World) -> None:
    from joserfc import jwt
    from joserfc.jwk import KeySet

    token, _ = world.tokens.issue(world.account)
    published = KeySet.import_key_set(world.endpoints.jwks())  # type: ignore[arg-type]
    assert "d" not in world.endpoints.jwks()["keys"][0]
    assert jwt.decode(token, published, algorithms=["ES256"]).claims["sub"] == "system:serviceaccount:ns:robot"
    assert world.endpoints.openid_configuration()["issuer"] == ISSUER


def test_impersonation() -> None:
    root, asked = UserInfo("root"), []

    def check(user: UserInfo, info: RequestInfo) -> None:
        assert user is root
        asked.append((info.group, info.resource, info.subresource, info.namespace, info.name))
        if info.name == "system:masters":
            raise forbidden("", "groups", "system:masters", "no")

    def as_(**headers: str) -> UserInfo:
        lower = {k.replace("_", "-").lower(): v for k, v in headers.items()}
        return impersonate(root, Request("GET", "/", headers=lower), check)

    assert as_() is root
    user = as_(Impersonate_User="jane", Impersonate_Group="a, b", Impersonate_Uid="7")
    assert (user.name, user.groups, user.uid) == ("jane", ("a", "b", AUTHENTICATED_GROUP), "7")
    assert asked == [
        ("", "users", "", "", "jane"),
        ("", "groups", "", "", "a"),
        ("", "groups", "", "", "b"),
        ("authentication.k8s.io", "uids", "", "", "7"),
    ]
    asked.clear()
    user = as_(Impersonate_User="system:serviceaccount:ns:robot", Impersonate_Extra_scopes="x")
    assert asked == [
        ("", "serviceaccounts", "", "ns", "robot"),
        ("authentication.k8s.io", "userextras", "scopes", "", "x"),
    ]
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED_GROUP)
    assert user.extra == {"scopes": ("x",)}
    with pytest.raises(StatusError) as refusal:
        as_(Impersonate_User="jane", Impersonate_Group="system:masters")
    assert refusal.value.code == 403
    with pytest.raises(StatusError) as refusal:
        as_(Impersonate_Group="a")
    assert refusal.value.code == 400
