"""Decisions without I/O: versions, checks, patches, formats, policies, names."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumo.openstack.common import names, paging
from kumo.openstack.common.errors import ApiError, glance_fault, keystone_fault, nova_fault
from kumo.openstack.common.microversions import Range, Version, negotiate
from kumo.openstack.common.validate import check, complaints
from kumo.openstack.glance import formats
from kumo.openstack.glance.patch import patched
from kumo.openstack.keystone.kinds import with_implied
from kumo.openstack.keystone.tokens import is_ours
from kumo.openstack.nova.flavors import default_flavors, flavor_of
from kumo.openstack.nova.servers.build import Wanted, hostname_for, machine, object_name, secrets_for

pytestmark = pytest.mark.unit
SERVED = Range("compute", Version(2, 1), Version(2, 96))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, (2, 1)),
        ({"openstack-api-version": "compute 2.96"}, (2, 96)),
        ({"openstack-api-version": "compute latest"}, (2, 96)),
        ({"openstack-api-version": "volume 3.71, compute 2.47"}, (2, 47)),
        ({"x-openstack-nova-api-version": "2.26"}, (2, 26)),
        ({"openstack-api-version": "compute 2.9", "x-openstack-nova-api-version": "2.26"}, (2, 9)),
        ({"openstack-api-version": "compute 2.97"}, 406),
        ({"openstack-api-version": "compute 2.0"}, 406),
        ({"openstack-api-version": "compute 3.1"}, 406),
        ({"openstack-api-version": "compute 2"}, 400),
        ({"openstack-api-version": "compute 2.01"}, 400),
        ({"openstack-api-version": "compute -2.1"}, 400),
    ],
)
def test_microversions(headers: dict[str, str], found: Any) -> None:
    if isinstance(found, tuple):
        assert negotiate(headers, SERVED) == found
        return
    with pytest.raises(ApiError) as refused:
        negotiate(headers, SERVED)
    assert refused.value.status == found


@pytest.mark.parametrize(
    ("value", "schema", "message"),
    [
        ({}, {"required": ["name"]}, "'name' is a required property"),
        ({"a": 1, "b": 2}, {"additionalProperties": False},
         "Additional properties are not allowed ('a', 'b' were unexpected)"),
        ({"a": 1}, {"properties": {}, "additionalProperties": False},
         "Additional properties are not allowed ('a' was unexpected)"),
        ({"n": True}, {"properties": {"n": {"type": "integer"}}},
         "Invalid input for field/attribute n. Value: True. True is not of type 'integer'"),
        ({"n": 1}, {"properties": {"n": {"type": ["null", "string"]}}},
         "Invalid input for field/attribute n. Value: 1. 1 is not of type 'null', 'string'"),
        ({"n": 0}, {"properties": {"n": {"minimum": 1}}},
         "Invalid input for field/attribute n. Value: 0. 0 is less than the minimum of 1"),
        ({"n": "xx"}, {"properties": {"n": {"maxLength": 1}}},
         "Invalid input for field/attribute n. Value: xx. 'xx' is too long"),
        (["x"], {"items": {"enum": ["a"]}}, "Invalid input for field/attribute 0. Value: x. 'x' is not one of ['a']"),
    ],
)  # fmt: skip
def test_checks_speak_as_json_schema_does(value: Any, schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        check(value, schema)
    assert (refused.value.status, refused.value.message) == (400, message)


@given(JSON, JSON)
def test_checks_survive_anything(value: Any, other: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "pattern": "x"}}}}
    list(complaints({"a": value, "b": other}, schema))
    list(complaints(value, schema))


@given(JSON)
def test_patches_survive_anything(operations: Any) -> None:
    try:
        patched({"name": "x", "tags": []}, operations)
    except ApiError as error:
        assert error.status in (400, 403, 409)


def test_patches() -> None:
    fields = {"name": "x", "a": "1"}
    operations = [
        {"op": "replace", "path": "/name", "value": "y"},
        {"op": "add", "path": "/b~1c", "value": "2"},
        {"op": "remove", "path": "/a"},
    ]
    assert patched(fields, operations) == {"name": "y", "b/c": "2"}
    assert fields == {"name": "x", "a": "1"}
    for operation, status in (
        ({"op": "replace", "path": "/nope", "value": "1"}, 409),
        ({"op": "remove", "path": "/nope"}, 409),
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "move", "path": "/name"}, 400),
        ({"op": "add", "path": "name", "value": "1"}, 400),
        ({"op": "add", "path": "/a/b", "value": "1"}, 400),
    ):
        with pytest.raises(ApiError) as refused:
            patched(fields, [operation])
        assert refused.value.status == status, operation


def qcow2(virtual: int = 1 << 30, backing: int = 0, incompatible: int = 0, version: int = 3) -> bytes:
    head = b"QFI\xfb" + struct.pack(">IQIIQ", version, backing, 0, 16, virtual)
    return head.ljust(72, b"\x00") + struct.pack(">Q", incompatible).ljust(100, b"\x00")


def test_disks_are_what_they_say() -> None:
    assert formats.inspect(qcow2(), 200, "qcow2") == 1 << 30
    assert formats.inspect(qcow2(version=2), 200, "qcow2") == 1 << 30
    assert formats.inspect(b"\x00" * 512, 512, "raw") == 512
    for head, declared in (
        (qcow2(backing=512), "qcow2"),
        (qcow2(backing=512), "raw"),
        (qcow2(incompatible=4), "qcow2"),
        (qcow2(version=9), "qcow2"),
        (qcow2()[:30], "qcow2"),
        (qcow2(), "raw"),
        (b"plain", "qcow2"),
        (b"KDMV", "raw"),
    ):
        with pytest.raises(formats.BadDisk):
            formats.inspect(head, 200, declared)


@given(st.binary(max_size=200))
def test_any_head_is_judged(head: bytes) -> None:
    for kind in ("raw", "qcow2"):
        for content in (head, b"QFI\xfb" + head):
            try:
                formats.inspect(content, len(content), kind)
            except formats.BadDisk:
                continue


def test_roles_bring_lesser_ones() -> None:
    assert with_implied({"admin"}) == {"admin", "manager", "member", "reader"}
    assert with_implied({"reader"}) == {"reader"}
    assert with_implied({"own"}) == {"own"}


@given(st.text())
def test_foreign_tokens_are_left_alone(text: str) -> None:
    assert not is_ours(text)


def test_bodies_of_refusals() -> None:
    assert keystone_fault(404, "x").body == b'{"error":{"code":404,"message":"x","title":"Not Found"}}'
    assert nova_fault(406, "x").body == b'{"computeFault":{"code":406,"message":"x"}}'
    assert nova_fault(413, "x").body == b'{"overLimit":{"code":413,"message":"x"}}'
    page = glance_fault(404, "<x>").body
    assert isinstance(page, bytes)
    assert b"&lt;x&gt;<br /><br />" in page


def test_orders_and_pages() -> None:
    rows = [{"id": str(i), "n": n} for i, n in enumerate(["b", None, "a", "B"])]
    assert [r["id"] for r in paging.by_keys(rows, [("n", "asc"), ("id", "desc")])] == ["1", "2", "3", "0"]
    part = paging.page(rows, {"limit": "2", "marker": "0"})
    assert ([r["id"] for r in part.items], part.next_marker) == (["1", "2"], "2")
    assert paging.page(rows, {"marker": "3"}) == ([], "")


@pytest.mark.parametrize(
    ("name", "host"),
    [("web 1", "web-1"), ("Ünïcode!", "ncode"), ("---", "server"), ("a" * 300, "a" * 63), ("x.y_z", "x-y-z")],
)
def test_names_become_host_names(name: str, host: str) -> None:
    assert hostname_for(name) == host
    assert object_name(name).startswith(host[:50])
    assert len(object_name(name)) <= 63


def test_a_server_becomes_a_machine() -> None:
    flavor = flavor_of(default_flavors()[0])
    wanted = Wanted(
        "w", flavor, "image", "images.kumo.dev/ns/image:1", "user", public_key="ssh-ed25519 AAAA", key_name="k"
    )
    vm = machine(wanted, "w-x", "ns")
    spec = vm["spec"]["template"]["spec"]
    assert vm["spec"]["instancetype"] == {"kind": "VirtualMachineClusterInstancetype", "name": "m1.nano"}
    assert spec["volumes"][1]["cloudInitConfigDrive"]["userDataBase64"]
    assert spec["accessCredentials"][0]["sshPublicKey"]["source"] == {"secret": {"secretName": "w-x-key"}}
    assert [s["metadata"]["name"] for s in secrets_for(wanted, "w-x", "ns")] == ["w-x-key"]
    bare = machine(Wanted("w", flavor, "image", "d", "user", networked=False), "w-x", "ns")["spec"]["template"]["spec"]
    assert "networks" not in bare
    assert bare["domain"]["devices"]["autoattachPodInterface"] is False
    assert len(bare["volumes"]) == 1
    long = Wanted("w", flavor, "image", "d", "user", user_data=b"x" * 3000)
    assert machine(long, "w-x", "ns")["spec"]["template"]["spec"]["volumes"][1] == {
        "name": "config-drive", "cloudInitConfigDrive": {"secretRef": {"name": "w-x-user-data"}},
    }  # fmt: skip


def test_ids() -> None:
    uid = "6d73226a-d971-4134-9f70-b68afd4e9ce2"
    assert names.hex_id({"metadata": {"uid": uid}}) == uid.replace("-", "")
    assert names.is_uuid(uid)
    assert not names.is_uuid(uid.upper())
    assert names.is_hex_id(uid.replace("-", ""))
