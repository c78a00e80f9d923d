"""What nodes are told of their cluster, the addresses they are reached by, and when certificates are renewed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kumo.cli import addresses
from kumo.cli.instance import InstanceError, choose
from kumo.cli.join import _lapsed
from kumo.cli.node_rights import TOKEN_GROUP, ClusterSettings, SettingsError, node_objects
from kumo.cli.renewal import due, provisional, validity
from kumo.machinery import tls

pytestmark = pytest.mark.unit


def test_settings_are_read_as_they_were_written() -> None:
    settings = ClusterSettings("10.1.0.0/16", "10.96.0.0/16,fd00::/112", 2.5, "/somewhere", "ipv6")
    assert ClusterSettings.of(settings.data()) == settings
    assert ClusterSettings.of({"podCIDR": "10.1.0.0/16", "serviceCIDR": "10.96.0.0/16"}).lease_seconds == 10.0


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"podCIDR": "10.1.0.0/16"},
        {"podCIDR": "x", "serviceCIDR": "10.96.0.0/16"},
        {"podCIDR": "10.1.0.0/16", "serviceCIDR": "10.96.0.0/16", "leaseRenewSeconds": "0.001"},
        {"podCIDR": "10.1.0.0/16", "serviceCIDR": "10.96.0.0/16", "leaseRenewSeconds": "soon"},
    ],
)
def test_settings_that_can_not_be(data: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="kube-system/kumo-nodes can't be understood"):
        ClusterSettings.of(data)


def test_tokens_let_machines_ask_and_nothing_more() -> None:
    objects = [o for _, o in node_objects(ClusterSettings("10.1.0.0/16", "10.96.0.0/16"))]
    bound = {
        o["roleRef"]["name"]
        for o in objects
        if o["kind"].endswith("Binding") and any(s["name"] == TOKEN_GROUP for s in o["subjects"])
    }
    assert bound == {
        "kubeadm:get-nodes",
        "system:node-bootstrapper",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "kumo:node-settings",
    }


def test_addresses_and_graces_are_remembered(tmp_path: Path) -> None:
    instance = choose(tmp_path / "a", port=7000, node_name="n1")
    assert instance.url == "https://127.0.0.1:7000" and instance.lease_seconds == 10.0
    chosen = addresses.choose(
        instance,
        {"bind_address": "192.0.2.1", "advertise_address": "192.0.2.2", "node_monitor_grace_period": 8.0},
    )
    assert chosen.url == "https://192.0.2.1:7000" and chosen.address == "192.0.2.2" and chosen.lease_seconds == 2.0
    assert addresses.choose(chosen, {}) == chosen
    assert addresses.choose(chosen, {"bind_address": "0.0.0.0"}).bind_address == ""
    named = addresses.choose(chosen, {"tls_san": ("lb.example", "192.0.2.9")})
    assert named.tls_names == "lb.example,192.0.2.9"
    other = addresses.choose(chosen, {"cni_conf": str(tmp_path)})
    assert other.cni_conf == str(tmp_path) and addresses.choose(other, {"cni_conf": "none"}).cni_conf == ""


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"bind_address": "somewhere"}, "give an IPv4 address"),
        ({"advertise_address": "fd00::1"}, "give an IPv4 address"),
        ({"node_monitor_grace_period": 1.0}, "the shortest is 4 s"),
        ({"tls_san": ("not a name",)}, "neither a DNS name nor an address"),
        ({"cni_conf": "/does/not/exist"}, "there is no such directory"),
        ({"overlay_family": "ipv6"}, "add --service-cidr with an IPv4 and an IPv6 range"),
    ],
)
def test_what_can_not_be_chosen(tmp_path: Path, given: dict[str, Any], why: str) -> None:
    with pytest.raises(InstanceError, match=why):
        addresses.choose(choose(tmp_path / "a", port=7000, node_name="n1"), given)


def test_certificates_are_renewed_late_in_their_life(tmp_path: Path) -> None:
    assert due(1000.0, 2000.0, 0.7) == 1700.0
    path = tmp_path / "x.pem"
    assert validity(path) is None
    provisional(path, "n1")
    assert validity(path) is None, "it proves nothing"
    path.write_text("nonsense")
    assert validity(path) is None


def test_a_node_whose_certificate_has_ended_needs_a_token(tmp_path: Path) -> None:
    instance = choose(tmp_path / "a", port=7000, node_name="n1")
    ca = tls.ensure_ca(tmp_path)
    pem = instance.pki_dir / "kubelet-client.pem"
    pem.parent.mkdir(parents=True)
    for days, lapsed in ((30, False), (0, True)):
        pair = tls.ensure_certificate(ca, tmp_path, f"c{days}", common_name="system:node:n1", days=days)
        pem.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
        assert _lapsed(instance, "abcdef.0123456789abcdef") is lapsed
    with pytest.raises(InstanceError, match="this node's certificate has ended"):
        _lapsed(instance, "")
