"""CNI requests and answers, host port rules: values only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kumo.host.network import cni, rules
from kumo.host.network.config import PodNetworkConfig
from kumo.host.network.leases import Lease

pytestmark = pytest.mark.unit

CONFIG = PodNetworkConfig("kumo0", "10.244.1.0/24", "kumo-0-pods", Path("/x"), cluster_cidr="10.244.0.0/16")
HEAD = b"CNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_NETNS=/run/netns/a\nCNI_IFNAME=eth0\n"


def test_a_request_is_read() -> None:
    body = {
        "cniVersion": "1.0.0",
        "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "TCP", "hostIP": ""}]},
    }
    arguments = b"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web\n"
    request = cni.parse_request(HEAD + arguments + b"\n" + json.dumps(body).encode())
    assert (request.command, request.container, request.interface) == ("ADD", "c1", "eth0")
    assert request.pod == "default/web"
    assert request.ports == (cni.PortMapping(80, 8080),)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"CNI_COMMAND=ADD\n", cni.DECODING_FAILURE),
        (HEAD + b"\n{", cni.DECODING_FAILURE),
        (HEAD + b"\n[]", cni.INVALID_CONFIGURATION),
        (HEAD + b'\n{"cniVersion":"9.0.0"}', cni.INCOMPATIBLE_VERSION),
        (b"CNI_COMMAND=EXPLODE\n\n{}", cni.INVALID_ENVIRONMENT),
        (b"CNI_COMMAND=ADD\n\n{}", cni.INVALID_ENVIRONMENT),
        (HEAD.replace(b"eth0", b"a-name-that-is-too-long") + b"\n{}", cni.INVALID_ENVIRONMENT),
        (HEAD.replace(b"/run/netns/a", b"") + b"\n{}", cni.INVALID_ENVIRONMENT),
    ],
)
def test_a_bad_request_is_refused_with_the_specifications_code(raw: bytes, code: int) -> None:
    with pytest.raises(cni.CniError) as caught:
        cni.parse_request(raw)
    assert caught.value.code == code


def test_runtimes_may_write_the_names_of_port_mappings_with_capitals() -> None:
    mapping = {"HostPort": 53, "ContainerPort": 5353, "Protocol": "udp", "HostIP": "127.0.0.1"}
    body = {"cniVersion": "1.0.0", "runtimeConfig": {"portMappings": [mapping]}}
    assert cni.parse_request(HEAD + b"\n" + json.dumps(body).encode()).ports == (
        cni.PortMapping(53, 5353, "udp", "127.0.0.1"),
    )


@pytest.mark.parametrize(("version", "has_family"), [("0.4.0", True), ("1.0.0", False)])
def test_old_results_name_the_address_family(version: str, has_family: bool) -> None:
    request = cni.parse_request(HEAD + b'\n{"cniVersion":"%s"}' % version.encode())
    addresses = [cni.PodAddress("10.244.1.2", 24, "10.244.1.1"), cni.PodAddress("fd00::2", 64, "fd00::1")]
    found = cni.result(request, host_interface="kp1", host_mac="", mac="", addresses=addresses)
    assert [ip["address"] for ip in found["ips"]] == ["10.244.1.2/24", "fd00::2/64"]
    assert [ip.get("version") for ip in found["ips"]] == (["4", "6"] if has_family else [None, None])
    assert [route["dst"] for route in found["routes"]] == ["0.0.0.0/0", "::/0"]


def test_host_ports_of_all_addresses_and_of_one() -> None:
    ports = (cni.PortMapping(80, 8080), cni.PortMapping(53, 5353, "udp", "127.0.0.1"))
    lease = Lease("c", "eth0", "10.244.1.9", "/run/netns/a", "kp1", ports=ports)
    assert rules.port_elements("add", CONFIG, lease).splitlines() == [
        "add element ip kumo-0-pods host-ports { tcp . 80 : 10.244.1.9 . 8080 }",
        "add element ip kumo-0-pods host-address-ports { 127.0.0.1 . udp . 53 : 10.244.1.9 . 5353 }",
        "add element ip kumo-0-pods host-port-pods { 10.244.1.9 }",
    ]


def test_only_traffic_that_leaves_the_cluster_is_masqueraded() -> None:
    text = rules.ruleset(CONFIG, [])
    assert 'ip saddr 10.244.1.0/24 ip daddr != 10.244.0.0/16 oifname != "kumo0" masquerade' in text
    assert CONFIG.gateway == "10.244.1.1"
