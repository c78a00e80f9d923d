from pathlib import Path

import pytest

from kumo.cli.instance import choose
from kumo.cli.own_address import of_an_interface

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ({}, ""),
        ({"lo": "127.0.0.1"}, ""),
        ({"lo": "127.0.0.1", "eth0": "192.0.2.7"}, "192.0.2.7"),
        ({"docker0": "172.17.0.1", "eth0": "192.0.2.7"}, "192.0.2.7"),  # hardware first
        ({"docker0": "172.17.0.1", "eth0": ""}, "172.17.0.1"),
        ({"kumo0": "10.244.1.1"}, ""),  # an instance's own bridge is no way to the machine
        ({"eth0": "169.254.3.4"}, ""),
    ],
)
def test_a_machine_without_a_default_route(addresses: dict[str, str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "eth0" / "device").mkdir(parents=True)
    assert of_an_interface(addresses, addresses.__getitem__, tmp_path) == expected


def test_a_machine_without_any_network_is_reached_at_its_pods_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kumo.cli.instance.node_address", lambda: "")
    instance = choose(tmp_path / "kumo", node_name="n")
    assert instance.address == instance.node_pod_cidr.replace(".0/24", ".1")
