"""Users of an OpenID Connect issuer: a real one, over HTTPS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.authentication import AuthenticationConfig
from kumo.kubernetes.apiserver.authentication.oidc.configuration import read_configuration
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings, SettingsError, from_flags
from kumo.machinery.transport import HttpTransport
from support.apiserver import RunningApiServer, running_apiserver
from support.oidc import Issuer, running_issuer

pytestmark = pytest.mark.component

_REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    async with running_issuer(tmp_path) as running:
        yield running


def structured(tmp_path: Path, issuer: Issuer, **more: Any) -> ProviderSettings:
    """A provider from a file."""
    entry = {
        "issuer": {"url": issuer.url, "audiences": ["kumo", "other"], "audienceMatchPolicy": "MatchAny"},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        **more,
    }
    entry["issuer"] = {**entry["issuer"], "certificateAuthority": issuer.ca}
    file = tmp_path / "authentication.yaml"
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [entry]}
    file.write_text(yaml.safe_dump(document))
    return read_configuration(file).providers[0]


async def review(server: RunningApiServer, token: str) -> Object:
    """The status of the token's review."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    found: Object = (await server.client.request("POST", _REVIEW, body=body))["status"]
    return found


async def status_of(server: RunningApiServer, token: str) -> int:
    """The code of a request without a client certificate: the token alone proves who asks."""
    assert server.ca is not None
    plain = HttpTransport(server.url, ca=server.ca, token=token)
    try:
        return (await plain.request("GET", "/apis")).status
    finally:
        await plain.close()


async def test_names_groups_and_reasons(tmp_path: Path, issuer: Issuer) -> None:
    provider = from_flags(
        issuer.url,
        "kumo",
        username_claim="email",
        groups_claim="teams",
        groups_prefix="oidc:",
        ca=issuer.ca,
        required_claims={"hd": "example.com"},
    )
    config = AuthenticationConfig(providers=[provider])
    async with running_apiserver(tmp_path, https=True, authentication=config) as server:
        claims = {"aud": "kumo", "sub": "1", "email": "jane@example.com", "teams": ["a", "b"], "hd": "example.com"}
        good = issuer.token(**claims)
        found = await review(server, good)
        assert found["user"]["username"] == "jane@example.com"
        assert found["user"]["groups"] == ["oidc:a", "oidc:b", "system:authenticated"]
        assert await status_of(server, good) == 200
        for change, why in (
            ({"aud": "another"}, 'oidc: verify token: oidc: expected audience in ["kumo"] got ["another"]'),
            ({"exp": int(time.time()) - 5}, "oidc: verify token: oidc: token is expired"),
            ({"nbf": int(time.time()) + 4000}, "before the nbf (not before) time"),
            ({"email_verified": False}, "oidc: email not verified"),
            ({"hd": "elsewhere"}, "oidc: required claim hd value does not match. Got = elsewhere, want = example.com"),
            ({"email": 5}, 'oidc: parse username claims "email"'),
            ({"teams": 5}, 'oidc: parse groups claim "teams"'),
        ):
            token = issuer.token(**{**claims, **change})
            answer = await review(server, token)
            assert why in answer["error"], change
            assert await status_of(server, token) == 401
        without = {k: v for k, v in claims.items() if k != "hd"}
        assert "required claim hd not present" in (await review(server, issuer.token(**without)))["error"]
        foreign = issuer.token(**claims, iss="https://elsewhere")
        assert (await review(server, foreign))["error"] == "invalid bearer token"
        head, body, _ = good.split(".")
        assert "failed to verify signature" in (await review(server, f"{head}.{body}.AAAA"))["error"]


async def test_the_default_prefix_is_the_issuer(tmp_path: Path, issuer: Issuer) -> None:
    provider = from_flags(issuer.url, "kumo", ca=issuer.ca)
    async with running_apiserver(tmp_path, authentication=AuthenticationConfig(providers=[provider])) as server:
        found = await review(server, issuer.token(aud=["x", "kumo"], sub="jane"))
        assert found["user"]["username"] == f"{issuer.url}#jane"


async def test_keys_are_fetched_once_and_anew_when_they_change(tmp_path: Path, issuer: Issuer) -> None:
    provider = structured(tmp_path, issuer)
    async with running_apiserver(tmp_path, authentication=AuthenticationConfig(providers=[provider])) as server:
        for number in range(3):
            token = issuer.token(aud="kumo", sub=f"user-{number}")
            assert (await review(server, token))["user"]["username"] == f"user-{number}"
        assert issuer.asked.count("/keys") == 1
        issuer.rotate("second")
        deadline = time.monotonic() + 10
        # An unknown key is asked for once a second at most.
        while "error" in (found := await review(server, issuer.token(aud="kumo", sub="later"))):
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)
        assert found["user"]["username"] == "later"
        assert issuer.asked.count("/keys") == 2
        assert issuer.asked.count("/.well-known/openid-configuration") == 1


async def test_an_issuer_that_says_it_is_another(tmp_path: Path, issuer: Issuer) -> None:
    issuer.named = "https://somebody-else"
    provider = structured(tmp_path, issuer)
    async with running_apiserver(tmp_path, authentication=AuthenticationConfig(providers=[provider])) as server:
        found = await review(server, issuer.token(aud="kumo", sub="jane"))
        assert found["error"] == "[invalid bearer token, oidc: authenticator not initialized]"


async def test_expressions(tmp_path: Path, issuer: Issuer) -> None:
    provider = structured(
        tmp_path,
        issuer,
        claimMappings={
            "username": {"expression": "'ext:' + claims.sub"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"claim": "oid"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
        },
        claimValidationRules=[{"expression": "claims.tenant != ''", "message": "a tenant is needed"}],
        userValidationRules=[{"expression": "!user.username.startsWith('ext:system')", "message": "reserved"}],
    )
    async with running_apiserver(tmp_path, authentication=AuthenticationConfig(providers=[provider])) as server:
        claims = {"aud": "kumo", "sub": "jane", "roles": "a,b", "oid": "77", "tenant": "t1"}
        found = (await review(server, issuer.token(**claims)))["user"]
        assert (found["username"], found["uid"]) == ("ext:jane", "77")
        assert found["groups"] == ["a", "b", "system:authenticated"]
        assert found["extra"]["example.com/tenant"] == ["t1"]
        assert "a tenant is needed" in (await review(server, issuer.token(**{**claims, "tenant": ""})))["error"]
        assert "reserved" in (await review(server, issuer.token(**{**claims, "sub": "system:x"})))["error"]


def test_every_fault_of_a_configuration_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [
            {"issuer": {"url": "http://x?y", "audiences": []}, "claimMappings": {"username": {}}},
            {"issuer": {"url": "https://a", "audiences": ["b"], "certificateAuthority": "no"}, "claimMappings": 5},
        ],
        "anonymous": {"enabled": False, "conditions": [{"path": "/livez"}]},
        "surprise": 1,
    }
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(SettingsError) as fault:
        read_configuration(file)
    for words in (
        "URL scheme must be https",
        "URL must not contain a query",
        "jwt[0].issuer.audiences: Required value",
        "exactly one of claim and expression is required",
        "jwt[1]: not of the right form",
        "enabled should be set to true when conditions are defined",
        "unknown field 'surprise'",
    ):
        assert words in str(fault.value)
    for text in ("", "5", "kind: Other", "{"):
        file.write_text(text)
        with pytest.raises(SettingsError):
            read_configuration(file)
    with pytest.raises(SettingsError):
        from_flags("https://x", "c", algorithms=("HS256",))


async def test_a_changed_file_is_used_at_once(tmp_path: Path, issuer: Issuer) -> None:
    file = tmp_path / "authentication.yaml"
    first = structured(tmp_path, issuer)
    config = AuthenticationConfig(providers=[first], providers_file=file)
    async with running_apiserver(tmp_path, https=True, authentication=config) as server:
        token = issuer.token(aud="kumo", sub="jane")
        other = issuer.token(aud="kumo", sub="joe")

        async def until(name: str, token: str = token) -> None:
            async with asyncio.timeout(15):
                while (found := (await review(server, token)).get("user", {}).get("username")) != name:
                    await asyncio.sleep(0.05)
            assert found == name

        await until("jane")
        structured(tmp_path, issuer, claimMappings={"username": {"claim": "sub", "prefix": "p:"}})
        await until("p:jane")
        # A file with a mistake, and one whose issuer does not answer, change nothing.
        sound = file.read_text()
        for bad in ("jwt: [", sound.replace(issuer.url, "https://127.0.0.1:1")):
            file.write_text(bad)
            await asyncio.sleep(0.3)
            await until("p:joe", other)
        file.write_text(yaml.safe_dump({**yaml.safe_load(sound), "jwt": []}))
        async with asyncio.timeout(15):
            while (await review(server, token)).get("authenticated"):
                await asyncio.sleep(0.05)


async def test_groups_that_a_token_points_to(tmp_path: Path, issuer: Issuer) -> None:
    provider = from_flags(
        issuer.url, "kumo", username_claim="sub", username_prefix="-", groups_claim="teams", ca=issuer.ca
    )
    async with running_apiserver(
        tmp_path, https=True, authentication=AuthenticationConfig(providers=[provider])
    ) as server:

        def pointing(path: str, token: str = "of-claims", **more: Any) -> str:
            source = {"endpoint": f"{issuer.url}{path}", "access_token": token}
            found = {"_claim_names": {"teams": "there"}, "_claim_sources": {"there": source}, **more}
            return issuer.token(aud="kumo", sub="jane", **found)

        issuer.claims["/teams"] = issuer.token(aud="kumo", teams=["a", "b"])
        issuer.claims["/foreign"] = issuer.token(aud="others", teams=["root"])
        issuer.claims["/empty"] = issuer.token(aud="kumo")
        issuer.claims["/nonsense"] = "no token"
        found = await review(server, pointing("/teams"))
        assert found["user"]["groups"] == ["a", "b", "system:authenticated"]
        # What is in the token itself counts.
        own = await review(server, pointing("/teams", teams=["own"]))
        assert own["user"]["groups"] == ["own", "system:authenticated"]
        for token, why in (
            (
                pointing("/foreign"),
                'verify distributed claim token: oidc: verify token: oidc: expected audience in ["kumo"]',
            ),
            (pointing("/empty"), "did not contain claim: teams"),
            (pointing("/nonsense"), "getting untrusted issuer from endpoint"),
            (pointing("/teams", token="another"), "error while getting distributed claim JWT: 401"),
            (pointing("/nowhere"), "error while getting distributed claim JWT: 404"),
            (pointing("/teams", _claim_sources={}), "contained a source there missing in _claims_sources"),
            (pointing("/teams", _claim_names=["x"]), "error parsing distributed claim names"),
        ):
            refused = await review(server, token)
            assert not refused.get("user") and "could not expand distributed claims" in refused["error"], refused
            assert why in refused["error"], refused["error"]
