from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kumo.kubevirt.virt_handler.cloud_init import CloudInitInvalid, Sources, seed, wanted_secrets

pytestmark = pytest.mark.unit


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def vmi(source: dict[str, Any], kind: str = "cloudInitNoCloud", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "vm", "namespace": "default", "uid": "u"},
        "spec": {"domain": {"firmware": {"uuid": "F-1"}}, "volumes": [{"name": "ci", kind: source}], **spec},
    }


def test_no_cloud() -> None:
    found = seed(vmi({"userData": "#cloud-config\n", "networkDataBase64": encode("version: 2")}), Sources())
    assert found is not None
    assert (found.volume, found.label) == ("ci", "cidata")
    assert found.path == "/var/run/libvirt/cloud-init-dir/default/vm/noCloud.iso"
    assert found.files == {
        "meta-data": b'{"instance-id":"F-1","local-hostname":"vm"}',
        "user-data": b"#cloud-config\n",
        "network-config": b"version: 2",
    }


def test_config_drive() -> None:
    found = seed(vmi({"userDataBase64": encode("x"), "networkData": "{}"}, "cloudInitConfigDrive"), Sources())
    assert found is not None
    assert (found.label, found.path.rpartition("/")[2]) == ("config-2", "configdrive.iso")
    assert json.loads(found.files["openstack/latest/meta_data.json"]) == {
        "instance_id": "vm.default",
        "hostname": "vm",
        "uuid": "F-1",
    }
    assert found.files["openstack/latest/user_data"] == b"x"
    assert found.files["openstack/latest/network_data.json"] == b"{}"


@pytest.mark.parametrize("key", ["userdata", "userData"])
def test_user_data_from_a_secret(key: str) -> None:
    machine = vmi({"secretRef": {"name": "s"}})
    assert wanted_secrets(machine) == {"s"}
    found = seed(machine, Sources({"s": {key: encode("hello")}}))
    assert found is not None
    assert found.files["user-data"] == b"hello"


def test_network_data_from_a_secret() -> None:
    machine = vmi({"userData": "a", "networkDataSecretRef": {"name": "n"}})
    found = seed(machine, Sources({"n": {"networkdata": encode("net")}}))
    assert found is not None
    assert found.files["network-config"] == b"net"


def test_ssh_keys_of_access_credentials() -> None:
    credential = {"sshPublicKey": {"source": {"secret": {"secretName": "keys"}}, "propagationMethod": {"noCloud": {}}}}
    machine = vmi({"userData": "a"}, accessCredentials=[credential])
    assert wanted_secrets(machine) == {"keys"}
    found = seed(machine, Sources({"keys": {"b": encode("ssh-2"), "a": encode("ssh-1")}}))
    assert found is not None
    assert json.loads(found.files["meta-data"])["public-keys"] == {"0": "ssh-1", "1": "ssh-2"}


@pytest.mark.parametrize(
    ("source", "secrets", "message"),
    [
        ({}, {}, "userDataBase64, userData, networkDataBase64 or networkData is required"),
        ({"userDataBase64": "!"}, {}, "not valid base64"),
        ({"secretRef": {"name": "s"}}, {}, "the secret s with cloud-init data does not exist"),
        ({"secretRef": {"name": "s"}}, {"s": {"other": ""}}, "none of userdata, userData"),
    ],
)
def test_what_is_missing_is_said(source: dict[str, Any], secrets: dict[str, Any], message: str) -> None:
    with pytest.raises(CloudInitInvalid, match=message):
        seed(vmi(source), Sources(secrets))


def test_no_volume_no_seed() -> None:
    machine = vmi({})
    machine["spec"]["volumes"] = []
    assert seed(machine, Sources()) is None
    assert wanted_secrets(machine) == set()
