"""Authenticating proxies with a CA of their own, and CA bundles that change while the server runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from multidict import CIMultiDict

from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS
from kumo.kubernetes.apiserver.authentication import AuthenticationConfig, FrontProxyConfig
from kumo.machinery import tls
from kumo.machinery.transport import HttpTransport
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component

_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_BODY = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
_HEADERS = CIMultiDict(
    [
        ("X-Remote-User", "zoe"),
        ("X-Remote-Uid", "77"),
        ("X-Remote-Group", "CN=a,O=b"),
        ("X-Remote-Group", "c"),
        ("X-Remote-Extra-Acme.com%2Fscope", "read"),
        ("X-Remote-Extra-Acme.com%2Fscope", "write, all"),
    ]
)


async def who(server: RunningApiServer, pair: tls.KeyPair, headers: Mapping[str, str]) -> Object:
    """The user that the server sees, or its refusal."""
    assert server.ca is not None
    transport = HttpTransport(server.url, ca=server.ca, cert=pair.cert, key=pair.key)
    try:
        sent = CIMultiDict(headers)
        sent["Content-Type"] = "application/json"
        found: Object = msgspec.json.decode((await transport.request("POST", _WHO, headers=sent, body=_BODY)).body)
    finally:
        await transport.close()
    user: Object = (found.get("status") or {}).get("userInfo") if found["kind"] != "Status" else found
    return user


async def test_proxies_speak_for_others(tmp_path: Path) -> None:
    pki = tmp_path / "proxies"
    pki.mkdir()
    proxies = tls.ensure_ca(pki, "front-proxy-ca", "front-proxy-ca")
    proxy = tls.ensure_client_certificate(proxies, pki, "proxy", "front-proxy-client")
    other = tls.ensure_client_certificate(proxies, pki, "other", "somebody")
    (tmp_path / "pki").mkdir()
    clients = tls.ensure_ca(tmp_path / "pki")
    config = AuthenticationConfig(
        client_ca=clients.files.cert,
        front_proxy=FrontProxyConfig(proxies.files.cert, allowed_names=("front-proxy-client",)),
    )
    trusted = [proxies.files.cert]
    async with running_apiserver(tmp_path, https=True, trusted=trusted, authentication=config) as server:
        assert await who(server, proxy, _HEADERS) == {
            "username": "zoe",
            "uid": "77",
            "groups": ["CN=a,O=b", "c", "system:authenticated"],
            "extra": {"acme.com/scope": ["read", "write, all"]},
        }
        # Each header of impersonation is one value, commas and all; of a name, the first counts.
        admin = tls.KeyPair(server.pki / "admin.crt", server.pki / "admin.key")
        wanted = [("Impersonate-User", "ann"), ("Impersonate-User", "bob"), ("Impersonate-Group", "CN=a,O=b")]
        wanted += [("Impersonate-Group", "c"), ("Impersonate-Extra-Scope", "x,y"), ("Impersonate-Extra-Scope", "z")]
        assert await who(server, admin, CIMultiDict(wanted)) == {
            "username": "ann",
            "groups": ["CN=a,O=b", "c", "system:authenticated"],
            "extra": {"scope": ["x,y", "z"]},
        }
        # A proxy's certificate is nobody's own, and other names of its CA are not believed.
        for pair, headers in ((proxy, {}), (other, _HEADERS)):
            refused = await who(server, pair, headers)
            assert refused["code"] == 403
            assert 'User "system:anonymous"' in refused["message"]
        # A client's certificate speaks for nobody else.
        jane = tls.ensure_client_certificate(clients, tmp_path, "jane", "jane")
        assert (await who(server, jane, _HEADERS))["username"] == "jane"
        told = await server.client.get(CONFIGMAPS, "extension-apiserver-authentication", "kube-system")
        assert told["data"]["requestheader-client-ca-file"] == proxies.files.cert.read_text()
        assert told["data"]["requestheader-allowed-names"] == '["front-proxy-client"]'
        assert told["data"]["client-ca-file"] == clients.files.cert.read_text()


async def test_a_bundle_is_followed(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
    first, second = tls.ensure_ca(one, common_name="first"), tls.ensure_ca(two, common_name="second")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(first.pem)
    a = tls.ensure_client_certificate(first, one, "a", "a")
    b = tls.ensure_client_certificate(second, two, "b", "b")
    config = AuthenticationConfig(client_ca=bundle)
    async with running_apiserver(tmp_path, https=True, trusted=[bundle], authentication=config) as server:
        assert (await who(server, a, {}))["username"] == "a"
        with pytest.raises((ConnectionError, OSError)):
            await who(server, b, {})
        bundle.write_bytes(first.pem + second.pem)
        assert (await who(server, b, {}))["username"] == "b"
        bundle.write_bytes(second.pem)
        assert (await who(server, b, {}))["username"] == "b"
        assert 'User "system:anonymous"' in (await who(server, a, {}))["message"]
        bundle.write_bytes(b"nonsense")
        assert (await who(server, b, {}))["username"] == "b"
