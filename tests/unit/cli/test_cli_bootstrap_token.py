"""Bootstrap tokens as text, as Secrets and in lists; and what a cluster says of itself by them."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from kumo.cli import bootstrap_token, discovery
from kumo.cli.cluster_info import cluster_info
from kumo.cli.instance import InstanceError
from kumo.kubernetes.controller_manager.bootstrap_tokens.signatures import signing_token
from kumo.kubernetes.controller_manager.bootstrap_tokens.signing import signed
from kumo.machinery import tls

pytestmark = pytest.mark.unit
TOKEN = bootstrap_token.Token("abcdef", "0123456789abcdef")


def test_tokens_are_read_and_made() -> None:
    assert bootstrap_token.parse("abcdef.0123456789abcdef") == TOKEN and str(TOKEN) == "abcdef.0123456789abcdef"
    assert bootstrap_token.parse(str(bootstrap_token.generate()))
    assert bootstrap_token.id_of("abcdef") == bootstrap_token.id_of(str(TOKEN)) == "abcdef"


@pytest.mark.parametrize("text", ["", "abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde", "a.b"])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(InstanceError, match="not of the form"):
        bootstrap_token.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h0m0s", 86400), ("90m", 5400), ("1.5h", 5400), ("0", 0), ("10s", 10)]
)
def test_durations_as_go_writes_them(text: str, seconds: float) -> None:
    assert bootstrap_token.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "1d", "-1h", "1h x"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InstanceError, match="is not a duration"):
        bootstrap_token.seconds_of(text)


def made(**more: Any) -> dict[str, Any]:
    given = {"ttl": 3600.0, "description": "for n2", "usages": ["signing", "authentication"], "groups": []} | more
    return bootstrap_token.secret(TOKEN, **given)


def test_a_token_as_a_secret_and_as_a_row() -> None:
    found = made(groups=["system:bootstrappers:x"])
    assert found["metadata"]["name"] == "bootstrap-token-abcdef" and signing_token(found, time.time()) == TOKEN
    row = bootstrap_token.row(found, time.time())
    assert row is not None and row.token == str(TOKEN) and row.ttl in ("59m", "1h")
    assert row[3:] == ("authentication,signing", "for n2", "system:bootstrappers:x")
    row = bootstrap_token.row(made(ttl=0.0, description="", usages=[]), time.time())
    assert row is not None and row[1:] == ("<forever>", "<never>", "<none>", "<none>", "<none>")
    assert bootstrap_token.row({"data": {}}, 0.0) is None


@pytest.mark.parametrize("wrong", [{"usages": ["everything"]}, {"groups": ["system:masters"]}])
def test_a_token_may_not_be_for_everything(wrong: dict[str, Any]) -> None:
    with pytest.raises(InstanceError):
        made(**wrong)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("192.0.2.1", "https://192.0.2.1:6443"),
        ("https://cp.example:7443/", "https://cp.example:7443"),
        ("https://[2001:db8::1]:6443", "https://[2001:db8::1]:6443"),
    ],
)
def test_addresses_of_servers(text: str, url: str) -> None:
    assert discovery.server_url(text) == url


@pytest.mark.parametrize("text", ["http://192.0.2.1", "https://192.0.2.1/path", "https://192.0.2.1:99999", "https://"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(InstanceError, match="is not the address of an API server"):
        discovery.server_url(text)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path: Path = tmp_path_factory.mktemp("ca")
    return tls.ensure_ca(path).pem


def told(ca: bytes, *secrets: dict[str, Any]) -> dict[str, Any]:
    (info,) = [o for _, o in cluster_info("https://192.0.2.1:6443", ca.decode()) if o["kind"] == "ConfigMap"]
    return {**info, "data": signed(info["data"], secrets, time.time())}


def test_the_signature_proves_the_ca(ca: bytes) -> None:
    info = told(ca, made())
    pinned = discovery.ca_hash(ca)
    assert discovery.proven_ca(info, TOKEN, []) == discovery.proven_ca(info, TOKEN, [pinned]) == ca
    with pytest.raises(InstanceError, match=f"another one than was named: it is {pinned}"):
        discovery.proven_ca(info, TOKEN, ["sha256:00"])
    with pytest.raises(LookupError):
        discovery.proven_ca(told(ca), TOKEN, [])
    with pytest.raises(InstanceError, match="the token is wrong"):
        discovery.proven_ca(info, bootstrap_token.Token("abcdef", "f" * 16), [])


def test_what_was_changed_is_not_believed(ca: bytes) -> None:
    info = told(ca, made())
    config = yaml.safe_load(info["data"]["kubeconfig"])
    config["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(b"mine").decode()
    with pytest.raises(InstanceError, match="the token is wrong"):
        discovery.proven_ca({"data": {**info["data"], "kubeconfig": yaml.safe_dump(config)}}, TOKEN, [])
    for data in ({}, {"kubeconfig": 7}, {"kubeconfig": None}):
        with pytest.raises(InstanceError, match="says nothing of itself"):
            discovery.proven_ca({"data": data}, TOKEN, [])


@pytest.mark.parametrize(
    "text", ["", "[]", "clusters: []", "clusters: [{cluster: {certificate-authority-data: eA==}}]"]
)
def test_nonsense_that_is_signed_is_one_clear_error(text: str) -> None:
    with pytest.raises(InstanceError, match="can't be understood"):
        discovery.proven_ca({"data": signed({"kubeconfig": text}, [made()], time.time())}, TOKEN, [])
