"""What Ingresses ask for: ways, servers in slots, certificates, haproxy's words."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kumo.api.objects import Key, Object
from kumo.kubernetes.ingress.backends import Backend, Server, commands, place, port_of, protocol, servers
from kumo.kubernetes.ingress.certificates import BadCertificate, Certificate, certificate, listing
from kumo.kubernetes.ingress.config import IngressConfig
from kumo.kubernetes.ingress.engine import processes
from kumo.kubernetes.ingress.names import Resolved, is_allowed, judged
from kumo.kubernetes.ingress.routes import Rule, Target, is_ours, own_classes, routing
from kumo.kubernetes.ingress.settings import files, maps
from kumo.kubernetes.ingress.wishes import Wishes, wishes_of

pytestmark = pytest.mark.unit

WEB = Target("n", "web", "80")


def backend(service: str, port: int | str = 80) -> dict[str, Any]:
    return {"service": {"name": service, "port": {"number" if isinstance(port, int) else "name": port}}}


def ingress(name: str, *paths: tuple[str, str, str, str], age: int = 0, **spec: Any) -> Object:
    """`paths` are host, path, type and service."""
    rules = []
    for host, path, kind, service in paths:
        http = {"paths": [{"path": path, "pathType": kind, "backend": backend(service)}]}
        rules.append({"host": host, "http": http} if host else {"http": http})
    meta = {"name": name, "namespace": "n", "creationTimestamp": f"2026-01-01T00:00:{age:02}Z"}
    return {"metadata": meta, "spec": {"ingressClassName": "kumo", "rules": rules, **spec}}


def ways(*ingresses: Object) -> set[tuple[str, str, bool, str]]:
    return {(r.host, r.path, r.exact, r.target.service) for r in routing(ingresses).rules}


def test_classes() -> None:
    classes = own_classes(
        [
            {"metadata": {"name": "kumo"}, "spec": {"controller": "kumo.dev/ingress"}},
            {"metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}},
        ]
    )
    assert classes == {"kumo"}
    assert is_ours(ingress("a"), classes)
    assert not is_ours({"metadata": {}, "spec": {"ingressClassName": "nginx"}}, classes)
    assert not is_ours({"metadata": {}, "spec": {}}, classes)
    assert is_ours({"metadata": {"annotations": {"kubernetes.io/ingress.class": "kumo"}}, "spec": {}}, classes)
    gone = ingress("a")
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_ours(gone, classes)


def test_rules_and_default_backends() -> None:
    found = ways(
        ingress("a", ("X.com", "/p", "Prefix", "p"), ("x.com", "/e", "Exact", "e"), defaultBackend=backend("d"))
    )
    assert found == {("x.com", "/p", False, "p"), ("x.com", "/e", True, "e"), ("x.com", "/", False, "d")}
    assert ways(ingress("a", defaultBackend=backend("d"))) == {("", "/", False, "d")}
    own = ingress("a", ("x.com", "/", "Prefix", "p"), defaultBackend=backend("d"))
    assert ways(own) == {("x.com", "/", False, "p")}


def test_the_older_ingress_keeps_a_way_that_two_want() -> None:
    younger = ingress("a", ("x.com", "/p/", "Prefix", "young"), age=2)
    older = ingress("b", ("x.com", "/p", "Prefix", "old"), age=1)
    assert ways(younger, older) == {("x.com", "/p", False, "old")}
    found = routing([younger, older])
    assert found.troubles == {Key("n", "a"): ('"x.com/p/" is led elsewhere by an older Ingress',)}


def test_resources_as_backends_are_told_of() -> None:
    spec = {"resource": {"apiGroup": "x", "kind": "Y", "name": "z"}}
    found = routing([ingress("a", defaultBackend=spec)])
    text = 'backends other than Services are not supported: Y "z" is led to by no rule'
    assert (found.rules, found.troubles) == ((), {Key("n", "a"): (text,)})


def test_secrets_of_several_ingresses() -> None:
    one = ingress("a", tls=[{"secretName": "s", "hosts": ["A.com"]}, {"hosts": ["no.com"]}])
    two = ingress("b", tls=[{"secretName": "s", "hosts": ["b.com", "a.com"]}])
    assert routing([one, two]).secrets == {Key("n", "s"): ("a.com", "b.com")}


def test_ports() -> None:
    service = {"spec": {"ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443, "appProtocol": "https"}]}}
    assert port_of(service, Target("n", "s", "tls")) == service["spec"]["ports"][1]
    assert port_of(service, Target("n", "s", "80")) == service["spec"]["ports"][0]
    assert port_of(service, Target("n", "s", "81")) is None
    assert [protocol(p) for p in service["spec"]["ports"]] == ["http", "https"]


def piece(*endpoints: tuple[str, bool, bool, bool]) -> Object:
    """`endpoints` are address, ready, serving, terminating."""
    listed = [
        {"addresses": [a], "conditions": {"ready": r, "serving": s, "terminating": t}} for a, r, s, t in endpoints
    ]
    return {"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": listed}


def test_servers() -> None:
    port = {"name": "http", "port": 80}
    mixed = piece(("10.0.0.1", True, True, False), ("10.0.0.2", False, True, True), ("10.0.0.3", False, False, False))
    assert servers(port, [mixed]) == (Server("10.0.0.1", 8080), Server("10.0.0.2", 8080, draining=True))
    ending = piece(("10.0.0.2", False, True, True), ("10.0.0.3", False, False, True))
    assert servers(port, [ending]) == (Server("10.0.0.2", 8080),)
    assert servers({"name": "other", "port": 80}, [mixed]) == ()


def test_servers_keep_their_slots() -> None:
    a, b, c = (Server(f"10.0.0.{i}", 80) for i in range(3))
    first = place((), [a, b])
    assert (len(first), first[:2]) == (8, (a, b))
    second = place(first, [b, c])
    assert second[:3] == (c, b, None)
    draining = Server(b.address, 80, draining=True)
    assert place(second, [draining, c])[:2] == (c, draining)
    assert len(place(second, [Server("10.0.1.1", n) for n in range(9)])) == 16


def test_who_comes_is_told_before_who_goes() -> None:
    a, b = Server("10.0.0.1", 80), Server("10.0.0.2", 80)
    assert commands("x", (a, None, None), (None, b, None)) == [
        "set server x/s1 addr 10.0.0.2 port 80",
        "set server x/s1 state ready",
        "set server x/s0 state maint",
    ]
    assert commands("x", (a,), (Server(a.address, 80, draining=True),)) == ["set server x/s0 state drain"]
    assert commands("x", (a,), (b,)) == ["set server x/s0 addr 10.0.0.2 port 80", "set server x/s0 state ready"]
    assert commands("x", (a,), (a,)) == []


def test_maps_hold_a_path_in_one_word() -> None:
    rules = [
        Rule("x.com", "/a b\n* evil", True, WEB),
        Rule("", "/", False, WEB),
        Rule("*.y.com", "/p/", False, WEB),
    ]
    exact, prefixes = maps(rules)
    assert exact == "x.com|/a%20b%0A*%20evil n:web:80\n"
    assert prefixes == "*.y.com|/p/ n:web:80\n-|/ n:web:80\n"


def test_the_configuration_holds_servers_and_free_slots() -> None:
    config = IngressConfig("node", "10.0.0.1", Path("/d"))
    slots = (Server("10.1.0.1", 80), Server("10.1.0.2", 80, draining=True), Server("fd00::1", 80), None)
    text = files(config, [], {WEB: Backend("https", slots)})["haproxy.cfg"]
    assert "bind 10.0.0.1:10443 ssl crt-list /d/certificates.list" in text
    assert text.endswith(
        "backend n:web:80\n"
        "    balance roundrobin\n"
        "    server s0 10.1.0.1:80 ssl verify none\n"
        "    server s1 10.1.0.2:80 ssl verify none disabled\n"
        "    server s2 [fd00::1]:80 ssl verify none\n"
        "    server s3 127.0.0.1:9 ssl verify none disabled\n"
    )


def pair(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None) -> tuple[bytes, bytes]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(1))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), pem


def secret(crt: bytes, key: bytes) -> Object:
    data = {"tls.crt": base64.b64encode(crt).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"metadata": {"name": "s", "namespace": "n"}, "type": "kubernetes.io/tls", "data": data}


def test_certificates() -> None:
    crt, key = pair()
    found = certificate(secret(crt, key), ("a.com",))
    assert found == Certificate(crt + key, ("a.com",))
    assert listing("/d", {Key("n", "s"): found}, "default.pem") == "/d/default.pem\n/d/n_s.pem a.com\n"
    other = pair()[1]
    weak = pair(rsa.generate_private_key(65537, 1024))
    for bad, text in [
        (None, "no such secret"),
        ({"data": {"tls.crt": "?"}}, "no base64"),
        (secret(b"x", key), "tls.crt is no certificate"),
        (secret(crt, b"x"), "tls.key is no private key"),
        (secret(crt, other), "tls.key is not the key of tls.crt"),
        (secret(*weak), "OpenSSL refuses it: EE_KEY_TOO_SMALL"),
    ]:
        with pytest.raises(BadCertificate, match=text):
            certificate(bad, ())


def test_what_show_proc_shows() -> None:
    shown = (
        "#<PID> <type> <reloads> <uptime> <version>\n12 master 2 0d00h00m09s 2.6\n"
        "# workers\n15 worker 0 0d00h00m01s 2.6\n# old workers\n13 worker 1 0d00h00m09s 2.6\n# programs\n"
    )
    assert processes(shown) == (12, [15])
    assert processes("") == (None, [])


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.0.0.1", True),
        ("203.0.113.9", True),
        ("fd00::1", True),
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", True),
        ("169.254.169.254", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("10.1.0.1", False),  # haproxy itself
    ],
)
def test_where_names_may_lead(address: str, allowed: bool) -> None:
    assert is_allowed(address, ["10.1.0.1"]) is allowed


def test_names_with_allowed_and_refused_addresses() -> None:
    found = judged("x.org", ["10.0.0.2", "127.0.0.1", "10.0.0.1", "10.0.0.2"])
    assert found == Resolved(("10.0.0.1", "10.0.0.2"), 'the name "x.org" means 127.0.0.1, where no Ingress may lead')
    assert len(judged("x.org", [f"10.0.1.{n}" for n in range(99)]).addresses) == 16


def test_wishes() -> None:
    def asked(tls: list[dict[str, Any]], **annotations: str) -> tuple[Wishes, list[str]]:
        amiss: list[str] = []
        named = {f"ingress.kumo.dev/{k.replace('_', '-')}": v for k, v in annotations.items()}
        return wishes_of({"metadata": {"annotations": named}, "spec": {"tls": tls}}, amiss), amiss

    plain, _ = asked([])
    assert not plain.secure("a.com") and not plain.secure("")
    named, _ = asked([{"secretName": "s", "hosts": ["A.com", "*.b.com"]}])
    assert all(named.secure(h) for h in ("a.com", "x.b.com", "*.b.com"))
    assert not any(named.secure(h) for h in ("y.x.b.com", "b.com", ""))
    everybody, _ = asked([{"secretName": "s"}])
    assert everybody.secure("a.com") and everybody.secure("")
    assert not asked([{"secretName": "s"}], ssl_redirect="False")[0].secure("a.com")
    assert asked([], ssl_redirect="true")[0].secure("a.com")
    speeches = {"http": "http", "HTTPS": "https", "grpc": "h2c", "H2C": "h2c", "GRPCS": "h2"}
    assert {k: asked([], backend_protocol=k)[0].speech for k in speeches} == speeches
    wrong, amiss = asked([], backend_protocol="FCGI", ssl_redirect="")
    assert (wrong, len(amiss)) == (Wishes(), 2)


def test_a_service_spoken_to_in_two_ways_is_two_backends() -> None:
    speaks = ingress("b", ("y.com", "/", "Prefix", "web"))
    speaks["metadata"]["annotations"] = {"ingress.kumo.dev/backend-protocol": "HTTPS"}
    assert {t.title for t in routing([ingress("a", ("x.com", "/", "Prefix", "web")), speaks]).targets} == {
        "n:web:80",
        "n:web:80:https",
    }
