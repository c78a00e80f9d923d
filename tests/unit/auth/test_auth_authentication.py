"""Tokens, impersonation, and the order of proofs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from kumo.api.errors import StatusError, forbidden
from kumo.api.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.authentication import (
    ANONYMOUS_USER,
    Authenticator,
    Impersonation,
    ServiceAccountTokens,
    TokenRejected,
    is_impersonating,
)
from kumo.kubernetes.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from kumo.kubernetes.apiserver.tokens import TokenEndpoints
from kumo.machinery.http import HeaderLines, Request
from kumo.machinery.listener import user_of_certificate
from kumo.machinery.signing_keys import load_signing_key
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


def refusal_of(tokens: ServiceAccountTokens, token: str, *audiences: str) -> str:
    """Why the token proves nobody; empty for a token of another issuer."""
    try:
        assert tokens.authenticate(token, audiences) is None
    except TokenRejected as error:
        return str(error)
    return ""


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
    uid = pod["metadata"]["uid"]
    assert refusal_of(world.tokens, token) == (
        f"pod UID (another) does not match service account pod ref claim ({uid})"
    )
    world.reader.put(PODS, pod)
    assert world.tokens.authenticate(token) is not None
    world.reader.drop(PODS, "p", "ns")
    assert refusal_of(world.tokens, token) == "service account token has been invalidated"
    token, _ = world.tokens.issue(world.account)
    world.clock.now += 3660
    assert world.tokens.authenticate(token) is not None
    world.clock.now += 1
    assert refusal_of(world.tokens, token) == "service account token has expired"


def test_audiences(world: World) -> None:
    token, _ = world.tokens.issue(world.account, audiences=["vault"])
    assert refusal_of(world.tokens, token) == (
        f'token audiences ["vault"] is invalid for the target audiences ["{ISSUER}"]'
    )
    found = world.tokens.authenticate(token, ["vault", "other"])
    assert found is not None
    assert found[1] == ("vault",)


def test_forged_tokens_prove_nothing(world: World, tmp_path: Path) -> None:
    other = ServiceAccountTokens(
        issuer=ISSUER, key_path=ensure_signing_key(tmp_path / "k"), reader=world.reader, clock=world.clock
    )
    foreign, _ = other.issue(world.account)
    assert refusal_of(world.tokens, foreign) == "go-jose/go-jose: error in cryptographic primitive"
    good, _ = world.tokens.issue(world.account)
    head, body, signature = good.split(".")
    claims = {**claims_of(good), "sub": "system:serviceaccount:kube-system:root"}
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for token in (f"{head}.{changed}.{signature}", f"{none}.{body}.", f"{head}.{body}."):
        assert refusal_of(world.tokens, token) == "go-jose/go-jose: error in cryptographic primitive"
    for token in ("a.b.c", "", "....", "\udcff.x.y"):
        assert not refusal_of(world.tokens, token)


def test_the_signing_key_changes_and_old_tokens_live(world: World, tmp_path: Path, key: Path) -> None:
    old, _ = world.tokens.issue(world.account)
    new = ensure_signing_key(tmp_path / "new.key")
    tokens = ServiceAccountTokens(issuer=ISSUER, key_path=new, other_keys=[key], reader=world.reader, clock=world.clock)
    assert tokens.authenticate(old) is not None
    fresh, _ = tokens.issue(world.account)
    assert tokens.authenticate(fresh) is not None
    assert refusal_of(world.tokens, fresh)
    assert [k["kid"] for k in tokens.public_keys()["keys"]] == [tokens.key_id, world.tokens.key_id]


def test_tokens_of_secrets(world: World, key: Path) -> None:
    used: list[tuple[str, str]] = []
    tokens = ServiceAccountTokens(
        issuer=ISSUER, key_path=key, reader=world.reader, clock=world.clock, used=lambda *a: used.append(a)
    )
    about = "kubernetes.io/serviceaccount/"
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:ns:robot",
        f"{about}namespace": "ns",
        f"{about}secret.name": "s",
        f"{about}service-account.name": "robot",
        f"{about}service-account.uid": world.account["metadata"]["uid"],
    }
    token = load_signing_key(key).sign(claims)
    assert refusal_of(tokens, token) == "Token has been invalidated"
    secret = {"metadata": {"name": "s", "namespace": "ns"}, "data": {"token": "eA=="}}
    world.reader.put(SECRETS, secret)
    assert refusal_of(tokens, token) == "Token does not match server's copy"
    secret["data"]["token"] = base64.b64encode(token.encode()).decode()
    world.reader.put(SECRETS, secret)
    found = tokens.authenticate(token)
    assert found is not None
    assert (found.user.name, found.audiences, used) == ("system:serviceaccount:ns:robot", (ISSUER,), [("ns", "s")])
    assert "is invalid for the target audiences" in refusal_of(tokens, token, "vault")
    secret["metadata"]["labels"] = {"kubernetes.io/legacy-token-invalid-since": "2023-01-01"}
    world.reader.put(SECRETS, secret)
    assert "has been marked invalid" in refusal_of(tokens, token)
    world.reader.drop(SECRETS, "s", "ns")
    assert refusal_of(tokens, token) == "Token has been invalidated"


async def test_bootstrap_tokens() -> None:
    reader, clock = MemoryReader(), Clock()
    tokens = BootstrapTokens(reader, clock)

    def secret(**data: str) -> None:
        values = {
            "token-id": "abcdef",
            "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true",
            **{k.replace("_", "-"): v for k, v in data.items()},
        }
        made = {"metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}}
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in values.items()}
        reader.put(SECRETS, {**made, "type": "bootstrap.kubernetes.io/token", "data": encoded})

    token = "abcdef.0123456789abcdef"
    assert tokens.authenticate(token) is None
    secret(auth_extra_groups="system:bootstrappers:b,system:bootstrappers:a", expiration="2023-11-14T22:13:21Z")
    user = tokens.authenticate(token)
    assert user is not None
    assert user.name == "system:bootstrap:abcdef"
    groups = ("system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b", AUTHENTICATED_GROUP)
    assert user.groups == groups
    for wrong in ("abcdef.0123456789abcdeg", "abcdeg.0123456789abcdef", "abcdef.0", "", "a.b.c"):
        assert tokens.authenticate(wrong) is None
    for change in (
        {"auth_extra_groups": "system:masters"},
        {"usage_bootstrap_authentication": "false"},
        {"expiration": "2023-11-14T22:13:20Z"},
        {"expiration": "tomorrow"},
        {"token_id": "fedcba"},
    ):
        secret(**change)
        assert tokens.authenticate(token) is None, change


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
        "error": "invalid bearer token",
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
    root = UserInfo("root")
    asked: list[tuple[str, ...]] = []
    info = RequestInfo("list", "", "", "v1", "ns", "pods")

    def check(user: UserInfo, info: RequestInfo) -> None:
        assert user is root
        if info.verb != "impersonate":
            raise forbidden("", "", "", info.verb)
        asked.append((info.group, info.resource, info.subresource, info.namespace, info.name))
        if info.name == "system:masters":
            raise forbidden("", "groups", "system:masters", "no")

    def as_(**headers: str) -> UserInfo:
        lower = {k.replace("_", "-").lower(): v for k, v in headers.items()}
        request = Request("GET", "/", headers={**lower, "accept": "x"})
        found = Impersonation(check).impersonate(root, request, info)
        assert dict(request.headers) == {"accept": "x"}
        return found

    assert as_() is root
    user = as_(Impersonate_User="jane", Impersonate_Group=HeaderLines(["a", "b"]), Impersonate_Uid="7")
    assert (user.name, user.groups, user.uid) == ("jane", ("a", "b", AUTHENTICATED_GROUP), "7")
    assert asked == [
        ("", "users", "", "", "jane"),
        ("authentication.k8s.io", "uids", "", "", "7"),
        ("", "groups", "", "", "a"),
        ("", "groups", "", "", "b"),
    ]
    asked.clear()
    assert not is_impersonating({"accept": "x"})
    assert is_impersonating({"impersonate-extra-a": "x"})
    user = as_(**{"Impersonate_User": "system:serviceaccount:ns:robot", "Impersonate_Extra_scopes%2fall": "x"})
    assert asked == [
        ("", "serviceaccounts", "", "ns", "robot"),
        ("authentication.k8s.io", "userextras", "scopes/all", "", "x"),
    ]
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED_GROUP)
    assert user.extra == {"scopes/all": ("x",)}
    with pytest.raises(StatusError) as refusal:
        as_(Impersonate_User="jane", Impersonate_Group="system:masters")
    assert (refusal.value.code, "impersonate-on:user-info:list" in refusal.value.message) == (403, True)
    with pytest.raises(StatusError) as refusal:
        as_(Impersonate_Group="a")
    assert refusal.value.code == 400


def test_constrained_impersonation() -> None:
    """KEP-5284: who may be impersonated, and for what deeds, are rights of their own."""
    granted: set[tuple[str, ...]] = set()

    def check(user: UserInfo, info: RequestInfo) -> None:
        if (info.verb, info.group, info.resource, info.namespace, info.name) not in granted:
            raise forbidden(info.group, info.resource, info.name, f"cannot {info.verb}")

    judge = Impersonation(check)
    info = RequestInfo("list", "", "", "v1", "ns", "pods")

    bob = UserInfo("bob")

    def as_(name: str, user: UserInfo = bob, **more: str) -> UserInfo:
        headers = {"impersonate-user": name, **more}
        return judge.impersonate(user, Request("GET", "/", headers=headers), info)

    def refused(name: str, user: UserInfo = bob, **more: str) -> str:
        with pytest.raises(StatusError) as refusal:
            as_(name, user, **more)
        return refusal.value.message

    group = "authentication.k8s.io"
    assert "cannot impersonate-on:user-info:list" in refused("jane")
    granted.add(("impersonate-on:user-info:list", "", "pods", "ns", ""))
    assert "cannot impersonate:user-info" in refused("jane")
    granted.add(("impersonate:user-info", group, "users", "", "jane"))
    assert as_("jane").groups == (AUTHENTICATED_GROUP,)
    assert "system:masters group is not allowed" in refused("jane", **{"impersonate-group": "system:masters"})
    assert "cannot impersonate-on:arbitrary-node:list" in refused("system:node:n1")
    granted |= {
        ("impersonate-on:arbitrary-node:list", "", "pods", "ns", ""),
        ("impersonate:arbitrary-node", group, "nodes", "", "n1"),
    }
    assert as_("system:node:n1").groups == ("system:nodes", AUTHENTICATED_GROUP)
    assert "cannot impersonate" in refused("system:node:n2")
    granted |= {
        ("impersonate-on:associated-node:list", "", "pods", "ns", ""),
        ("impersonate:associated-node", group, "nodes", "", "*"),
    }
    agent = UserInfo("system:serviceaccount:ns:agent", (), "", {"authentication.kubernetes.io/node-name": ("n2",)})
    assert as_("system:node:n2", agent).groups == ("system:nodes", AUTHENTICATED_GROUP)
    assert "cannot impersonate" in refused("system:node:n3", agent)
