"""What names mean: the Kubernetes DNS specification as a table."""

from __future__ import annotations

from typing import Any, cast

import pytest
from dnslib import QTYPE, RCODE, DNSLabel, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from kumo.api.objects import Key, Object, key_of
from kumo.kubernetes.dns.catalog import Backend, backends_of, cluster_addresses
from kumo.kubernetes.dns.config import ClusterDnsConfig
from kumo.kubernetes.dns.forward import Forwarder
from kumo.kubernetes.dns.messages import format_error, pack, parse
from kumo.kubernetes.dns.server import Resolver
from kumo.kubernetes.dns.zone import Zone

pytestmark = pytest.mark.unit


class Lists:
    """A catalog from lists."""

    def __init__(self, services: list[Object], slices: list[Object]) -> None:
        self._services = {key_of(s): s for s in services}
        self._backends = [b for s in slices for b in backends_of(s)]

    def has_namespace(self, name: str) -> bool:
        return name in ("default", "shop")

    def service(self, key: Key) -> Object | None:
        return self._services.get(key)

    def backends(self, key: Key) -> list[Backend]:
        return [b for b in self._backends if b.service == key]

    def services_at(self, address: str) -> list[Object]:
        return [s for s in self._services.values() if address in cluster_addresses(s)]

    def backends_at(self, address: str) -> list[Backend]:
        return [b for b in self._backends if b.address == address]


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def endpoints(name: str, *found: dict[str, Any], family: str = "IPv4") -> Object:
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
        "addressType": family,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(found),
    }


PORTS = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
CATALOG = Lists(
    [
        service("web", clusterIP="10.96.0.20", ports=PORTS),
        service("db", clusterIP="None", ports=PORTS),
        service("empty", clusterIP="None", ports=PORTS),
        service("no-name", type="ExternalName", externalName=f"{'x' * 64}.example.org"),
        service("mirror", type="ExternalName", externalName="mirror.example.org"),
        service("both", clusterIP="10.96.0.21", clusterIPs=["10.96.0.21", "fd00:96::21"], ports=PORTS),
    ],
    [
        endpoints("web", {"addresses": ["10.244.0.4"]}),
        endpoints(
            "db",
            {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
            {"addresses": ["10.244.0.6"]},
            {"addresses": ["10.244.0.7"], "conditions": {"ready": False}},
        ),
        endpoints("db", {"addresses": ["fd00::5"], "hostname": "db-0"}, {"addresses": ["fd00::6"]}, family="IPv6"),
    ],
)
CONFIG = ClusterDnsConfig(
    "10.244.0.1", "10.96.0.10", "node1", own_ranges=("10.244.0.0/16", "10.96.0.0/16", "fd00::/64")
)
ZONE = Zone(CONFIG, CATALOG)


@pytest.mark.parametrize(
    ("name", "kind", "answers"),
    [
        ("web.shop.svc.cluster.local", "A", ["10.96.0.20"]),
        ("WEB.Shop.SVC.cluster.local", "A", ["10.96.0.20"]),
        ("web.shop.svc.cluster.local", "AAAA", []),
        ("db.shop.svc.cluster.local", "A", ["10.244.0.5", "10.244.0.6"]),
        ("db-0.db.shop.svc.cluster.local", "A", ["10.244.0.5"]),
        ("10-244-0-6.db.shop.svc.cluster.local", "A", ["10.244.0.6"]),
        ("both.shop.svc.cluster.local", "A", ["10.96.0.21"]),
        ("both.shop.svc.cluster.local", "AAAA", ["fd00:96::21"]),
        ("db.shop.svc.cluster.local", "AAAA", ["fd00::5", "fd00::6"]),
        ("db-0.db.shop.svc.cluster.local", "AAAA", ["fd00::5"]),
        ("fd00--6.db.shop.svc.cluster.local", "AAAA", ["fd00::6"]),
        ("fd00--9.shop.pod.cluster.local", "AAAA", ["fd00::9"]),
        ("fd00--9.shop.pod.cluster.local", "A", []),
        ("_http._tcp.both.shop.svc.cluster.local", "SRV", ["0 100 80 both.shop.svc.cluster.local."]),
        ("_http._tcp.web.shop.svc.cluster.local", "SRV", ["0 100 80 web.shop.svc.cluster.local."]),
        (
            "_http._tcp.db.shop.svc.cluster.local",
            "SRV",
            [f"0 33 8080 {n}.db.shop.svc.cluster.local." for n in ("10-244-0-6", "db-0", "fd00--6")],
        ),
        ("mirror.shop.svc.cluster.local", "CNAME", ["mirror.example.org."]),
        ("10-244-0-9.shop.pod.cluster.local", "A", ["10.244.0.9"]),
        ("shop.svc.cluster.local", "A", []),
        ("svc.cluster.local", "A", []),
        ("cluster.local", "A", []),
        ("cluster.local", "NS", ["ns.dns.cluster.local."]),
        ("ns.dns.cluster.local", "A", ["10.96.0.10"]),
        ("dns-version.cluster.local", "TXT", ['"1.1.0"']),
        ("20.0.96.10.in-addr.arpa", "PTR", ["web.shop.svc.cluster.local."]),
        ("5.0.244.10.in-addr.arpa", "PTR", ["db-0.db.shop.svc.cluster.local."]),
        (f"{'.'.join('5' + '0' * 27)}.0.0.d.f.ip6.arpa", "PTR", ["db-0.db.shop.svc.cluster.local."]),
    ],
)
def test_answers(name: str, kind: str, answers: list[str]) -> None:
    found = ZONE.answer(name, getattr(QTYPE, kind))
    assert found.code == RCODE.NOERROR
    assert sorted(str(r.rdata) for r in found.answers) == answers
    assert all(str(r.rname) == f"{name}." for r in found.answers)  # the name as it was asked


@pytest.mark.parametrize(
    "name",
    [
        "none.shop.svc.cluster.local",
        "web.nowhere.svc.cluster.local",
        "nowhere.svc.cluster.local",
        "empty.shop.svc.cluster.local",
        "db-1.db.shop.svc.cluster.local",
        "_https._tcp.web.shop.svc.cluster.local",
        "http.tcp.web.shop.svc.cluster.local",
        "a.b.c.web.shop.svc.cluster.local",
        "10-244-0-9.nowhere.pod.cluster.local",
        "not-an-address.shop.pod.cluster.local",
        "elsewhere.cluster.local",
        "99.0.244.10.in-addr.arpa",
    ],
)
def test_names_that_do_not_exist(name: str) -> None:
    assert ZONE.answer(name, QTYPE.A).code == RCODE.NXDOMAIN


@pytest.mark.parametrize("kind", [QTYPE.A, QTYPE.CNAME, QTYPE.TXT])
def test_an_external_name_that_is_no_name_can_not_be_answered(kind: int) -> None:
    found = ZONE.answer("no-name.shop.svc.cluster.local", kind)
    assert (found.code, found.answers, found.alias) == (RCODE.SERVFAIL, [], "")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cluster.local", True),
        ("x.cluster.local", True),
        ("xcluster.local", False),
        ("example.org", False),
        ("1.0.244.10.in-addr.arpa", True),
        ("1.1.1.1.in-addr.arpa", False),
        (f"{'.'.join('9' + '0' * 27)}.0.0.d.f.ip6.arpa", True),
        (f"{'.'.join('9' + '0' * 27)}.0.0.2.0.ip6.arpa", False),
        ("10.in-addr.arpa", False),
    ],
)
def test_what_is_never_asked_upstream(name: str, ours: bool) -> None:
    assert ZONE.owns(name) is ours


def test_a_service_records_targets_come_with_their_addresses() -> None:
    found = ZONE.answer("_http._tcp.db.shop.svc.cluster.local", QTYPE.SRV)
    assert {str(r.rdata) for r in found.additional} == {"10.244.0.5", "10.244.0.6", "fd00::5", "fd00::6"}


def test_a_target_of_two_families_comes_with_both_addresses() -> None:
    found = ZONE.answer("_http._tcp.both.shop.svc.cluster.local", QTYPE.SRV)
    assert sorted(str(r.rdata) for r in found.additional) == ["10.96.0.21", "fd00:96::21"]


def test_a_negative_answer_is_the_word_of_the_zone_that_was_asked() -> None:
    names = ("none.shop.svc.cluster.local", "99.0.244.10.in-addr.arpa", "9.9.ip6.ARPA")
    assert [str(ZONE.soa(n).rname) for n in names] == ["cluster.local.", "in-addr.arpa.", "ip6.arpa."]


def test_what_clients_make_of_search_paths_does_not_exist() -> None:
    # With ndots:5 each name is tried with every suffix first; musl takes an empty answer for the last word.
    suffixes = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
    for name in ("example.org", "web.shop.svc.cluster.local", "www.example.org", "web.shop"):
        codes = {s: ZONE.answer(f"{name}.{s}", QTYPE.A).code for s in suffixes}
        assert {s for s, code in codes.items() if code == RCODE.NOERROR} == (
            {"svc.cluster.local"} if name == "web.shop" else set()
        )


LABELS = st.binary(min_size=1, max_size=63)


@given(st.lists(LABELS, max_size=3), st.sampled_from(["", "svc", "pod"]), st.integers(0, 65535))
def test_no_name_or_type_is_too_strange(labels: list[bytes], below: str, kind: int) -> None:
    ending = [part.encode() for part in (below, "cluster", "local") if part]
    query = DNSRecord(q=DNSQuestion(DNSLabel([*labels, *ending]), kind))
    read = parse(bytes(query.pack()))
    if read is None:  # bytes that no name has
        assert DNSRecord.parse(format_error(bytes(query.pack()))).header.rcode == RCODE.FORMERR
        return
    resolver = Resolver(ZONE, cast(Forwarder, None), lambda: True)
    reply = resolver.now(read)
    assert reply is not None
    assert reply.header.rcode in (RCODE.NOERROR, RCODE.NXDOMAIN)
    again = DNSRecord.parse(pack(reply, read, datagram=True))
    assert again.q.qname.label == query.q.qname.label  # as it was asked, letter by letter


def test_thousand_endpoints_are_cut_for_datagrams_and_whole_by_tcp() -> None:
    found = [{"addresses": [f"10.244.{n // 250}.{n % 250 + 1}"]} for n in range(1000)]
    lists = Lists([service("many", clusterIP="None", ports=PORTS)], [endpoints("many", *found)])
    resolver = Resolver(Zone(CONFIG, lists), cast(Forwarder, None), lambda: True)
    query = DNSRecord.question("many.shop.svc.cluster.local")
    answers = [resolver.now(query), resolver.now(query)]
    assert answers[0] is not None
    assert answers[1] is not None
    cut = DNSRecord.parse(pack(answers[0], query, datagram=True))
    assert (cut.header.tc, 25 <= len(cut.rr) < 32) == (1, True)
    whole = DNSRecord.parse(pack(answers[1], query, datagram=False))
    assert (whole.header.tc, len(whole.rr)) == (0, 1000)
